"""The steps of a training, from the last checkpoint on, and its best checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
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
from .callback import TrainingCallback, is_out_of_patience
from .folder import TrainingFolder
from .plan import TrainingPlan
from .sampler import EpochSampler, MakeBatches
from .settings import TrainingSettings

log = logging.getLogger(__name__)

Metric = Literal["average_precision", "spearman"]

_LOGGING_STEPS = 100  # at most
_SHORT = 256  # tokens


@dataclass(frozen=True, slots=True)
class TrainingTask:
    """What one kind of model contributes to a training.

    `model`, `trainer` and `arguments` are those of sentence-transformers. `columns` is the training set,
    which `make_batches` divides. `score` gives the logit or cosine of pairs, `(n_pairs,)`, as `scale` says.
    Training runs in the context `around`.
    """

    model: Any
    trainer: type[Any]
    arguments: type[Any]
    columns: dict[str, list[Any]]
    loss: nn.Module
    make_batches: MakeBatches
    metric: Metric
    score: Callable[[LabelledPairs], Floats]
    scale: Literal["logit", "cosine"]
    device: DeviceConfig
    around: AbstractContextManager[None]


class Validation(BaseEvaluator):
    """The metric on the validation pairs, in the form that the trainer calls."""

    def __init__(self, task: TrainingTask, pairs: LabelledPairs) -> None:
        """Take the pairs to validate on."""
        super().__init__()  # type: ignore[no-untyped-call] # untyped in the library
        self._task, self._pairs = task, pairs

    def __call__(self, *_: Any, **__: Any) -> dict[str, float]:
        """Return the metric of the current model."""
        score = self._task.score(self._pairs)
        return {self._task.metric: compute_metric(self._task.metric, self._pairs, score)}


def fit(
    task: TrainingTask,
    valid: LabelledPairs,
    settings: TrainingSettings,
    plan: TrainingPlan,
    folder: TrainingFolder,
    progress: Progress,
) -> TrainerState:
    """Train, from the last checkpoint on if there is one, and return the trainer's record."""
    last, metric = folder.last_checkpoint(), f"eval_{task.metric}"
    state = TrainerState() if last is None else TrainerState.load_from_json(str(last / "trainer_state.json"))
    if state.global_step < plan.steps and not is_out_of_patience(
        state.log_history, metric, settings.patience
    ):
        # Without examples, which the trainer would compute for the card of each checkpoint.
        card = task.model.model_card_data
        card.generate_widget_examples, card.widget = False, [{"source_sentence": "", "sentences": []}]
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
    return state


def compute_metric(metric: Metric, pairs: LabelledPairs, score: Floats) -> float:
    """Return the average precision for labels 0 or 1, or Spearman's correlation for similarities."""
    if metric == "spearman":
        return float(spearmanr(pairs.label, score).statistic)
    return float(average_precision_score(pairs.label > 0.5, score))


def in_precision(device: DeviceConfig) -> AbstractContextManager[Any]:
    """Return a context that computes in the configured number format while the weights are fp32."""
    if device.dtype == torch.float32:
        return nullcontext()
    return torch.autocast(device.device.type, device.dtype)


def choose_attention(transformer: Any, device: DeviceConfig, longest: int | None) -> None:
    """Use plain attention on a CPU in bf16 if inputs are short.

    The backward pass of torch's fused attention takes more than a quarter of a step there.
    """
    slow = device.device.type == "cpu" and device.dtype == torch.bfloat16
    fused = transformer.config._attn_implementation == "sdpa"
    if slow and fused and longest is not None and longest <= _SHORT:
        transformer.set_attn_implementation("eager")


def require_device(device: DeviceConfig) -> None:
    """Check that models can be trained on a device.

    Raises:
        SettingsError: it is a GPU other than the first, or its precision is int8.
    """
    if device.int8 == "always":
        raise SettingsError("setting compute.precision: int8 is not for training; use auto, fp32 or bf16")
    if device.device.type == "cuda" and device.device.index:
        raise SettingsError(
            f"setting compute.device: {device.device}: training uses the first visible GPU; set it to cuda, "
            f"and the environment variable CUDA_VISIBLE_DEVICES={device.device.index}"
        )


def _arguments(task: TrainingTask, settings: TrainingSettings, plan: TrainingPlan, checkpoints: Path) -> Any:
    device = task.device
    arguments = task.arguments(
        output_dir=str(checkpoints),
        **plan.schedule(settings),
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulate,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        optim="adamw_torch_fused",
        seed=settings.seed,
        batch_sampler=partial(EpochSampler, make_batches=task.make_batches),
        eval_strategy="steps",
        eval_steps=plan.evaluate_every,
        save_strategy="steps",
        save_steps=plan.save_every,
        save_total_limit=settings.keep_checkpoints,
        metric_for_best_model=task.metric,
        greater_is_better=True,
        logging_steps=max(min(_LOGGING_STEPS, plan.steps // 20), 1),
        logging_nan_inf_filter=False,
        use_cpu=device.device.type == "cpu",
        bf16=device.dtype == torch.bfloat16,
        fp16=device.dtype == torch.float16,
        dataloader_pin_memory=device.device.type == "cuda",
        report_to=[],
        disable_tqdm=True,
    )
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # with more, the trainer divides each batch and its in-batch negatives
    return arguments
