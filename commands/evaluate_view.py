"""Evaluations of models and runs as tables for the screen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..evaluation.bootstrap import Estimate
from ..evaluation.classification import ClassificationMetrics, CorrelationMetrics, Scores, ThresholdMetrics

if TYPE_CHECKING:
    from ..evaluation.model import ModelEvaluation

_STAGES = {
    "closure": "clusters against the connected components of the labelled duplicates:",
    "accepted": "pairs accepted by stage 2, before clustering:",
    "candidates": "labelled duplicates among the pairs of stage 1, recall@k by cosine for either document:",
}


def run_lines(stages: Mapping[str, Mapping[str, float | int]]) -> list[str]:
    """Return a line per metric of a run: of its clusters, then of each stage under a heading."""
    lines = [metric_line(name, value) for name, value in stages["clusters"].items()]
    for stage, heading in _STAGES.items():
        if stage in stages:
            lines += ["", heading, *(metric_line(name, value) for name, value in stages[stage].items())]
    return lines


def metric_line(name: str, value: float) -> str:
    """Return a line with a figure and its name."""
    return f"{value:>12,.4f} {name}" if isinstance(value, float) else f"{value:>12,} {name}"


def model_lines(evaluation: ModelEvaluation) -> list[str]:
    """Return the metrics of a model with their intervals."""
    test, result = evaluation.test, evaluation.result
    head = [
        f"{evaluation.kind} {evaluation.model} on {len(test):,} pairs of {Path(test.source).name}, "
        f"{evaluation.pairs_per_second:,.0f} pairs/s",
        "",
        f"{'':>26}   value   95 % interval",
    ]
    if isinstance(result, CorrelationMetrics):
        return [*head, _line("Pearson", result.pearson), _line("Spearman", result.spearman)]
    return head + _classification_lines(result, evaluation.scores, evaluation.valid_pairs)


def _classification_lines(result: ClassificationMetrics, scores: Scores, valid_pairs: int) -> list[str]:
    scale = "probability" if scores.kind == "logit" else "cosine"
    best = f"from {scale} {result.best.threshold:.4f}, the best F1 on these same pairs (optimistic):"
    lines = [
        _line("average precision", result.average_precision),
        _line("ROC AUC", result.roc_auc),
        f"{_line('calibration error (ECE)', result.calibration_error)}   {_origin(scores)}",
        "",
    ]
    if result.shipped is not None:
        shipped = f"from {scale} {result.shipped.threshold:.4f}, where the model accepts a pair taken alone:"
        lines += [shipped, *_decision_lines(result.shipped), ""]
    if result.validated is None:
        advice = "no threshold from other pairs: choose one with --valid or --valid-split"
        return [*lines, advice, "", best, *_decision_lines(result.best)]
    validated = f"from {scale} {result.validated.threshold:.4f}, best F1 on {valid_pairs:,} validation pairs:"
    return [*lines, validated, *_decision_lines(result.validated), "", best, _line("F1", result.best.f1)]


def _decision_lines(metrics: ThresholdMetrics) -> list[str]:
    count = metrics.confusion
    return [
        _line("accuracy", metrics.accuracy),
        _line("precision", metrics.precision),
        _line("recall", metrics.recall),
        _line("F1", metrics.f1),
        f"{'':>26}{'predicted duplicate':>21}{'predicted different':>21}",
        f"{'labelled duplicate':>26}{count['true_positives']:>21,}{count['false_negatives']:>21,}",
        f"{'labelled different':>26}{count['false_positives']:>21,}{count['true_negatives']:>21,}",
    ]


def _line(name: str, estimate: Estimate) -> str:
    return f"{name:>26}  {estimate.value:.4f}   {estimate.low:.4f} to {estimate.high:.4f}"


def _origin(scores: Scores) -> str:
    if scores.kind == "cosine":
        return "of the cosine, which is not a probability"
    return "calibrated by dupmine.json" if scores.calibrated else "of the logit's logistic, not calibrated"
