"""What came of a training: its steps and time, and how good the model is on the validation pairs."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from ..corpus.questions import question_components
from ..evaluation.classification import (
    ClassificationMetrics,
    CorrelationMetrics,
    Scores,
    evaluate_correlation,
    evaluate_scores,
)
from ..schema import Floats, LabelledPairs, probabilities
from .folder import step_of
from .settings import TrainSettings
from .trainer import TrainingResult, TrainingTask, metric_of

log = logging.getLogger(__name__)

_PACKAGES = ("dupmine", "sentence-transformers", "transformers", "accelerate", "torch", "numpy")


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished training; `score` is the model's for each validation pair.

    `before` is the metric of the base model; one that starts with a fresh head has none.
    """

    kind: str
    settings: TrainSettings
    base_sha256: str
    before: float | None
    steps: int
    best_step: int
    seconds: float
    pairs_per_second: float
    result: ClassificationMetrics | CorrelationMetrics
    score: Floats
    history: list[dict[str, float]]
    precision: str

    def summary(self) -> dict[str, float | int]:
        """Return what the command line tells of it."""
        if isinstance(self.result, CorrelationMetrics):
            measures = {"Pearson": self.result.pearson, "Spearman": self.result.spearman}
        else:
            measures = {
                "average precision": self.result.average_precision,
                "best F1": self.result.best.f1,
            }
        told: dict[str, float | int] = {"steps": self.steps, "pairs/s": round(self.pairs_per_second)}
        told |= {f"{name} on the validation pairs": of.value for name, of in measures.items()}
        return told if self.before is None else told | {f"{next(iter(measures))} before": self.before}

    def to_dict(self) -> dict[str, Any]:
        """Return what `training.json` says of it."""
        return {
            "kind": self.kind,
            "settings": self.settings.model_dump(),
            "base_sha256": self.base_sha256,
            "steps": self.steps,
            "best_step": self.best_step,
            "seconds": round(self.seconds, 3),
            "pairs_per_second": round(self.pairs_per_second, 1),
            "precision": self.precision,
            "before": self.before,
            "validation": self.result.to_dict(),
            "history": self.history,
            "versions": {name: _version(name) for name in _PACKAGES},
        }


def start_of(task: TrainingTask, valid: LabelledPairs) -> float | None:
    """Return the metric of a bi-encoder before its training."""
    return metric_of(task.metric, valid, task.score(valid)) if task.scale == "cosine" else None


def evaluate_training(
    task: TrainingTask,
    valid: LabelledPairs,
    fitted: TrainingResult,
    settings: TrainSettings,
    *,
    sha256: str,
    before: float | None,
) -> Outcome:
    """Judge the trained model on the validation pairs."""
    started = time.perf_counter()
    value = task.score(valid)
    likely = probabilities(value) if task.scale == "logit" else np.clip(value, 0, 1)
    scores = Scores(task.scale, value, likely, False, time.perf_counter() - started)
    agreement = task.metric == "spearman"
    after = metric_of(task.metric, valid, value)
    if before is not None and round(after, 4) < round(before, 4):
        log.warning(
            "the training made the model worse: %s fell from %.4f to %.4f on the validation pairs; lower "
            "training.learning_rate or take another objective.loss",
            task.metric.replace("_", " "),
            before,
            after,
        )
    group = question_components(valid)
    if agreement:
        result: ClassificationMetrics | CorrelationMetrics = evaluate_correlation(
            valid.label, scores, group=group
        )
    else:
        result = evaluate_scores(valid.label > 0.5, scores, None, group=group)
    seen = fitted.steps * settings.training.batch_size * settings.training.accumulate
    return Outcome(
        kind="cross-encoder" if task.scale == "logit" else "bi-encoder",
        settings=settings,
        base_sha256=sha256,
        before=before,
        steps=fitted.steps,
        best_step=step_of(fitted.best),
        seconds=fitted.seconds,
        pairs_per_second=seen / fitted.seconds,
        result=result,
        score=value,
        history=fitted.history,
        precision=str(task.compute.dtype).removeprefix("torch."),
    )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
