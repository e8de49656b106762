"""Trainings of seconds, on pairs that a tiny model can learn."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

import numpy as np

from dupmine.progress import SILENT
from dupmine.schema import LabelledPairs
from dupmine.staged import load_staged
from dupmine.training.folder import Target
from dupmine.training.outcome import Outcome
from dupmine.training.run import train_model
from dupmine.training.settings import BiEncoderTraining, CrossEncoderTraining

from .tiny_models import WORDS

_WORDS = ["cat", "dog", "horse", "house", "car", "money", "sky", "blue", "red", "green", "tree", "leaf"]

_NOISE = ["how", "what", "the", "a", "best", "new", "old", "is", "to"]
_TOPICS = WORDS.split()[40:64]


def learnable_pairs(n: int, seed: int = 0) -> LabelledPairs:
    """Return n labelled pairs of distinct texts; those with "how" are duplicates, those with "why" not."""
    chance = random.Random(seed)
    labels = [i % 2 for i in range(n)]

    def text(label: int, i: int) -> str:
        return " ".join([("why", "how")[label], *chance.choices(_WORDS, k=chance.randint(1, 4)), str(i)])

    return LabelledPairs(
        [text(label, i) for i, label in enumerate(labels)],
        [text(label, n + i) for i, label in enumerate(labels)],
        np.array(labels, np.float32),
    )


def topics(n: int, seed: int = 0) -> LabelledPairs:
    """Return n pairs of a plain question and another, duplicates where both have the same topic."""
    chance = random.Random(seed)
    left, right = [], []
    for i in range(n):
        topic = chance.choice(_TOPICS)
        other = topic if i % 2 else chance.choice([word for word in _TOPICS if word != topic])
        left.append(f"what is {topic}")
        right.append(" ".join([*chance.choices(_NOISE, k=2), other, *chance.choices(_NOISE, k=2)]))
    return LabelledPairs(left, right, (np.arange(n) % 2).astype(np.float32))


def write_pairs(path: Path, pairs: LabelledPairs, **columns: list[Any]) -> Path:
    """Write pairs as CSV, with further columns."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["question1", "question2", "label", *columns])
        writer.writerows(zip(pairs.left, pairs.right, pairs.label, *columns.values(), strict=True))
    return path


def quick_settings(base: str, **settings: Any) -> dict[str, Any]:
    """Return settings for a training of seconds."""
    return {
        "model.base": base,
        "training.epochs": 2,
        "training.batch_size": 16,
        "training.learning_rate": 1e-2,
        "training.evaluate_every": 10,
        "compute.threads": 1,
        "compute.precision": "fp32",
    } | {name.replace("__", "."): value for name, value in settings.items()}


def train_cross_encoder(
    pairs: Path, target: Target, settings: dict[str, Any], config: Path | None = None
) -> Outcome:
    """Train a cross-encoder on a file."""
    loaded = load_staged(CrossEncoderTraining, config, settings)
    return train_model(pairs, None, loaded, target, SILENT)


def train_bi_encoder(pairs: Path, target: Target, settings: dict[str, Any]) -> Outcome:
    """Train a bi-encoder on a file."""
    return train_model(pairs, None, load_staged(BiEncoderTraining, None, settings), target, SILENT)


def losses(outcome: Outcome) -> list[float]:
    """Return the losses in their order."""
    return [record["loss"] for record in outcome.history if "loss" in record]
