"""An exported model against the original, on real pairs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from scipy.stats import spearmanr

from ..evaluation.classification import Scores
from ..evaluation.metrics import pair_metrics
from ..evaluation.thresholds import best_f1_threshold
from ..schema import LabelledPairs


@dataclass(frozen=True, slots=True)
class Check:
    """How far the scores of an exported model are from the original's, and what that costs.

    `scores` says what differs. `before` and `after` are each model's F1 at its best threshold on these
    pairs or, where labels are continuous, Spearman's correlation.
    """

    pairs: int
    scores: Literal["logit", "cosine"]
    max_difference: float
    mean_difference: float
    measure: Literal["F1", "Spearman"]
    before: float
    after: float
    pairs_per_second: tuple[float, float]

    @property
    def loss(self) -> float:
        """By how much the measure falls, negative where it rises."""
        return self.before - self.after

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold and what is the same each time: all but the speed."""
        return {key: value for key, value in asdict(self).items() if key != "pairs_per_second"}


def compare(pairs: LabelledPairs, before: Scores, after: Scores) -> Check:
    """Compare the scores of the original and of the exported model."""
    difference = np.abs(before.value.astype(np.float64) - after.value)
    return Check(
        len(pairs),
        before.kind,
        float(difference.max()),
        float(difference.mean()),
        "F1" if pairs.is_binary else "Spearman",
        _quality(pairs, before),
        _quality(pairs, after),
        (len(pairs) / before.seconds, len(pairs) / after.seconds),
    )


def _quality(pairs: LabelledPairs, scores: Scores) -> float:
    if not pairs.is_binary:
        return float(np.nan_to_num(spearmanr(pairs.label, scores.value).statistic))
    actual = pairs.label > 0.5
    return pair_metrics(scores.value >= best_f1_threshold(actual, scores.value), actual)["f1"]
