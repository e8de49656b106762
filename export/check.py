"""An exported model against the original, on labelled pairs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from ..evaluation.classification import CorrelationMetrics, Scores, evaluate_pairs
from ..schema import LabelledPairs


@dataclass(frozen=True, slots=True)
class ExportCheck:
    """How much the scores of an exported model differ from the original's, and the loss in quality.

    `original` and `exported` are each model's F1 at its best threshold on these pairs or, where labels are
    continuous, Spearman's correlation. `pairs_per_second` are those of both.
    """

    pairs: int
    scores: Literal["logit", "cosine"]
    max_difference: float
    mean_difference: float
    measure: Literal["F1", "Spearman"]
    original: float
    exported: float
    pairs_per_second: tuple[float, float]

    @property
    def loss(self) -> float:
        """How much the measure falls, negative where it rises."""
        return self.original - self.exported

    def to_dict(self) -> dict[str, Any]:
        """Return the check for JSON, without the speed, so that it is the same each time."""
        return {key: value for key, value in asdict(self).items() if key != "pairs_per_second"}


def compare_scores(pairs: LabelledPairs, original: Scores, exported: Scores) -> ExportCheck:
    """Compare the scores of the original and of the exported model."""
    difference = np.abs(original.value.astype(np.float64) - exported.value)
    return ExportCheck(
        len(pairs),
        original.kind,
        float(difference.max()),
        float(difference.mean()),
        "F1" if pairs.is_binary else "Spearman",
        _quality(pairs, original),
        _quality(pairs, exported),
        (len(pairs) / original.seconds, len(pairs) / exported.seconds),
    )


def _quality(pairs: LabelledPairs, scores: Scores) -> float:
    result = evaluate_pairs(pairs, scores, binary=pairs.is_binary)
    return (result.spearman if isinstance(result, CorrelationMetrics) else result.best.f1).value
