"""The steps of a training, its learning rate over them, and what a resumed one may change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .settings import TrainingSettings, TrainSettings

_FREE = {"training.keep_checkpoints", "compute.threads", "compute.device", "compute.batch_tokens"}
_LATER = ("training.epochs", "training.max_steps", "training.decay", "warm-up ends", "decay begins")


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """Steps in all and per epoch, those of the warm-up and of the decay, between validations and saves."""

    steps: int
    per_epoch: int
    warmup: int
    decay: int
    evaluate_every: int
    save_every: int

    @classmethod
    def make(cls, settings: TrainingSettings, n_batches: int) -> TrainingPlan:
        """Plan a training whose epochs have `n_batches` batches."""
        per_epoch = -(-n_batches // settings.accumulate)
        steps = settings.max_steps or settings.epochs * per_epoch
        evaluate_every = min(settings.evaluate_every or max(per_epoch // 4, 1), steps)
        warmup = round(settings.warmup * steps)
        return cls(
            steps,
            per_epoch,
            warmup,
            min(max(round(settings.decay * steps), 1), steps - warmup),
            evaluate_every,
            settings.save_every or evaluate_every,
        )

    @property
    def decay_begins(self) -> int:
        """The step from which a warmup-stable-decay schedule falls."""
        return self.steps - self.decay

    def schedule(self, settings: TrainingSettings) -> dict[str, Any]:
        """Return the trainer's arguments for the learning rate."""
        arguments: dict[str, Any] = {"max_steps": self.steps, "warmup_steps": self.warmup}
        if settings.schedule != "warmup-stable-decay":
            return {**arguments, "lr_scheduler_type": settings.schedule}
        options = {"num_decay_steps": self.decay, "decay_type": "linear"}
        return {**arguments, "lr_scheduler_type": "warmup_stable_decay", "lr_scheduler_kwargs": options}


def basis_of(settings: TrainSettings, plan: TrainingPlan, facts: Mapping[str, str]) -> dict[str, str]:
    """Return what the checkpoints of a training follow from: it is resumed with the same only."""
    stages = settings.model_dump(exclude={"pairs"})
    values = {f"{stage}.{key}": str(value) for stage, of in stages.items() for key, value in of.items()}
    steps = {"warm-up ends": str(plan.warmup), "decay begins": str(plan.decay_begins)}
    return {name: value for name, value in values.items() if name not in _FREE} | steps | dict(facts)


def prolonged(before: Mapping[str, str], basis: Mapping[str, str], step: int) -> dict[str, str]:
    """Return what began before with the length of now, if at `step` the two have had the same rates.

    So it is with warmup-stable-decay between the warm-up and the decay.
    """
    stable = "warmup-stable-decay" == before.get("training.schedule") == basis["training.schedule"]
    if not stable or not all(name in before for name in _LATER):
        return dict(before)
    plans = (before, basis)
    begun = max(int(plan["warm-up ends"]) for plan in plans)
    if not begun <= step <= min(int(plan["decay begins"]) for plan in plans):
        return dict(before)
    return dict(before) | {name: basis[name] for name in _LATER}
