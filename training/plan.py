"""The steps of a training, its learning rate over them, and which settings a resumed training may change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .settings import TrainingSettings, TrainSettings

_MISSING = "missing"
_SHOWN = 3
_NO_EFFECT = {"training.keep_checkpoints", "compute.threads", "compute.device", "compute.batch_tokens"}
_LENGTH = ("training.epochs", "training.max_steps", "training.decay", "warm-up ends", "decay begins")


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """The number of steps: in all, per epoch, of warm-up and decay, between validations and checkpoints."""

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
        """The step at which the rate of a warmup-stable-decay schedule starts to fall."""
        return self.steps - self.decay

    def schedule(self, settings: TrainingSettings) -> dict[str, Any]:
        """Return the trainer's arguments for the learning rate."""
        arguments: dict[str, Any] = {"max_steps": self.steps, "warmup_steps": self.warmup}
        if settings.schedule != "warmup-stable-decay":
            return {**arguments, "lr_scheduler_type": settings.schedule}
        options = {"num_decay_steps": self.decay, "decay_type": "linear"}
        return {**arguments, "lr_scheduler_type": "warmup_stable_decay", "lr_scheduler_kwargs": options}


def effective_settings(stages: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the settings that change the trained weights, as `stage.key`."""
    named = {f"{stage}.{key}": value for stage, values in stages.items() for key, value in values.items()}
    return {name: value for name, value in named.items() if name not in _NO_EFFECT}


def describe_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """Return the first values that differ and the number of others, None where all are equal."""
    changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    shown = [
        f"{name} was {before.get(name, _MISSING)}, is {now.get(name, _MISSING)}" for name in changed[:_SHOWN]
    ]
    if len(changed) > _SHOWN:
        shown.append(f"{len(changed) - _SHOWN} more")
    return "; ".join(shown) or None


def resume_basis(settings: TrainSettings, plan: TrainingPlan, digests: Mapping[str, str]) -> dict[str, str]:
    """Return what the checkpoints depend on; a training is resumed only if all of it is equal."""
    values = effective_settings(settings.model_dump(exclude={"pairs"}))
    steps = {"warm-up ends": str(plan.warmup), "decay begins": str(plan.decay_begins)}
    return {name: str(value) for name, value in values.items()} | steps | dict(digests)


def prolong(before: Mapping[str, str], basis: Mapping[str, str], step: int) -> dict[str, str]:
    """Return the earlier basis, with the new length if the rates up to `step` are the same for both lengths.

    They are with warmup-stable-decay, after both warm-ups and before both decays.
    """
    stable = "warmup-stable-decay" == before.get("training.schedule") == basis["training.schedule"]
    if not stable or not all(name in before for name in _LENGTH):
        return dict(before)
    warmed_up = max(int(values["warm-up ends"]) for values in (before, basis))
    decays = min(int(values["decay begins"]) for values in (before, basis))
    if not warmed_up <= step <= decays:
        return dict(before)
    return dict(before) | {name: basis[name] for name in _LENGTH}
