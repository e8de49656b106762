"""95 % bootstrap intervals of metrics over pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..schema import Doubles, Rows

RESAMPLES = 1000
SEED = 42

_MIN_GROUPS = 30
_CHUNK = 1 << 22  # weights in memory at a time
_QUANTILES = (0.025, 0.5, 0.975)

# From the weights of the pairs, `(n_resamples, n_pairs)`, to metrics by name, each `(n_resamples,)`.
WeightedMetrics = Callable[[Doubles], dict[str, Doubles]]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric and its 95 % interval."""

    value: float
    low: float
    high: float


def bootstrap(
    n: int,
    metrics: Sequence[WeightedMetrics],
    *,
    group: Rows | None = None,
    seed: int = SEED,
) -> dict[str, Estimate]:
    """Return each metric of n pairs with its 95 % bootstrap interval (Efron, 1979).

    Pairs that share questions are not independent, so whole groups are resampled: `group`, `(n,)`, holds
    their numbers. Without `group`, or with fewer than 30 groups, single pairs are resampled. Resampling
    alone makes a calibration error larger, so the interval is moved until the median of the resamples lies
    on the metric. Resamples without a value, such as those of one class, are left out.
    """
    values = {name: float(value[0]) for metric in metrics for name, value in metric(np.ones((1, n))).items()}
    resampled: dict[str, list[Doubles]] = {name: [] for name in values}
    groups, group = np.unique(np.arange(n) if group is None else group, return_inverse=True)
    if len(groups) < _MIN_GROUPS:
        group = np.arange(n)
    for times in draw_groups(int(group.max()) + 1, RESAMPLES, seed, width=n):
        weights = times[:, group].astype(np.float64)
        for metric in metrics:
            for name, value in metric(weights).items():
                resampled[name].append(value)
    return {name: _estimate(values[name], np.concatenate(parts)) for name, parts in resampled.items()}


def draw_groups(n_groups: int, resamples: int, seed: int, *, width: int) -> Iterator[Rows]:
    """Yield how often each group is drawn in resamples of as many draws as there are groups.

    Each array is `(n_resamples, n_groups)`, with as many resamples as keep `(n_resamples, width)` small.
    """
    generator = np.random.default_rng(seed)
    step = max(_CHUNK // max(width, n_groups), 1)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = generator.integers(0, n_groups, (size, n_groups)) + n_groups * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * n_groups).reshape(size, n_groups)


def _estimate(value: float, resampled: Doubles) -> Estimate:
    finite = resampled[np.isfinite(resampled)]
    if not len(finite) or not np.isfinite(value):
        return Estimate(value, value, value)
    low, median, high = (float(quantile) for quantile in np.quantile(finite, _QUANTILES))
    lowest = 0.0 if min(value, finite.min()) >= 0 else -1.0  # only correlations are below 0
    low, high = max(value + low - median, lowest), min(value + high - median, 1.0)
    return Estimate(value, min(low, value), max(high, value))  # rounding must not exclude the value
