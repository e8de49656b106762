"""A training's steps, from the last checkpoint on, and the checkpoint that is best."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from datasets import Dataset
from scipy.stats import spearmanr
from sentence_transformers.base.evaluation import BaseEvaluator
from sklearn.metrics import average_precision_score
from torch import nn
from transformers import PrinterCallback, TrainerState

from ..errors import SettingsError
from ..inference.device import DeviceConfig
from ..progress import Progress
from ..schema import Floats, LabelledPairs
from .callback import History, TrainingCallback, is_exhausted, seconds_of
from .folder import TrainingFolder
from .plan import TrainingPlan
from .settings import TrainingSettings

log = logging.getLogger(__name__)

Metric = Literal["average_precision", "spearman"]

_LOGGED = 100  # steps between two losses of the history, at most
_SHORT = 256  # tokens


@dataclass(frozen=True, slots=True)
class TrainingTask:
    """What one kind of model brings to a training.

    `model`, `trainer` and `arguments` are those of sentence-transformers, `columns` the training set;
    `sampler` makes its `n_batches` batches per epoch. `score` says how alike pairs are, `(n_pairs,)`, by a
    logit or a cosine. Training happens inside `around`.
    """

    model: Any
    trainer: type[Any]
    arguments: type[Any]
    columns: dict[str, list[Any]]
    loss: nn.Module
    sampler: Any
    n_batches: int
    metric: Metric
    score: Callable[[LabelledPairs], Floats]
    scale: Literal["logit", "cosine"]
    compute: DeviceConfig
    around: AbstractContextManager[None]


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """How a training went: `best` is the best checkpoint, `seconds` are those without validation."""

    steps: int
    best: Path
    seconds: float
    history: History


class Validation(BaseEvaluator):
    """The metric of the validation pairs, as the trainer asks for it."""

    def __init__(self, task: TrainingTask, pairs: LabelledPairs) -> None:
        """Take the pairs to validate with."""
        super().__init__()  # type: ignore[no-untyped-call] # as its authors left it
        self._task, self._pairs = task, pairs

    def __call__(self, *_: Any, **__: Any) -> dict[str, float]:
        """Score the pairs with the model as it is."""
        return {self._task.metric: metric_of(self._task.metric, self._pairs, self._task.score(self._pairs))}


def fit(
    task: TrainingTask,
    valid: LabelledPairs,
    settings: TrainingSettings,
    plan: TrainingPlan,
    folder: TrainingFolder,
    progress: Progress,
) -> TrainingResult:
    """Train, from the last checkpoint on where there is one, and return how that went."""
    last, metric = folder.last(), f"eval_{task.metric}"
    state = TrainerState() if last is None else TrainerState.load_from_json(str(last / "trainer_state.json"))
    if state.global_step < plan.steps and not is_exhausted(state.log_history, metric, settings.patience):
        _without_examples(task.model.model_card_data)
        with progress.bar("train", plan.steps, "steps") as bar, task.around:
            trainer = task.trainer(
                model=task.model,
                args=_arguments(task, settings, plan, folder.checkpoints),
                train_dataset=Dataset.from_dict(task.columns),
                loss=task.loss,
                evaluator=Validation(task, valid),
                callbacks=[TrainingCallback(bar, metric, settings.patience)],
            )
            trainer.remove_callback(PrinterCallback)
            trainer.train(resume_from_checkpoint=None if last is None else str(last))
            state = trainer.state
    return _fitted(state, metric, folder)


def metric_of(metric: Metric, pairs: LabelledPairs, score: Floats) -> float:
    """Return the average precision for labels 0 or 1, Spearman's correlation for similarities."""
    if metric == "spearman":
        return float(spearmanr(pairs.label, score).statistic)
    return float(average_precision_score(pairs.label > 0.5, score))


def in_precision(compute: DeviceConfig) -> AbstractContextManager[Any]:
    """Return what computes in the asked-for number format while the weights are fp32."""
    if compute.dtype == torch.float32:
        return nullcontext()
    return torch.autocast(compute.device.type, compute.dtype)


def attend_quickly(transformer: Any, compute: DeviceConfig, longest: int | None) -> None:
    """Have a CPU multiply attention out in bf16, where inputs are short.

    The backward pass of torch's fused attention alone takes more than a quarter of a step there.
    """
    slow = compute.device.type == "cpu" and compute.dtype == torch.bfloat16
    fused = transformer.config._attn_implementation == "sdpa"
    if slow and fused and longest is not None and longest <= _SHORT:
        transformer.set_attn_implementation("eager")


def require_first_device(compute: DeviceConfig) -> None:
    """Refuse a GPU other than the first.

    Raises:
        SettingsError: it is another.
    """
    if compute.device.type == "cuda" and compute.device.index:
        raise SettingsError(
            f"setting compute.device: {compute.device}: training takes the first GPU that it sees; take cuda "
            f"and set the environment's CUDA_VISIBLE_DEVICES={compute.device.index}"
        )


def _without_examples(card: Any) -> None:
    """Keep the trainer from computing examples for the cards of checkpoints, which nobody reads."""
    card.generate_widget_examples = False
    card.widget = [{"source_sentence": "", "sentences": []}]


def _arguments(task: TrainingTask, settings: TrainingSettings, plan: TrainingPlan, checkpoints: Path) -> Any:
    compute = task.compute
    arguments = task.arguments(
        output_dir=str(checkpoints),
        **plan.schedule(settings),
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulate,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        optim="adamw_torch_fused",
        seed=settings.seed,
        batch_sampler=task.sampler,
        eval_strategy="steps",
        eval_steps=plan.evaluate_every,
        save_strategy="steps",
        save_steps=plan.save_every,
        save_total_limit=settings.keep_checkpoints,
        metric_for_best_model=task.metric,
        greater_is_better=True,
        logging_steps=max(min(_LOGGED, plan.steps // 20), 1),
        logging_nan_inf_filter=False,
        use_cpu=compute.device.type == "cpu",
        bf16=compute.dtype == torch.bfloat16,
        fp16=compute.dtype == torch.float16,
        dataloader_pin_memory=compute.device.type == "cuda",
        report_to=[],
        disable_tqdm=True,
    )
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # more would divide each batch among them, and in-batch negatives with it
    return arguments


def _fitted(state: TrainerState, metric: str, folder: TrainingFolder) -> TrainingResult:
    validated = {int(record["step"]): record for record in state.log_history if metric in record}
    there = [step for step in validated if (folder.checkpoints / f"checkpoint-{step}").is_dir()]
    best = max(there, key=lambda step: validated[step][metric])  # the first of several
    idle = sum(record.get("eval_runtime", 0.0) for record in validated.values())
    history = [record for record in state.log_history if "loss" in record or metric in record]
    checkpoint = folder.checkpoints / f"checkpoint-{best}"
    return TrainingResult(state.global_step, checkpoint, max(seconds_of(history) - idle, 1e-9), history)
