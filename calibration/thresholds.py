"""Thresholds of calibrated probabilities: the best F1, and precisions that are reached with confidence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.stats import beta

from ..rerank.calibration import OperatingPoint, Thresholds
from ..schema import Doubles, Flags, Floats, Rows

TARGETS = (0.90, 0.95, 0.99)

_GRID = np.arange(1, 1000) / 1000  # thresholds, in thousandths
_STEPS = np.arange(500, 1000, 5) / 1000  # precisions that can be asked for
_DOUBT = 0.05  # that the precision is lower than promised
_INTERVAL = (0.025, 0.975)
_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Decisions:
    """What every threshold of the grid makes of the pairs, each `(…, 999)`; `odds` moves the base rate.

    `hits` and `misses` are accepted pairs, `duplicates` all of them. A duplicate counts `odds` times as
    much as another pair (Saerens, Latinne and Decaestecker, 2002).
    """

    hits: Doubles
    misses: Doubles
    duplicates: Doubles
    odds: float

    @property
    def precision(self) -> Doubles:
        """Share of duplicates among accepted pairs, 1 where none is accepted."""
        accepted = self.odds * self.hits + self.misses
        return np.where(accepted > 0, self.odds * self.hits / np.maximum(accepted, 1e-300), 1.0)

    @property
    def recall(self) -> Doubles:
        """Share of the duplicates that are accepted."""
        return self.hits / np.maximum(self.duplicates, 1)

    @property
    def f1(self) -> Doubles:
        """Harmonic mean of precision and recall."""
        total = self.odds * (self.hits + self.duplicates) + self.misses
        return 2 * self.odds * self.hits / np.maximum(total, 1e-300)

    @property
    def least_precision(self) -> Doubles:
        """Lower 95 % confidence bound of the precision (Clopper and Pearson, 1934), 0 without a hit."""
        bound = np.where(self.hits > 0, beta.ppf(_DOUBT, np.maximum(self.hits, 1), self.misses + 1), 0.0)
        return self.odds * bound / (self.odds * bound + 1 - bound)


def find_thresholds(
    probability: Floats, actual: Flags, group: Rows, *, base_rate: float, seed: int
) -> Thresholds:
    """Find thresholds for the best F1 and for precisions, where a share `base_rate` are duplicates.

    Pairs of a group share questions, so intervals come from resampling groups. A precision is reached by the
    lowest threshold at which other pairs, as many as these, have it with 95 % confidence: an estimate that
    just reaches it would miss it on every second set of them. Those vary as these do, so the bound lies
    further from the estimate than a confidence bound does, by the root of two (a prediction bound). Of two
    the lesser counts: the exact one, without which three pairs that happen to be duplicates would vouch for
    any precision, and that of the resamples.
    """
    share = float(actual.mean())
    odds = base_rate / (1 - base_rate) * (1 - share) / share
    at = np.searchsorted(_GRID.astype(np.float32), probability, side="right")  # as `>=` in float32 decides
    found = _decide(np.bincount(at[actual], minlength=1000), np.bincount(at[~actual], minlength=1000), odds)
    drawn = _resampled(at, actual, group, odds, np.random.default_rng(seed))

    def point(threshold: float) -> OperatingPoint:
        return _point(found, drawn, int(np.searchsorted(_GRID, threshold)))

    least = np.minimum(found.least_precision, np.quantile(drawn.precision, _DOUBT, axis=0))
    least = found.precision - np.sqrt(2) * np.maximum(found.precision - least, 0)
    best = float(_GRID[np.argmax(found.f1)])
    reached = Thresholds(best_f1=point(best), target_precision={}, reach=_reach(least))
    targets = {f"{target:.2f}": _reaching(reached, target, point) for target in TARGETS}
    return reached.model_copy(update={"target_precision": targets})


def _reaching(
    reached: Thresholds, target: float, point: Callable[[float], OperatingPoint]
) -> OperatingPoint | None:
    threshold = reached.reaching(target)
    return None if threshold is None else point(threshold)


def _reach(least: Doubles) -> tuple[tuple[float, float], ...]:
    """Return precisions and the lowest threshold that reaches each; the last one is the highest."""
    best = np.maximum.accumulate(least)
    highest = np.floor(best[-1] * 1000) / 1000
    levels = np.unique(np.append(_STEPS, highest))
    levels = levels[(levels >= _STEPS[0]) & (levels <= highest)]
    return tuple((float(level), float(_GRID[np.searchsorted(best, level)])) for level in levels)


def _decide(hits: Doubles | Rows, misses: Doubles | Rows, odds: float) -> Decisions:
    """Sum up pairs counted by how many thresholds accept them, `(…, 1000)`."""
    above = [np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1].astype(np.float64) for counts in (hits, misses)]
    return Decisions(above[0][..., 1:], above[1][..., 1:], above[0][..., :1], odds)


def _resampled(
    at: Rows, actual: Flags, group: Rows, odds: float, generator: np.random.Generator
) -> Decisions:
    """Return the decisions about resamples of the groups, a row each."""
    _, number = np.unique(group, return_inverse=True)
    n = int(number.max()) + 1
    tables = [csr_array((of.astype(float), (number, at)), shape=(n, 1000)) for of in (actual, ~actual)]
    drawn = np.empty((2, _RESAMPLES, 1000))
    for i in range(_RESAMPLES):
        times = np.bincount(generator.integers(0, n, n), minlength=n)
        drawn[:, i] = [times @ table for table in tables]
    return _decide(drawn[0], drawn[1], odds)


def _point(found: Decisions, drawn: Decisions, i: int) -> OperatingPoint:
    def interval(values: Doubles) -> tuple[float, float]:
        low, high = np.quantile(values[:, i], _INTERVAL)
        return float(low), float(high)

    return OperatingPoint(
        threshold=float(_GRID[i]),
        precision=float(found.precision[i]),
        precision_interval=interval(drawn.precision),
        recall=float(found.recall[i]),
        recall_interval=interval(drawn.recall),
        f1=float(found.f1[i]),
        f1_interval=interval(drawn.f1),
    )
