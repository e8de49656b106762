"""The pairs that a training learns from and validates on, and those that it refuses."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from dupmine.errors import InputError
from dupmine.schema import LabelledPairs
from dupmine.settings import PairSettings
from dupmine.training.data import PairSets, normalised_texts, read_sets, require_labels, set_aside

from ..helpers.trainings import learnable_pairs, write_pairs


def chained(n: int) -> LabelledPairs:
    """Return n pairs, each three sharing a question with the one before."""
    left = [f"q{i}" if i % 3 else f"start {i}" for i in range(n)]
    return LabelledPairs(left, [f"q{i + 1}" for i in range(n)], (np.arange(n) % 2).astype(np.float32))


def test_pairs_set_aside_share_no_question() -> None:
    pairs = chained(600)
    train, valid = set_aside(pairs, seed=1)
    assert len(train) + len(valid) == 600
    assert 27 <= len(valid) <= 30
    assert not normalised_texts(train) & normalised_texts(valid)
    assert set_aside(pairs, seed=1)[1].left == valid.left
    assert set_aside(pairs, seed=2)[1].left != valid.left


def test_connected_pairs_cannot_be_divided() -> None:
    star = LabelledPairs(["hub"] * 50, [f"q{i}" for i in range(50)], np.zeros(50, np.float32))
    with pytest.raises(InputError, match=r"are all connected, .* give some with --valid"):
        set_aside(star, seed=1)


def test_one_pair_cannot_be_divided() -> None:
    one = LabelledPairs(["a"], ["b"], np.ones(1, np.float32), source="one.csv")
    with pytest.raises(InputError, match=r"^one\.csv: 1 pairs are too few to set some aside .* --valid$"):
        set_aside(one, seed=1)


def test_the_column_split_divides(tmp_path: Path) -> None:
    pairs = learnable_pairs(8)
    path = write_pairs(tmp_path / "a.csv", pairs, split=["train"] * 4 + ["dev", "valid", "test", "test"])
    sets = read_sets(path, None, PairSettings(), seed=1)
    assert (sets.train.left, sets.valid.left) == (pairs.left[:4], pairs.left[4:6])
    assert sets.held_out == {*pairs.left[4:], *pairs.right[4:]}
    other = write_pairs(tmp_path / "b.csv", learnable_pairs(6, seed=1), split=["valid"] * 6)
    sets = read_sets(path, other, PairSettings(), seed=1)
    assert (len(sets.train), len(sets.valid)) == (4, 6)
    assert [file["name"] for file in sets.facts["files"]] == ["a.csv", "b.csv"]
    with pytest.raises(InputError, match=r"no row has split train; there are valid"):
        read_sets(other, None, PairSettings(), seed=1)


def test_a_leak_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = write_pairs(tmp_path / "a.csv", learnable_pairs(6))
    second = write_pairs(tmp_path / "b.csv", learnable_pairs(6).take(np.arange(2)))
    with caplog.at_level(logging.WARNING, "dupmine"):
        read_sets(first, second, PairSettings(), seed=1)
    assert "4 of the 4 validation questions occur in the training pairs too" in caplog.text


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ([1, 1, 1, 1], "all 4 training pairs have the label 1; add pairs with other labels"),
        ([0, 1, 0.25, 1], "a label is 0.25, expected 0"),
        ([0, 1], "2 training pairs are less than one batch of 4"),
    ],
)
def test_unsuitable_labels(label: list[float], message: str) -> None:
    texts = [str(i) for i in range(len(label))]
    train = LabelledPairs(texts, texts, np.array(label, np.float32), source="pairs.csv")
    with pytest.raises(InputError, match=message) as caught:
        require_labels(PairSets(train, learnable_pairs(4)), binary=True, batch=4)
    assert str(caught.value).startswith("pairs.csv: ")
    valid = LabelledPairs(["a", "b"], ["c", "d"], np.zeros(2, np.float32))
    with pytest.raises(InputError, match="all 2 validation pairs have the label 0"):
        require_labels(PairSets(learnable_pairs(4), valid), binary=True, batch=4)
