"""How good scores of labelled pairs are, with 95 % bootstrap intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from sklearn.metrics import confusion_matrix

from ..corpus.questions import question_components
from ..schema import Flags, Floats, LabelledPairs, Rows
from .bootstrap import Estimate, bootstrap
from .thresholds import best_f1_threshold
from .weighted_metrics import measure_calibration, measure_correlation, measure_decision, measure_ranking

_CONFUSION = ("true_positives", "false_positives", "false_negatives", "true_negatives")


@dataclass(frozen=True, slots=True)
class Scores:
    """A model's scores of pairs, each `(n_pairs,) float32`.

    `value` orders the pairs: the logit of a cross-encoder or the cosine of a bi-encoder. `probability` comes
    from a calibration beside the model (`calibrated`); without one it is the logistic of the logit, or the
    cosine clipped to 0 to 1. `seconds` is the time that tokenising and scoring took. `shipped` is the
    threshold with the best F1 on the pairs that a cross-encoder was calibrated with, 0.5 without calibration.
    """

    kind: Literal["logit", "cosine"]
    value: Floats
    probability: Floats
    calibrated: bool
    seconds: float
    shipped: float | None = None

    @property
    def decision(self) -> Floats:
        """The scores that a threshold applies to: a cross-encoder's probabilities, a bi-encoder's cosines."""
        return self.probability if self.kind == "logit" else self.value


@dataclass(frozen=True, slots=True)
class ThresholdMetrics:
    """How good the decision `score >= threshold` is; `confusion` counts pairs."""

    threshold: float
    accuracy: Estimate
    precision: Estimate
    recall: Estimate
    f1: Estimate
    confusion: dict[str, int]


@dataclass(frozen=True, slots=True)
class ClassificationMetrics:
    """How good a model is on pairs labelled 0 or 1.

    `shipped` is at the threshold of the model, None for a bi-encoder. `validated` is at the threshold chosen
    on other pairs, None without one. `best` is at the threshold with the best F1 on these pairs, which is
    optimistic.
    """

    pairs: int
    duplicates: int
    average_precision: Estimate
    roc_auc: Estimate
    calibration_error: Estimate
    shipped: ThresholdMetrics | None
    validated: ThresholdMetrics | None
    best: ThresholdMetrics


@dataclass(frozen=True, slots=True)
class CorrelationMetrics:
    """How well scores correlate with continuous labels."""

    pairs: int
    pearson: Estimate
    spearman: Estimate


def evaluate_pairs(
    pairs: LabelledPairs, scores: Scores, threshold: float | None = None, *, binary: bool = True
) -> ClassificationMetrics | CorrelationMetrics:
    """Evaluate scores of labelled pairs, with intervals from resampling connected components of questions.

    Labels are 0 or 1; if not `binary`, they are continuous and the metrics are correlations.
    """
    group = question_components(pairs)
    if not binary:
        found = bootstrap(len(pairs), [measure_correlation(pairs.label, scores.value)], group=group)
        return CorrelationMetrics(len(pairs), found["pearson"], found["spearman"])
    return evaluate_scores(pairs.label > 0.5, scores, threshold, group=group)


def evaluate_scores(
    actual: Flags, scores: Scores, threshold: float | None, *, group: Rows | None = None
) -> ClassificationMetrics:
    """Evaluate scores on labels, `(n_pairs,) bool` of both classes; `threshold` comes from other pairs.

    Pairs with the same number in `group`, `(n_pairs,)`, share questions and are resampled together.
    """
    thresholds = {"best": best_f1_threshold(actual, scores.decision)}
    others = {"validated": threshold, "shipped": scores.shipped}
    thresholds |= {name: value for name, value in others.items() if value is not None}
    accepted = {name: scores.decision >= np.float64(cut) for name, cut in thresholds.items()}
    metrics = [measure_ranking(actual, scores.value), measure_calibration(actual, scores.probability)]
    metrics += [measure_decision(actual, predicted, name) for name, predicted in accepted.items()]
    estimates = bootstrap(len(actual), metrics, group=group)

    def at_threshold(name: str) -> ThresholdMetrics | None:
        if name not in thresholds:
            return None
        ratios = {ratio: estimates[f"{name} {ratio}"] for ratio in ("accuracy", "precision", "recall", "f1")}
        counts = confusion_matrix(actual, accepted[name], labels=[True, False]).T.ravel().tolist()
        return ThresholdMetrics(
            threshold=thresholds[name], confusion=dict(zip(_CONFUSION, counts, strict=True)), **ratios
        )

    best = at_threshold("best")
    assert best is not None
    return ClassificationMetrics(
        len(actual),
        int(actual.sum()),
        estimates["average_precision"],
        estimates["roc_auc"],
        estimates["calibration_error"],
        at_threshold("shipped"),
        at_threshold("validated"),
        best,
    )
