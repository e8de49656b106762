"""Decisions at many thresholds of a score at once, and the threshold with the best F1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..schema import Doubles, Flags, Floats


@dataclass(frozen=True, slots=True)
class ThresholdCounts:
    """Labelled pairs that each of some thresholds accepts, `(..., n_thresholds)`.

    `hits` are accepted duplicates, `misses` other accepted pairs, `duplicates` all duplicates, accepted or
    not. A duplicate has the weight `odds` and another pair the weight 1, for another share of duplicates
    (Saerens, Latinne and Decaestecker, 2002).
    """

    hits: Doubles
    misses: Doubles
    duplicates: Doubles | float
    odds: float = 1.0

    @property
    def precision(self) -> Doubles:
        """Share of duplicates among accepted pairs, 1 where no pair is accepted."""
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

    def best(self) -> int:
        """Return the position of the threshold with the best F1, of several the first."""
        return int(np.argmax(self.f1))


def count_accepted(
    actual: Flags, score: Floats, thresholds: Doubles | Floats, *, duplicates: int | None = None
) -> ThresholdCounts:
    """Count the pairs with `score >= threshold`, by label.

    `actual` and `score` are `(n_pairs,)`. `duplicates` is their number where some have no score.
    """
    hits, misses = (
        len(side) - np.searchsorted(np.sort(side), thresholds).astype(np.float64)
        for side in (score[actual], score[~actual])
    )
    return ThresholdCounts(hits, misses, float(actual.sum() if duplicates is None else duplicates))


def best_f1_threshold(actual: Flags, score: Floats) -> float:
    """Return the threshold with the best F1, halfway to the next lower score; of several the highest."""
    scores = np.unique(score.astype(np.float64))[::-1]
    best = count_accepted(actual, score, scores).best()
    return float((scores[best] + scores[min(best + 1, len(scores) - 1)]) / 2)
