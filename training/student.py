"""Training a student: a cross-encoder's first layers learn what all of them say of a run's candidates."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..corpus.unique import collapse_exact_duplicates
from ..errors import InputError, ModelError
from ..inference.device import DeviceConfig
from ..inference.locate import locate_model
from ..progress import Progress
from ..rerank.student import read_tensors
from ..results.result import MiningResult, run_of_model
from ..schema import TEXT, LabelledPairs, probabilities
from .cross_encoder import prepare_classifier
from .data import Sets, pairs_at, require_labels
from .outcome import Outcome
from .run import Request, run_training
from .settings import StudentTraining
from .trainer import Task

log = logging.getLogger(__name__)

_HELD_OUT = 0.025  # of the texts; twice the share of the pairs
_MOST_HELD_OUT = 5_000  # pairs


def train_student(run: Path, settings: StudentTraining, request: Request, progress: Progress) -> Outcome:
    """Train the first layers of a cross-encoder on the logits it gave the candidates of a run.

    The embeddings stay as they are, so that the student shares them with its cross-encoder.

    Raises:
        DupmineError: a run, settings, a model or a folder that do not fit; see its subclasses.
    """
    name = settings.model.base
    result = run_of_model(run, name, locate_model(name))
    sets = candidates_of(result, run, settings)
    require_labels(sets, binary=False, batch=settings.training.batch_size)
    return run_training(sets, settings, prepare_student, request, progress)


def candidates_of(result: MiningResult, run: Path, settings: StudentTraining) -> Sets:
    """Return the candidates of a run with the cross-encoder's probabilities; some texts are set aside.

    Raises:
        InputError: the run has too few.
    """
    generator = np.random.default_rng(settings.training.seed)
    pairs, texts = result.scored_pairs, collapse_exact_duplicates(result.corpus.documents[TEXT]).texts
    pairs = pairs.where(generator.permutation(len(pairs)))
    aside = generator.random(len(texts)) < _HELD_OUT
    apart = aside[pairs.left] | aside[pairs.right]
    chosen = np.flatnonzero(~apart)[: settings.student.most_pairs], np.flatnonzero(apart)[:_MOST_HELD_OUT]
    if not all(map(len, chosen)):
        raise InputError(
            f"{run}: its {len(pairs):,} scored pairs are too few to train a student; mine more texts"
        )
    train, valid = (
        pairs_at(texts, pairs, at, probabilities(pairs.pair_logit[at]), str(run)) for at in chosen
    )
    facts = {"files": [{"name": run.name, "sha256": None}], "validation": "set aside, no text in both"}
    return Sets(train, valid, facts)


def prepare_student(pairs: LabelledPairs, settings: StudentTraining, compute: DeviceConfig) -> Task:
    """Load the cross-encoder, leave its first layers and make what their training needs.

    Raises:
        ModelError: the model cannot be loaded, or has fewer layers or others than expected; or the student to
            go on from is not one of it.
    """
    task = prepare_classifier(pairs, settings, compute)
    shorten(settings.model.base, task.model.model, settings.student.layers)
    if settings.student.start is not None:
        go_on_from(settings.student.start, settings.model.base, task.model.model)
    return task


def go_on_from(start: str, teacher: str, model: nn.Module) -> None:
    """Take the weights of an earlier student of as many layers.

    Raises:
        ModelError: it cannot be found, or is no such student of this teacher.
    """
    weights, held = read_tensors(locate_model(start)), model.state_dict()
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}

    def fits(name: str) -> bool:
        own, of_model = weights[name].to(held[name]), held[name]
        return own.shape == of_model.shape if name in trained else torch.equal(own, of_model)

    if weights.keys() != held.keys() or not all(map(fits, held)):
        raise ModelError(
            f"student.start: {start} is no student of {teacher} with as many layers; "
            "leave it out, or name what `dupmine train student` made of the same model"
        )
    model.load_state_dict(weights)


def shorten(name: str, model: nn.Module, layers: int) -> None:
    """Leave a transformer its first layers.

    Raises:
        ModelError: it has no more layers than that, or is not built of one list of layers.
    """
    body: Any = model.base_model
    config: Any = model.config
    n = int(config.num_hidden_layers)
    stacks = [part for part in body.modules() if isinstance(part, nn.ModuleList) and len(part) == n]
    if n <= layers or len(stacks) != 1:
        raise ModelError(
            f"model {name} can have no student of {layers} layers: it has {n} in {len(stacks)} lists; take a "
            "model such as BERT, or fewer student.layers"
        )
    del stacks[0][layers:]
    config.num_hidden_layers = layers
    kept = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    log.info("student: %d of %d layers, %.1f M weights of its own", layers, n, kept / 1e6)
