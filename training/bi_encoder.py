"""Training a bi-encoder: base model, loss, and the batches and labels that the loss requires."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    ContrastiveLoss,
    CosineSimilarityLoss,
    MultipleNegativesRankingLoss,
    OnlineContrastiveLoss,
)
from torch import nn
from transformers import set_seed

from ..corpus.questions import number_questions, question_components
from ..errors import InputError
from ..inference.device import DeviceConfig
from ..inference.locate import locate_model
from ..retrieval.sentences import SentenceModel
from ..schema import Floats, LabelledPairs, Rows
from .sampler import DistinctSampler, LengthGroupedSampler, input_lengths
from .settings import BiEncoderTraining, EmbedderSettings, ObjectiveSettings
from .trainer import TrainingTask, attend_quickly, in_precision

log = logging.getLogger(__name__)

RANKING = ("mnrl", "cached-mnrl")

_BATCH = 64  # texts
_BOTH_WAYS: Any = ("query_to_doc", "doc_to_query")


def prepare_bi_encoder(
    pairs: LabelledPairs, settings: BiEncoderTraining, compute: DeviceConfig
) -> TrainingTask:
    """Load the base model and make what a training on `pairs` needs.

    Raises:
        ModelError: the base cannot be found or loaded, or is no bi-encoder.
    """
    training, objective = settings.training, settings.objective
    set_seed(training.seed)
    model = load_base(settings.model, compute)
    for part in (module.model for module in model if isinstance(module, Transformer)):
        attend_quickly(part, compute, model.max_seq_length)
    sampler: Any
    columns: dict[str, list[Any]]
    if objective.loss in RANKING:
        columns, groups = ranked_columns(pairs, objective, seed=training.seed)
        sampler = partial(DistinctSampler, groups=groups)
        n_batches = DistinctSampler.count(groups, training.batch_size)
    else:
        columns = {"left": pairs.left, "right": pairs.right, "label": labels_for(objective, pairs)}
        sampler = partial(LengthGroupedSampler, lengths=_lengths(pairs, model))
        n_batches = -(-len(pairs) // training.batch_size)
    return TrainingTask(
        model=model,
        trainer=SentenceTransformerTrainer,
        arguments=SentenceTransformerTrainingArguments,
        columns=columns,
        loss=make_loss(objective, model),
        sampler=sampler,
        n_batches=n_batches,
        metric="average_precision" if pairs.is_binary else "spearman",
        score=_scorer(model, compute),
        scale="cosine",
        compute=compute,
        around=nullcontext(),
    )


def load_base(settings: EmbedderSettings, compute: DeviceConfig) -> SentenceTransformer:
    """Load a base model in fp32.

    Raises:
        ModelError: it cannot be found or loaded, or is no bi-encoder.
    """
    name, folder = settings.base, locate_model(settings.base)
    model = SentenceModel(name, folder, replace(compute, dtype=torch.float32)).model
    if model.max_seq_length is not None:
        model.max_seq_length = min(model.max_seq_length, settings.max_tokens)
    return model


def labels_for(objective: ObjectiveSettings, pairs: LabelledPairs) -> list[float] | list[int]:
    """Return the targets of a loss that compares the two texts of a pair.

    For `cosine` a pair that differs has the target 0, not -1: the negatives of a set of hard questions are
    near-duplicates, whose vectors only damage to the whole space could turn against each other.
    """
    labels: list[Any] = (pairs.label if objective.loss == "cosine" else pairs.label.astype(np.int64)).tolist()
    return labels


def ranked_columns(
    pairs: LabelledPairs, objective: ObjectiveSettings, *, seed: int
) -> tuple[dict[str, list[Any]], Rows]:
    """Return the columns of a ranking loss, a row per duplicate, and the group of each row, `(n_rows,)`.

    Rows of one group are about the same question, so none may be a negative of another. With
    `labelled_negatives` a row whose texts have a pair that differs gets its other text as third column; a
    row without gets a text of another group.

    Raises:
        InputError: all duplicates are about one question.
    """
    duplicates = np.flatnonzero(pairs.label > 0.5)
    rows = pairs.take(duplicates)
    groups = question_components(rows)
    if groups.max() == 0:
        raise InputError(
            f"{pairs.source}: all duplicates are about one question, so none can be the other's negative; "
            "take another objective.loss"
        )
    columns = {"anchor": rows.left, "positive": rows.right}
    if objective.labelled_negatives and len(duplicates) < len(pairs):
        columns["negative"] = _negatives(pairs, duplicates, rows, groups, seed=seed)
    return columns, groups


def _negatives(
    pairs: LabelledPairs, duplicates: Rows, rows: LabelledPairs, groups: Rows, *, seed: int
) -> list[str]:
    """Return a negative for each row, whose texts change places where only the right one has any."""
    questions = number_questions(pairs)
    group_of = np.full(int(questions.max()) + 1, -1)
    group_of[questions[:, duplicates]] = groups
    texts, rng = _negative_texts(pairs, questions), np.random.default_rng(seed)
    chosen = []
    for i, row in enumerate(duplicates):
        sides = [
            [text for question, text in texts.get(side, ()) if group_of[question] != groups[i]]
            for side in questions[:, row].tolist()
        ]
        if sides[1] and not sides[0]:
            rows.left[i], rows.right[i] = rows.right[i], rows.left[i]
        usable = sides[0] or sides[1] or [rows.left[_of_other_group(groups, i, rng)]]
        chosen.append(usable[int(rng.integers(len(usable)))])
    return chosen


def _of_other_group(groups: Rows, row: int, rng: np.random.Generator) -> int:
    drawn = row
    while groups[drawn] == groups[row]:
        drawn = int(rng.integers(len(groups)))
    return drawn


def make_loss(objective: ObjectiveSettings, model: SentenceTransformer) -> nn.Module:
    """Return the loss; the ranking ones ask both ways, left among the rights and right among the lefts."""
    match objective.loss:
        case "cosine":
            return CosineSimilarityLoss(model)
        case "contrastive":
            return ContrastiveLoss(model, margin=objective.margin)
        case "online-contrastive":
            return OnlineContrastiveLoss(model, margin=objective.margin)
        case "mnrl":
            return MultipleNegativesRankingLoss(
                model, scale=objective.scale, directions=_BOTH_WAYS, partition_mode="per_direction"
            )
        case "cached-mnrl":
            return CachedMultipleNegativesRankingLoss(
                model,
                scale=objective.scale,
                mini_batch_size=objective.mini_batch,
                directions=_BOTH_WAYS,
                partition_mode="per_direction",
            )


def _negative_texts(pairs: LabelledPairs, questions: Rows) -> dict[int, list[tuple[int, str]]]:
    """Return, by question, the questions and texts that it was said to differ from."""
    texts: dict[int, list[tuple[int, str]]] = {}
    for row in np.flatnonzero(pairs.label <= 0.5):
        left, right = (int(question) for question in questions[:, row])
        texts.setdefault(left, []).append((right, pairs.right[row]))
        texts.setdefault(right, []).append((left, pairs.left[row]))
    return texts


def _lengths(pairs: LabelledPairs, model: SentenceTransformer) -> Rows:
    """Return the tokens of each pair, or its characters where the model has no fast tokenizer."""
    backend = getattr(getattr(model, "tokenizer", None), "backend_tokenizer", None)
    if backend is None:
        return np.array([len(a) + len(b) for a, b in zip(pairs.left, pairs.right, strict=True)])
    return input_lengths((pairs.left, pairs.right), backend, 2 * (model.max_seq_length or 512))


def _scorer(model: SentenceTransformer, compute: DeviceConfig) -> Callable[[LabelledPairs], Floats]:
    """Return what gives pairs their cosine; each text is encoded once."""

    def score(pairs: LabelledPairs) -> Floats:
        place = {text: i for i, text in enumerate(dict.fromkeys((*pairs.left, *pairs.right)))}
        with in_precision(compute):
            vectors = model.encode(
                list(place),
                batch_size=_BATCH,
                show_progress_bar=False,
                convert_to_numpy=False,
                convert_to_tensor=True,
            )
        unit = nn.functional.normalize(vectors.float(), dim=1).cpu().numpy()
        left, right = (unit[[place[text] for text in side]] for side in (pairs.left, pairs.right))
        return np.asarray((left * right).sum(axis=1), np.float32)

    return score
