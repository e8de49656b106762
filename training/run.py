"""A training on one page: pairs → model → plan → steps → best checkpoint → folder."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..disk.files import share_weights
from ..errors import SettingsError
from ..inference.device import DeviceConfig, resolve_device
from ..inference.locate import fingerprint, locate_model, quiet_loading
from ..progress import Progress
from ..schema import LabelledPairs
from .bi_encoder import prepare_bi_encoder
from .card import write_outcome
from .cross_encoder import prepare_cross_encoder
from .data import PairSets, read_sets, require_labels
from .folder import TrainingFolder, open_training, step_number
from .negatives import mine_negatives
from .outcome import Outcome, evaluate_training, metric_before
from .plan import TrainingPlan, prolong, resume_basis
from .pseudo_labels import add_pseudo_labels
from .settings import CrossEncoderTraining, TrainSettings
from .trainer import TrainingTask, fit, require_device

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Target:
    """The folder of a trained model and what it may hold before; `command` started the training."""

    folder: Path
    resume: bool = False
    restart: bool = False
    overwrite: bool = False
    command: str = "dupmine.training"


def train_model(
    pairs: Path, valid: Path | None, settings: TrainSettings, target: Target, progress: Progress
) -> Outcome:
    """Train a bi- or cross-encoder on a file of labelled pairs, and write it with card, record and plots.

    Raises:
        DupmineError: the pairs, the settings, the base model or the folder do not fit; see its subclasses.
    """
    device = resolve_device(settings.compute)
    require_device(device)
    base = locate_model(settings.model.base)
    sets = _prepare_pairs(pairs, valid, settings, progress)
    opened = open_training(
        target.folder, resume=target.resume, restart=target.restart, overwrite=target.overwrite
    )
    with opened as folder, quiet_loading():
        task = _prepare_task(sets.train, settings, device)
        plan = TrainingPlan.make(settings.training, task.count_batches(settings.training.batch_size))
        sha256 = fingerprint(base)
        digests = {**sets.digests(), "base model": sha256, "number format": str(device.dtype)}
        _require_same(folder, resume_basis(settings, plan, digests))
        before = metric_before(task, sets.valid)
        training = fit(task, sets.valid, settings.training, plan, folder, progress)
        _load_weights(task, training.best)
        outcome = evaluate_training(task, sets.valid, training, settings, base_sha256=sha256, before=before)
        task.model.save_pretrained(str(folder.staging), create_model_card=False)
        share_weights(folder.staging)
        write_outcome(outcome, sets, target.command, folder.staging)
    log.info("%d steps, the best at %d: %s", outcome.steps, outcome.best_step, target.folder)
    return outcome


def _prepare_pairs(pairs: Path, valid: Path | None, settings: TrainSettings, progress: Progress) -> PairSets:
    sets = read_sets(pairs, valid, settings.pairs, settings.training.seed)
    if isinstance(settings, CrossEncoderTraining):
        head = settings.model.head
        require_labels(sets, binary=head != "score", batch=settings.training.batch_size)
        if settings.pseudo_labels.run is not None and head != "sigmoid":
            raise SettingsError(
                f"setting pseudo_labels.run: probabilities are learned with model.head sigmoid, not {head}: "
                "set it to sigmoid, or leave pseudo_labels.run out"
            )
        sets = add_pseudo_labels(sets, settings.pseudo_labels, settings.training.seed)
    else:
        binary = settings.objective.loss != "cosine"
        require_labels(sets, binary=binary, batch=settings.training.batch_size)
    return mine_negatives(sets, settings.negatives, settings.compute, progress)


def _prepare_task(pairs: LabelledPairs, settings: TrainSettings, device: DeviceConfig) -> TrainingTask:
    if isinstance(settings, CrossEncoderTraining):
        return prepare_cross_encoder(pairs, settings, device)
    return prepare_bi_encoder(pairs, settings, device)


def _require_same(folder: TrainingFolder, basis: dict[str, str]) -> None:
    """Check that the checkpoints belong to this training, and remove incomplete ones."""
    last = folder.last_checkpoint()
    before = {} if last is None else prolong(folder.read_basis(), basis, step_number(last))
    folder.require_basis(before, basis)
    folder.remove_partial()


def _load_weights(task: TrainingTask, checkpoint: Path) -> None:
    options: dict[str, Any] = {
        "device": str(task.device.device),
        "local_files_only": True,
        "trust_remote_code": task.device.trust_remote_code,
        "model_kwargs": {"dtype": torch.float32},
    }
    task.model.load_state_dict(type(task.model)(str(checkpoint), **options).state_dict())
