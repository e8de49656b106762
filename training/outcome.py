"""A finished training: its steps and time, and the metrics of the model on the validation pairs."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from ..evaluation.classification import ClassificationMetrics, CorrelationMetrics, Scores, evaluate_pairs
from ..schema import Floats, LabelledPairs, probabilities
from .callback import History
from .folder import step_number
from .settings import TrainSettings
from .trainer import TrainingResult, TrainingTask, compute_metric

log = logging.getLogger(__name__)

_PACKAGES = ("dupmine", "sentence-transformers", "transformers", "accelerate", "torch", "numpy")


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished training; `score` holds the model's score of each validation pair.

    `before` is the metric of the base model, None for one that starts with a new head.
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
    history: History
    precision: str

    def summary(self) -> dict[str, float | int]:
        """Return the figures that the command line prints."""
        if isinstance(self.result, CorrelationMetrics):
            metrics = {"Pearson": self.result.pearson, "Spearman": self.result.spearman}
        else:
            metrics = {"average precision": self.result.average_precision, "best F1": self.result.best.f1}
        figures: dict[str, float | int] = {"steps": self.steps, "pairs/s": round(self.pairs_per_second)}
        figures |= {f"{name} on the validation pairs": metric.value for name, metric in metrics.items()}
        return figures if self.before is None else figures | {f"{next(iter(metrics))} before": self.before}

    def to_dict(self) -> dict[str, Any]:
        """Return the content of `training.json`."""
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
            "validation": asdict(self.result),
            "history": self.history,
            "versions": {name: _version(name) for name in _PACKAGES},
        }


def metric_before(task: TrainingTask, valid: LabelledPairs) -> float | None:
    """Return the metric of a bi-encoder before its training; a cross-encoder may have a new head."""
    return compute_metric(task.metric, valid, task.score(valid)) if task.scale == "cosine" else None


def evaluate_training(
    task: TrainingTask,
    valid: LabelledPairs,
    training: TrainingResult,
    settings: TrainSettings,
    *,
    base_sha256: str,
    before: float | None,
) -> Outcome:
    """Evaluate the trained model on the validation pairs."""
    started = time.perf_counter()
    value = task.score(valid)
    probability = probabilities(value) if task.scale == "logit" else np.clip(value, 0, 1)
    scores = Scores(task.scale, value, probability, False, time.perf_counter() - started)
    after = compute_metric(task.metric, valid, value)
    if before is not None and round(after, 4) < round(before, 4):
        log.warning(
            "the training made the model worse: %s fell from %.4f to %.4f on the validation pairs; lower "
            "training.learning_rate or use another objective.loss",
            task.metric.replace("_", " "),
            before,
            after,
        )
    trained_pairs = training.steps * settings.training.batch_size * settings.training.accumulate
    return Outcome(
        kind="cross-encoder" if task.scale == "logit" else "bi-encoder",
        settings=settings,
        base_sha256=base_sha256,
        before=before,
        steps=training.steps,
        best_step=step_number(training.best),
        seconds=training.seconds,
        pairs_per_second=trained_pairs / training.seconds,
        result=evaluate_pairs(valid, scores, binary=task.metric != "spearman"),
        score=value,
        history=training.history,
        precision=str(task.device.dtype).removeprefix("torch."),
    )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
