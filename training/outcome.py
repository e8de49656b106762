"""A finished training: its steps and time, and the metrics of the model on the validation pairs."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from transformers import TrainerState

from ..evaluation.classification import ClassificationMetrics, CorrelationMetrics, Scores, evaluate_pairs
from ..results.manifest import versions
from ..schema import Floats, LabelledPairs, probabilities
from .callback import History, elapsed_seconds
from .settings import TrainSettings
from .trainer import TrainingTask, compute_metric

log = logging.getLogger(__name__)

_PACKAGES = ("dupmine", "sentence-transformers", "transformers", "accelerate", "torch", "numpy")


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished training; `score` holds the model's score of each validation pair.

    `before` is the metric of the base model, None for one that starts with a new head. `seconds` are without
    the validations.
    """

    kind: str
    settings: TrainSettings
    base_sha256: str
    before: float | None
    steps: int
    best_step: int
    seconds: float
    pairs_per_second: float
    precision: str
    validation: ClassificationMetrics | CorrelationMetrics
    score: Floats
    history: History

    def summary(self) -> dict[str, float | int]:
        """Return the figures that the command line prints."""
        result = self.validation
        if isinstance(result, CorrelationMetrics):
            metrics = {"Pearson": result.pearson, "Spearman": result.spearman}
        else:
            metrics = {"average precision": result.average_precision, "best F1": result.best.f1}
        figures: dict[str, float | int] = {"steps": self.steps, "pairs/s": round(self.pairs_per_second)}
        figures |= {f"{name} on the validation pairs": metric.value for name, metric in metrics.items()}
        return figures if self.before is None else figures | {f"{next(iter(metrics))} before": self.before}

    def to_dict(self) -> dict[str, Any]:
        """Return the content of `training.json`."""
        record = asdict(self) | {"settings": self.settings.model_dump(), "versions": versions(_PACKAGES)}
        del record["score"]
        return record


def evaluate_training(
    task: TrainingTask,
    valid: LabelledPairs,
    state: TrainerState,
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
    assert state.best_global_step is not None, "each training validates at its end"
    shown = {"loss", f"eval_{task.metric}"}
    history = [record for record in state.log_history if shown & record.keys()]
    validating = sum(record.get("eval_runtime", 0.0) for record in history)
    seconds = max(elapsed_seconds(history) - validating, 1e-9)
    trained_pairs = state.global_step * settings.training.batch_size * settings.training.accumulate
    return Outcome(
        kind="cross-encoder" if task.scale == "logit" else "bi-encoder",
        settings=settings,
        base_sha256=base_sha256,
        before=before,
        steps=state.global_step,
        best_step=state.best_global_step,
        seconds=round(seconds, 3),
        pairs_per_second=round(trained_pairs / seconds, 1),
        precision=str(task.device.dtype).removeprefix("torch."),
        validation=evaluate_pairs(valid, scores, binary=task.metric != "spearman"),
        score=value,
        history=history,
    )
