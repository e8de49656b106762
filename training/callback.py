"""What happens between the steps of a training: progress, times, validation at the end, early stopping."""

from __future__ import annotations

import logging
import math
import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..errors import ModelError
from ..progress import Bar

log = logging.getLogger(__name__)

History = list[dict[str, float]]


class TrainingCallback(TrainerCallback):
    """Advance the bar, time the steps, save at each validation, validate at the end and stop early."""

    def __init__(self, bar: Bar, metric: str, patience: int | None) -> None:
        """Take the bar, the metric's name in the history, and the validations to wait for progress."""
        self._bar, self._metric, self._patience = bar, metric, patience
        self._earlier, self._started = 0.0, time.perf_counter()
        self._shown: dict[str, str] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Set the bar and the clock to the checkpoint."""
        self._bar.update(state.global_step - self._bar.n)
        self._earlier, self._started = elapsed_seconds(state.log_history), time.perf_counter()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Count the step."""
        self._bar.update(1)
        if state.global_step >= state.max_steps:
            control.should_evaluate = True

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Record the time in the history, which checkpoints hold, and show the loss and the metric.

        Raises:
            ModelError: the loss is not finite.
        """
        record = state.log_history[-1]
        record["seconds"] = round(self._earlier + time.perf_counter() - self._started, 3)
        if not math.isfinite(record.get("loss", 0.0)):
            raise ModelError(
                f"the training diverged, the loss is {record['loss']} at step {state.global_step}: lower "
                "training.learning_rate, or raise training.warmup"
            )
        shown = {name: record[name] for name in ("loss", self._metric) if name in record}
        self._shown |= {name.removeprefix("eval_"): f"{value:.4f}" for name, value in shown.items()}
        self._bar.set_postfix(self._shown, refresh=False)

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Save what was validated, and stop after too many validations without progress."""
        control.should_save = True
        if is_out_of_patience(state.log_history, self._metric, self._patience):
            log.info("no progress in %s validations: stopped at step %d", self._patience, state.global_step)
            control.should_training_stop = True


def is_out_of_patience(history: History, metric: str, patience: int | None) -> bool:
    """Whether none of the last `patience` validations was better than all before them."""
    values = [record[metric] for record in history if metric in record]
    if patience is None or not values:
        return False
    return len(values) - 1 - values.index(max(values)) >= patience


def elapsed_seconds(history: History) -> float:
    """Return the seconds that a history covers, those of earlier processes included."""
    return max((record.get("seconds", 0.0) for record in history), default=0.0)
