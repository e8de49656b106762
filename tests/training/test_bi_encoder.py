"""Training bi-encoders: every loss learns, with the labels and batches that it requires."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from dupmine.errors import InputError
from dupmine.schema import LabelledPairs
from dupmine.training.bi_encoder import ranked_columns, target_labels
from dupmine.training.folder import Target
from dupmine.training.settings import ObjectiveSettings

from ..helpers.tiny_models import TinyModels
from ..helpers.trainings import losses, quick_settings, topics, train_bi_encoder, write_pairs


@pytest.fixture(scope="module")
def base(tiny: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A bi-encoder without dropout, which learns in a few steps."""
    folder = tmp_path_factory.mktemp("base") / "bi-encoder"
    shutil.copytree(tiny["bi-encoder"], folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


@pytest.mark.parametrize("loss", ["cosine", "contrastive", "online-contrastive", "mnrl", "cached-mnrl"])
def test_a_loss_learns(loss: str, base: str, tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "pairs.csv", topics(300), split=["train"] * 200 + ["valid"] * 100)
    settings = quick_settings(base, objective__loss=loss, training__learning_rate=5e-3, training__epochs=4)
    outcome = train_bi_encoder(path, Target(tmp_path / "model"), settings)
    assert np.mean(losses(outcome)[-3:]) < 0.7 * np.mean(losses(outcome)[:3])
    record = json.loads((tmp_path / "model" / "training.json").read_text())
    after = record["validation"]["average_precision"]["value"]
    assert outcome.before == record["before"] < 0.5
    assert after > (0.9 if "mnrl" in loss else 0.51)
    loaded = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    assert loaded.encode(["how is the moon"]).shape == (1, 32)
    assert "pipeline_tag: sentence-similarity" in (tmp_path / "model" / "README.md").read_text()


def test_a_training_that_makes_the_model_worse_warns(
    base: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The second training learns the opposite of the first, and of the validation pairs."""
    pairs = topics(300)
    path = write_pairs(tmp_path / "pairs.csv", pairs, split=["train"] * 200 + ["valid"] * 100)
    settings = quick_settings(base, objective__loss="mnrl", training__learning_rate=5e-3, training__epochs=4)
    train_bi_encoder(path, Target(tmp_path / "good"), settings)
    pairs.label[:200] = 1 - pairs.label[:200]
    write_pairs(path, pairs, split=["train"] * 200 + ["valid"] * 100)
    settings |= {"model.base": str(tmp_path / "good"), "training.evaluate_every": 100}
    with caplog.at_level(logging.WARNING, "dupmine"):
        outcome = train_bi_encoder(path, Target(tmp_path / "bad"), settings)
    assert outcome.before is not None
    assert outcome.before > 0.9
    assert "the training made the model worse: average precision fell from" in caplog.text


def test_the_targets_of_cosine_are_0_and_1() -> None:
    pairs = LabelledPairs(["a", "b"], ["c", "d"], np.array([0, 1], np.float32))
    assert target_labels(ObjectiveSettings(loss="cosine"), pairs) == [0.0, 1.0]
    assert target_labels(ObjectiveSettings(loss="contrastive"), pairs) == [0, 1]


def test_ranked_rows_have_their_labelled_negatives() -> None:
    """a = b = c and x = y are duplicates; b was labelled different from n, x from m, and a from c."""
    left, right = ["a", "b", "x", "n", "m", "a"], ["b", "c", "y", "b", "x", "c"]
    pairs = LabelledPairs(left, right, np.array([1, 1, 1, 0, 0, 0], np.float32))
    columns, groups = ranked_columns(pairs, ObjectiveSettings(), seed=0)
    rows = list(zip(*(columns[name] for name in ("anchor", "positive", "negative")), strict=True))
    assert rows == [("b", "a", "n"), ("b", "c", "n"), ("x", "y", "m")]
    assert groups[0] == groups[1] != groups[2]
    bare, _ = ranked_columns(pairs, ObjectiveSettings(labelled_negatives=False), seed=0)
    assert bare == {"anchor": ["a", "b", "x"], "positive": ["b", "c", "y"]}


def test_a_row_without_negative_gets_a_text_of_another_group() -> None:
    pairs = LabelledPairs(["a", "x", "y"], ["b", "y", "n"], np.array([1, 1, 0], np.float32))
    columns, _ = ranked_columns(pairs, ObjectiveSettings(), seed=0)
    assert columns["anchor"] == ["a", "y"]
    assert columns["negative"][0] in {"x", "y"}
    assert columns["negative"][1] == "n"


def test_duplicates_of_one_question_cannot_be_ranked() -> None:
    pairs = LabelledPairs(["a", "b"], ["b", "c"], np.ones(2, np.float32))
    with pytest.raises(InputError, match="all duplicates ask the same question"):
        ranked_columns(pairs, ObjectiveSettings(), seed=0)
