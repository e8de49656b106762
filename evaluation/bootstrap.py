"""95 % intervals of measures over pairs, by resampling."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..schema import Doubles, Rows

RESAMPLES = 1000
SEED = 42

_LEAST_GROUPS = 30
_CHUNK = 1 << 22  # weights in memory at a time
_EDGES = (0.025, 0.5, 0.975)

# From weights of the pairs, `(n_resamples, n_pairs)`, to measures by name, each `(n_resamples,)`.
Measure = Callable[[Doubles], dict[str, Doubles]]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measure and its 95 % interval."""

    value: float
    low: float
    high: float


def bootstrap(
    n: int,
    measures: Sequence[Measure],
    *,
    group: Rows | None = None,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> dict[str, Estimate]:
    """Return each measure of n pairs and its 95 % interval over resamples (Efron, 1979).

    Groups are resampled, `(n,)` their numbers, since pairs that share questions tell less than as many
    others; pairs are where there is no `group`, or too few of them to say how much they differ. The interval
    is that of the resamples, moved so that their median lies on the measure: resampling makes a calibration
    error larger by itself. Resamples in which a measure has no value, as those of one class, do not count.
    """
    value = {name: float(of[0]) for measure in measures for name, of in measure(np.ones((1, n))).items()}
    drawn: dict[str, list[Doubles]] = {name: [] for name in value}
    groups, group = np.unique(np.arange(n) if group is None else group, return_inverse=True)
    if len(groups) < _LEAST_GROUPS:
        group = np.arange(n)
    for times in draw_groups(int(group.max()) + 1, resamples, seed, width=n):
        weights = times[:, group].astype(np.float64)
        for measure in measures:
            for name, of in measure(weights).items():
                drawn[name].append(of)
    return {name: _estimate(value[name], np.concatenate(of)) for name, of in drawn.items()}


def _estimate(value: float, drawn: Doubles) -> Estimate:
    known = drawn[np.isfinite(drawn)]
    if not len(known) or not np.isfinite(value):
        return Estimate(value, value, value)
    low, middle, high = (float(edge) for edge in np.quantile(known, _EDGES))
    least = 0.0 if min(value, known.min()) >= 0 else -1.0  # only correlations are below 0
    low, high = max(value + low - middle, least), min(value + high - middle, 1.0)
    return Estimate(value, min(low, value), max(high, value))  # but for roundings they are on its sides


def draw_groups(n_groups: int, resamples: int, seed: int, *, width: int) -> Iterator[Rows]:
    """Yield how often each group is drawn in resamples of as many draws as there are groups.

    `(n_resamples, n_groups)`, so many resamples at a time that arrays `(n_resamples, width)` stay small.
    """
    generator = np.random.default_rng(seed)
    step = max(_CHUNK // max(width, n_groups), 1)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = generator.integers(0, n_groups, (size, n_groups)) + n_groups * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * n_groups).reshape(size, n_groups)
