"""A training on one page: folder → model → plan → steps → best checkpoint → what it leaves."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from ..disk.files import share_weights
from ..errors import SettingsError
from ..inference.device import DeviceConfig, resolve_device
from ..inference.locate import fingerprint, locate_model, quiet_loading
from ..progress import Progress
from ..schema import LabelledPairs
from .card import write_outcome
from .data import PairSets
from .folder import TrainingFolder, open_training, step_of
from .outcome import Outcome, evaluate_training, start_of
from .plan import TrainingPlan, basis_of, prolonged
from .settings import TrainSettings
from .trainer import TrainingTask, fit, require_first_device

log = logging.getLogger(__name__)

S = TypeVar("S", bound=TrainSettings)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a training writes and what may be there; `command` is what started it."""

    out: Path
    resume: bool = False
    restart: bool = False
    overwrite: bool = False
    command: str = "dupmine.training"


def run_training(
    sets: PairSets,
    settings: S,
    prepare: Callable[[LabelledPairs, S, DeviceConfig], TrainingTask],
    request: Target,
    progress: Progress,
) -> Outcome:
    """Train the model that `prepare` makes, and write it with its card, record and plots to a folder.

    Raises:
        DupmineError: pairs, settings, a base model or a folder that do not fit; see its subclasses.
    """
    compute = resolve_device(settings.compute)
    if compute.int8 == "always":
        raise SettingsError("setting compute.precision: nothing is trained in int8; take auto, fp32 or bf16")
    require_first_device(compute)
    base = locate_model(settings.model.base)
    opened = open_training(
        request.out, resume=request.resume, restart=request.restart, overwrite=request.overwrite
    )
    with opened as folder, quiet_loading():
        task = prepare(sets.train, settings, compute)
        plan = TrainingPlan.make(settings.training, task.n_batches)
        sha256 = fingerprint(base)
        facts = {**sets.fingerprints(), "base model": sha256, "number format": str(compute.dtype)}
        _require_same(folder, basis_of(settings, plan, facts))
        before = start_of(task, sets.valid)
        fitted = fit(task, sets.valid, settings.training, plan, folder, progress)
        _load_weights(task, fitted.best)
        outcome = evaluate_training(task, sets.valid, fitted, settings, sha256=sha256, before=before)
        task.model.save_pretrained(str(folder.staging), create_model_card=False)
        share_weights(folder.staging)
        write_outcome(outcome, sets, request.command, folder.staging)
    log.info("%d steps, the best at %d: %s", fitted.steps, step_of(fitted.best), request.out)
    return outcome


def _require_same(folder: TrainingFolder, basis: dict[str, str]) -> None:
    last = folder.last()
    before = {} if last is None else prolonged(folder.planned(), basis, step_of(last))
    folder.require(before, basis)
    folder.sweep()


def _load_weights(task: TrainingTask, checkpoint: Path) -> None:
    options: dict[str, Any] = {
        "device": str(task.compute.device),
        "local_files_only": True,
        "trust_remote_code": task.compute.trust_remote_code,
        "model_kwargs": {"dtype": torch.float32},
    }
    task.model.load_state_dict(type(task.model)(str(checkpoint), **options).state_dict())
