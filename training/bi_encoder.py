"""Prepare the training of a bi-encoder: base model, loss, and the batches and labels for that loss."""

from __future__ import annotations

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

from ..corpus.questions import distinct_texts, number_questions, question_components
from ..errors import InputError
from ..inference.device import DeviceConfig
from ..inference.locate import locate_model
from ..retrieval.sentences import SentenceModel
from ..schema import Floats, LabelledPairs, Rows
from .sampler import distinct_batches, input_lengths, length_grouped_batches
from .settings import BiEncoderTraining, EmbedderSettings, ObjectiveSettings
from .trainer import TrainingTask, choose_attention, in_precision

RANKING = ("mnrl", "cached-mnrl")

_BATCH = 64  # texts
_BOTH_WAYS: Any = ("query_to_doc", "doc_to_query")


def prepare_bi_encoder(
    pairs: LabelledPairs, settings: BiEncoderTraining, device: DeviceConfig
) -> TrainingTask:
    """Load the base model and prepare its training on `pairs`.

    Raises:
        ModelError: the base cannot be found or loaded, or is not a bi-encoder.
    """
    training, objective = settings.training, settings.objective
    set_seed(training.seed)
    model = load_base(settings.model, device)
    for transformer in (module.model for module in model if isinstance(module, Transformer)):
        choose_attention(transformer, device, model.max_seq_length)
    columns: dict[str, list[Any]]
    if objective.loss in RANKING:
        columns, groups = ranked_columns(pairs, objective, seed=training.seed)
        make_batches = partial(distinct_batches, groups)
    else:
        columns = {"left": pairs.left, "right": pairs.right, "label": target_labels(objective, pairs)}
        make_batches = partial(length_grouped_batches, _lengths(pairs, model))
    return TrainingTask(
        model=model,
        trainer=SentenceTransformerTrainer,
        arguments=SentenceTransformerTrainingArguments,
        columns=columns,
        loss=make_loss(objective, model),
        make_batches=make_batches,
        metric="average_precision" if pairs.is_binary else "spearman",
        score=_scorer(model, device),
        scale="cosine",
        device=device,
        around=nullcontext(),
    )


def load_base(settings: EmbedderSettings, device: DeviceConfig) -> SentenceTransformer:
    """Load a base model in fp32.

    Raises:
        ModelError: it cannot be found or loaded, or is not a bi-encoder.
    """
    folder = locate_model(settings.base)
    model = SentenceModel(settings.base, folder, replace(device, dtype=torch.float32)).module
    if model.max_seq_length is not None:
        model.max_seq_length = min(model.max_seq_length, settings.max_tokens)
    return model


def target_labels(objective: ObjectiveSettings, pairs: LabelledPairs) -> list[float] | list[int]:
    """Return the targets of a loss that compares the two texts of a pair.

    For `cosine` a different pair has the target 0, not -1: hard negatives are near-duplicates, and opposite
    vectors for them would damage the whole space.
    """
    labels: list[Any] = (pairs.label if objective.loss == "cosine" else pairs.label.astype(np.int64)).tolist()
    return labels


def ranked_columns(
    pairs: LabelledPairs, objective: ObjectiveSettings, *, seed: int
) -> tuple[dict[str, list[Any]], Rows]:
    """Return the columns of a ranking loss, a row per duplicate, and the group of each row, `(n_rows,)`.

    Rows of one group ask the same question, so none may be a negative of another. With `labelled_negatives`
    the third column holds a text that was labelled different from one of the row's texts, or else a text of
    another group.

    Raises:
        InputError: all duplicates ask the same question.
    """
    duplicates = np.flatnonzero(pairs.label > 0.5)
    rows = pairs.take(duplicates)
    groups = question_components(rows)
    if groups.max() == 0:
        raise InputError(
            f"{pairs.source}: all duplicates ask the same question, so there are no negatives; use another "
            "objective.loss"
        )
    columns = {"anchor": rows.left, "positive": rows.right}
    if objective.labelled_negatives and len(duplicates) < len(pairs):
        columns["negative"] = _negatives(pairs, duplicates, rows, groups, seed=seed)
    return columns, groups


def _negatives(
    pairs: LabelledPairs, duplicates: Rows, rows: LabelledPairs, groups: Rows, *, seed: int
) -> list[str]:
    """Return a negative for each row; the row's texts are swapped if only the right one has a negative."""
    questions = number_questions(pairs)
    group_of = np.full(int(questions.max()) + 1, -1)
    group_of[questions[:, duplicates]] = groups
    texts, rng = _negative_texts(pairs, questions), np.random.default_rng(seed)
    negatives = []
    for i, row in enumerate(duplicates):
        sides = [
            [text for question, text in texts.get(side, ()) if group_of[question] != groups[i]]
            for side in questions[:, row].tolist()
        ]
        if sides[1] and not sides[0]:
            rows.left[i], rows.right[i] = rows.right[i], rows.left[i]
        usable = sides[0] or sides[1] or [rows.left[_draw_other_group(groups, i, rng)]]
        negatives.append(usable[int(rng.integers(len(usable)))])
    return negatives


def _draw_other_group(groups: Rows, row: int, rng: np.random.Generator) -> int:
    drawn = row
    while groups[drawn] == groups[row]:
        drawn = int(rng.integers(len(groups)))
    return drawn


def make_loss(objective: ObjectiveSettings, model: SentenceTransformer) -> nn.Module:
    """Return the loss; the ranking losses compare left texts with all right ones, and the reverse."""
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
    """Return, by question, the questions and texts that were labelled different from it."""
    texts: dict[int, list[tuple[int, str]]] = {}
    for row in np.flatnonzero(pairs.label <= 0.5):
        left, right = (int(question) for question in questions[:, row])
        texts.setdefault(left, []).append((right, pairs.right[row]))
        texts.setdefault(right, []).append((left, pairs.left[row]))
    return texts


def _lengths(pairs: LabelledPairs, model: SentenceTransformer) -> Rows:
    """Return the tokens of each pair, or its characters if the model has no fast tokenizer."""
    backend = getattr(getattr(model, "tokenizer", None), "backend_tokenizer", None)
    if backend is None:
        return np.array([len(a) + len(b) for a, b in zip(pairs.left, pairs.right, strict=True)])
    return input_lengths(pairs, backend, 2 * (model.max_seq_length or 512))


def _scorer(model: SentenceTransformer, device: DeviceConfig) -> Callable[[LabelledPairs], Floats]:
    """Return a function from pairs to cosines, which encodes each text once."""

    def score(pairs: LabelledPairs) -> Floats:
        texts, left, right = distinct_texts(pairs)
        with in_precision(device):
            vectors = model.encode(
                texts,
                batch_size=_BATCH,
                show_progress_bar=False,
                convert_to_numpy=False,
                convert_to_tensor=True,
            )
        unit = nn.functional.normalize(vectors.float(), dim=1).cpu().numpy()
        return np.asarray((unit[left] * unit[right]).sum(axis=1), np.float32)

    return score
