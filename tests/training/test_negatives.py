"""Hard negatives: near, but not labelled, not connected by labels, and not probable duplicates."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from dupmine.errors import InputError
from dupmine.schema import Floats, LabelledPairs, Rows
from dupmine.training.data import PairSets
from dupmine.training.folder import Target
from dupmine.training.negatives import add_negatives
from dupmine.training.settings import NegativesSettings

from ..helpers.tiny_models import TinyModels
from ..helpers.trainings import learnable_pairs, quick_settings, train_cross_encoder, write_pairs

# a = b = c by closure; x = y; v is held out.
TRAIN = LabelledPairs(["a", "b", "x", "a"], ["b", "c", "y", "n"], np.array([1, 1, 1, 0], np.float32))
VALID = LabelledPairs(["v"], ["w"], np.zeros(1, np.float32))
CORPUS = ["A", "c", "n", "v", "twin", "alike", "far", "farther", "x"]
NEAR: dict[str, list[tuple[str, float]]] = {
    "a": [("A", 1.0), ("twin", 0.97), ("c", 0.9), ("n", 0.85), ("v", 0.8), ("alike", 0.7), ("far", 0.6)],
    "b": [("far", 0.6), ("farther", 0.5)],
    "x": [("x", 1.0), ("alike", 0.7)],
}


def search(texts: Sequence[str]) -> tuple[Floats, Rows]:
    cosines, rows = np.zeros((len(texts), 8), np.float32), np.full((len(texts), 8), -1)
    for i, text in enumerate(texts):
        for j, (other, cosine) in enumerate(NEAR.get(text, ())):
            cosines[i, j], rows[i, j] = cosine, CORPUS.index(other)
    return cosines, rows


def mined(settings: NegativesSettings) -> tuple[list[tuple[str, str]], dict[str, int], list[int]]:
    """Return the pairs, the counts, and the number of pairs that the guard scored in each round."""
    rounds = []

    def guard(left: list[str], right: list[str]) -> Floats:
        rounds.append(len(left))
        return np.array([0.25 if text == "alike" else 0.24 for text in right], np.float32)

    sets = add_negatives(PairSets(TRAIN, VALID), CORPUS, settings, search, guard)
    new = sets.train.take(np.arange(4, len(sets.train)))
    assert sets.train.left[:4] == TRAIN.left
    assert not new.label.any()
    return list(zip(new.left, new.right, strict=True)), sets.facts["negatives"], rounds


def test_probable_duplicates_are_excluded() -> None:
    pairs, counts, rounds = mined(NegativesSettings(corpus="questions.csv", max_probability=0.25))
    assert pairs == [("a", "far"), ("b", "far")]
    assert counts == {
        "corpus": "questions.csv",
        "anchors": 5,
        "duplicates": 3,  # A, c, x
        "too_near": 1,
        "labelled": 1,
        "held_out": 1,
        "guarded": 2,
        "added": 2,
    }
    assert rounds == [3, 1]


def test_several_negatives_for_each_text_the_nearest_first() -> None:
    pairs, _, _ = mined(NegativesSettings(corpus="q", per_positive=2, max_probability=0.3))
    assert pairs == [("a", "alike"), ("a", "far"), ("b", "far"), ("b", "farther"), ("x", "alike")]


def test_continuous_labels_are_refused() -> None:
    similar = LabelledPairs(["a"], ["b"], np.array([0.5], np.float32), source="sts.csv")
    with pytest.raises(InputError, match=r"sts\.csv: hard negatives need labels 0 or 1"):
        add_negatives(
            PairSets(similar, VALID),
            CORPUS,
            NegativesSettings(),
            search,
            lambda left, _: np.zeros(len(left), np.float32),
        )


def test_a_training_mines_and_counts_them(tiny: TinyModels, tmp_path: Path) -> None:
    pairs = learnable_pairs(64)
    path = write_pairs(tmp_path / "pairs.csv", pairs)
    corpus = tmp_path / "corpus.csv"
    corpus.write_text("text\n" + "\n".join([*pairs.left, *(f"where is tree {i}" for i in range(40))]))
    settings = quick_settings(
        tiny["bert"], negatives__corpus=str(corpus), negatives__miner=tiny["bi-encoder"]
    )
    settings |= {"negatives.guard": tiny["sigmoid"], "negatives.max_cosine": 1.0, "training.epochs": 1}
    train_cross_encoder(path, Target(tmp_path / "model"), settings | {"negatives.max_probability": 1.0})
    data = json.loads((tmp_path / "model" / "training.json").read_text())["data"]
    counts = data["negatives"]
    assert counts["anchors"] >= counts["added"] > 20
    assert counts["duplicates"] >= 20  # each anchor that the corpus holds finds itself
    assert data["train"]["pairs"] == 61 + counts["added"]
