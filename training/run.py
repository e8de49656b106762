"""A training on one page: pairs → model → plan → steps → best checkpoint → folder."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..corpus.labelled import pairs_sha256
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
from .folder import Target, open_training
from .negatives import mine_negatives
from .outcome import Outcome, evaluate_training
from .plan import TrainingPlan, resume_basis
from .pseudo_labels import add_pseudo_labels
from .settings import CrossEncoderTraining, TrainSettings
from .trainer import TrainingTask, compute_metric, fit, require_device

log = logging.getLogger(__name__)


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
    with open_training(target) as folder, quiet_loading():
        task = _prepare_task(sets.train, settings, device)
        batches = task.make_batches(settings.training.batch_size, np.random.default_rng(0))
        plan = TrainingPlan.make(settings.training, len(batches))
        sha256 = fingerprint(base)
        digests = {"training pairs": pairs_sha256(sets.train), "validation pairs": pairs_sha256(sets.valid)}
        digests |= {"base model": sha256, "number format": str(device.dtype)}
        folder.require_basis(resume_basis(settings, plan, digests))
        # A cross-encoder may have a new head, which says nothing yet.
        score = task.score(sets.valid) if task.scale == "cosine" else None
        before = None if score is None else compute_metric(task.metric, sets.valid, score)
        state = fit(task, sets.valid, settings.training, plan, folder, progress)
        _load_weights(task, folder.checkpoints / f"checkpoint-{state.best_global_step}")
        outcome = evaluate_training(task, sets.valid, state, settings, base_sha256=sha256, before=before)
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


def _load_weights(task: TrainingTask, checkpoint: Path) -> None:
    options: dict[str, Any] = {
        "device": str(task.device.device),
        "local_files_only": True,
        "trust_remote_code": task.device.trust_remote_code,
        "model_kwargs": {"dtype": torch.float32},
    }
    task.model.load_state_dict(type(task.model)(str(checkpoint), **options).state_dict())
