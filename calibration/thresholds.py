"""Find the thresholds of probabilities: for the best F1, and for precisions reached with confidence."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array
from scipy.stats import beta

from ..evaluation.bootstrap import RESAMPLES, draw_groups
from ..evaluation.thresholds import ThresholdCounts
from ..rerank.thresholds import OperatingPoint, Thresholds
from ..schema import Doubles, Flags, Floats, Rows

TARGETS = (0.90, 0.95, 0.99)

_GRID = np.arange(1, 1000) / 1000  # thresholds, in thousandths
_STEPS = np.arange(500, 1000, 5) / 1000  # precisions that can be asked for
_RISK = 0.05  # that the precision is lower than promised
_INTERVAL = (0.025, 0.975)


def find_thresholds(
    probability: Floats, actual: Flags, group: Rows, *, base_rate: float, seed: int
) -> Thresholds:
    """Find thresholds for the best F1 and for precisions, where a share `base_rate` are duplicates.

    Pairs of a group share questions, so intervals come from resampling groups. The threshold for a precision
    is the lowest at which other pairs, as many as these, have it with 95 % confidence. Other pairs vary as
    much as these, so this prediction bound lies further from the estimate than a confidence bound, by the
    root of two. The confidence bound is the lower of the exact one (with few pairs resamples are too sure)
    and that of the resamples.
    """
    share = float(actual.mean())
    odds = base_rate / (1 - base_rate) * (1 - share) / share
    at = np.searchsorted(_GRID.astype(np.float32), probability, side="right")  # as `>=` in float32 decides
    counts = _count(np.bincount(at[actual], minlength=1000), np.bincount(at[~actual], minlength=1000), odds)
    resampled = _resample(at, actual, group, odds, seed)

    def point(threshold: float) -> OperatingPoint:
        return _point(counts, resampled, int(np.searchsorted(_GRID, threshold)))

    least = np.minimum(_lower_precision(counts), np.quantile(resampled.precision, _RISK, axis=0))
    least = counts.precision - np.sqrt(2) * np.maximum(counts.precision - least, 0)
    best = float(_GRID[counts.best()])
    thresholds = Thresholds(best_f1=point(best), target_precision={}, reach=_reach(least))
    targets: dict[str, OperatingPoint | None] = {}
    for target in TARGETS:
        threshold = thresholds.threshold_for(target)
        targets[f"{target:.2f}"] = None if threshold is None else point(threshold)
    return thresholds.model_copy(update={"target_precision": targets})


def _reach(least: Doubles) -> tuple[tuple[float, float], ...]:
    """Return precisions, up to the highest within reach, with the lowest threshold for each."""
    best = np.maximum.accumulate(least)
    highest = np.floor(best[-1] * 1000) / 1000
    levels = np.unique(np.append(_STEPS, highest))
    levels = levels[(levels >= _STEPS[0]) & (levels <= highest)]
    return tuple((float(level), float(_GRID[np.searchsorted(best, level)])) for level in levels)


def _lower_precision(counts: ThresholdCounts) -> Doubles:
    """Return the lower 95 % confidence bound of the precision (Clopper, Pearson, 1934), 0 without a hit."""
    bound = np.where(counts.hits > 0, beta.ppf(_RISK, np.maximum(counts.hits, 1), counts.misses + 1), 0.0)
    return counts.odds * bound / (counts.odds * bound + 1 - bound)


def _count(hits: Doubles | Rows, misses: Doubles | Rows, odds: float) -> ThresholdCounts:
    """Accumulate pairs that are counted by how many thresholds accept them, `(..., 1000)`."""
    above = [np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1].astype(np.float64) for counts in (hits, misses)]
    return ThresholdCounts(above[0][..., 1:], above[1][..., 1:], above[0][..., :1], odds)


def _resample(at: Rows, actual: Flags, group: Rows, odds: float, seed: int) -> ThresholdCounts:
    """Return the counts of resamples of the groups, a row each."""
    names, number = np.unique(group, return_inverse=True)
    shape = len(names), len(_GRID) + 1
    tables = [csr_array((label.astype(float), (number, at)), shape=shape) for label in (actual, ~actual)]
    draws = draw_groups(len(names), RESAMPLES, seed, width=shape[1])
    counts = [[times @ table for table in tables] for times in draws]
    hits, misses = (np.concatenate(parts) for parts in zip(*counts, strict=True))
    return _count(hits, misses, odds)


def _point(counts: ThresholdCounts, resampled: ThresholdCounts, i: int) -> OperatingPoint:
    def interval(values: Doubles) -> tuple[float, float]:
        low, high = np.quantile(values[:, i], _INTERVAL)
        return float(low), float(high)

    return OperatingPoint(
        threshold=float(_GRID[i]),
        precision=float(counts.precision[i]),
        precision_interval=interval(resampled.precision),
        recall=float(counts.recall[i]),
        recall_interval=interval(resampled.recall),
        f1=float(counts.f1[i]),
        f1_interval=interval(resampled.f1),
    )
