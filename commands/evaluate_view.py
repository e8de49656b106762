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
    "closure": "clusters against the closure of the labelled duplicates; what no label joins is different:",
    "accepted": "pairs that stage 2 accepted, before clusters were made of them:",
    "candidates": "labelled duplicates among the pairs of stage 1, recall@k by cosine for either document:",
}


def stages_lines(stages: Mapping[str, Mapping[str, float | int]]) -> list[str]:
    """Return a line per measure of a run: of its clusters, then of each stage under a heading."""
    lines = [_measure(name, value) for name, value in stages["clusters"].items()]
    for stage, heading in _STAGES.items():
        if stage in stages:
            lines += ["", heading, *(_measure(name, value) for name, value in stages[stage].items())]
    return lines


def _measure(name: str, value: float) -> str:
    return f"{value:>12,.4f} {name}" if isinstance(value, float) else f"{value:>12,} {name}"


def evaluation_lines(evaluation: ModelEvaluation) -> list[str]:
    """Return the measures with their intervals, at the honest threshold and at the best one."""
    test, result = evaluation.test, evaluation.result
    head = [
        f"{evaluation.kind} {evaluation.model} on {len(test):,} pairs of {Path(test.source).name}, "
        f"{evaluation.pairs_per_second:,.0f} pairs/s",
        "",
        f"{'':>26}   value   95 % interval",
    ]
    if isinstance(result, CorrelationMetrics):
        return [*head, _line("Pearson", result.pearson), _line("Spearman", result.spearman)]
    return head + _judgement(result, evaluation.scores, evaluation.valid_pairs)


def _judgement(result: ClassificationMetrics, scores: Scores, valid_pairs: int) -> list[str]:
    scale = "probability" if scores.kind == "logit" else "cosine"
    lines = [
        _line("average precision", result.average_precision),
        _line("ROC AUC", result.roc_auc),
        f"{_line('calibration error (ECE)', result.calibration_error)}   {_origin(scores)}",
        "",
    ]
    if result.validated is None:
        lines += ["no honest threshold is known: choose one on other pairs with --valid or --valid-split"]
    else:
        lines += [
            f"from {scale} {result.validated.threshold:.4f}, best F1 on {valid_pairs:,} validation pairs:",
            *_decision(result.validated),
        ]
    lines += [
        "",
        f"from {scale} {result.best.threshold:.4f}, best F1 on these very pairs, so it flatters:",
    ]
    return lines + (_decision(result.best) if result.validated is None else [_line("F1", result.best.f1)])


def _decision(at: ThresholdMetrics) -> list[str]:
    count = at.confusion
    return [
        _line("accuracy", at.accuracy),
        _line("precision", at.precision),
        _line("recall", at.recall),
        _line("F1", at.f1),
        f"{'':>26}{'said duplicate':>18}{'said different':>18}",
        f"{'are duplicates':>26}{count['true_positives']:>18,}{count['false_negatives']:>18,}",
        f"{'are different':>26}{count['false_positives']:>18,}{count['true_negatives']:>18,}",
    ]


def _line(name: str, estimate: Estimate) -> str:
    return f"{name:>26}  {estimate.value:.4f}   {estimate.low:.4f} to {estimate.high:.4f}"


def _origin(scores: Scores) -> str:
    if scores.kind == "cosine":
        return "of the cosine, which is no probability"
    return "calibrated by dupmine.json" if scores.calibrated else "of the logit's logistic, not calibrated"
