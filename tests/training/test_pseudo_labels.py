"""Pseudo-labels: the probabilities of a run, except for labelled and held-out pairs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dupmine import Miner, MiningResult
from dupmine.corpus.unique import normalised_key
from dupmine.errors import InputError
from dupmine.schema import LabelledPairs
from dupmine.training.data import PairSets
from dupmine.training.folder import Target
from dupmine.training.pseudo_labels import add_pseudo_labels, sample_evenly
from dupmine.training.settings import PseudoLabelSettings

from ..helpers.tiny_models import TinyModels
from ..helpers.trainings import learnable_pairs, quick_settings, train_cross_encoder, write_pairs

TEXTS = [f"{word} is the {thing}" for word in ("how", "why", "what") for thing in ("cat", "dog", "sky")]
TRAIN = LabelledPairs(["WHY is the  cat", "red sea"], [TEXTS[0], TEXTS[1]], np.array([1, 0], np.float32))
VALID = LabelledPairs([TEXTS[8].upper()], ["blue sea"], np.zeros(1, np.float32))


@pytest.fixture(scope="module")
def run(tiny: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run in which every two texts are a candidate."""
    out = tmp_path_factory.mktemp("mined") / "run"
    miner = Miner(bi_encoder=tiny["bi-encoder"], cross_encoder=tiny["sigmoid"], floor=-1.0, progress=False)
    miner.mine(TEXTS).save(out)
    return out


def probabilities_of(run: Path) -> dict[frozenset[str], float]:
    result = MiningResult.load(run)
    text_of = dict(zip(result.corpus.documents["doc_id"].to_pylist(), TEXTS, strict=True))
    pairs = result.pairs
    ends = zip(pairs["left_id"].map(text_of), pairs["right_id"].map(text_of), strict=True)
    return dict(zip(map(frozenset, ends), pairs["probability"], strict=True))


def test_pairs_come_with_the_probabilities_of_the_run(run: Path) -> None:
    sets = add_pseudo_labels(PairSets(TRAIN, VALID), PseudoLabelSettings(run=str(run)), seed=1)
    assert sets.valid is VALID
    assert (sets.train.left[:2], sets.train.right[:2]) == (TRAIN.left, TRAIN.right)
    new = sets.train.take(np.arange(2, len(sets.train)))
    expected = {
        pair: probability
        for pair, probability in probabilities_of(run).items()
        if TEXTS[8] not in pair and pair != {TEXTS[0], TEXTS[3]}  # held out; labelled
    }
    assert len(expected) == 8 * 7 // 2 - 1
    found = dict(zip(map(frozenset, zip(new.left, new.right, strict=True)), new.label.tolist(), strict=True))
    assert found == pytest.approx(expected)
    assert sets.facts["pseudo_labels"] == {
        "run": "run",
        "candidates": 36,
        "held_out": 8,
        "labelled": 1,
        "added": 27,
    }


def test_pairs_that_labels_imply_and_other_splits_are_excluded(run: Path) -> None:
    chain = LabelledPairs(TEXTS[:2], TEXTS[1:3], np.ones(2, np.float32))
    sets = add_pseudo_labels(
        PairSets(chain, VALID, elsewhere=frozenset({normalised_key(TEXTS[7])})),
        PseudoLabelSettings(run=str(run)),
        seed=1,
    )
    new = sets.train.take(np.arange(2, len(sets.train)))
    assert not {TEXTS[7], TEXTS[8]} & {*new.left, *new.right}
    found = set(map(frozenset, zip(new.left, new.right, strict=True)))
    assert frozenset((TEXTS[0], TEXTS[2])) not in found
    assert len(found) == 7 * 6 // 2 - 3


def test_the_number_of_pairs_is_limited(run: Path) -> None:
    settings = PseudoLabelSettings(run=str(run), most_pairs=5)
    first, again, other = (add_pseudo_labels(PairSets(TRAIN, VALID), settings, seed=s) for s in (1, 1, 2))
    assert len(first.train) == 2 + 5
    assert first.train.right == again.train.right != other.train.right


def test_they_are_sampled_evenly_over_the_probabilities() -> None:
    probability = np.repeat([0.0, 0.55, 0.95, 1.0], [900, 3, 40, 57]).astype(np.float32)
    chosen = probability[sample_evenly(probability, 63, np.random.default_rng(0))]
    assert ((chosen < 0.1).sum(), (chosen == np.float32(0.55)).sum(), (chosen > 0.9).sum()) == (30, 3, 30)
    assert len(np.unique(sample_evenly(probability, 5000, np.random.default_rng(0)))) == 1000


def test_unsuitable_pairs_and_runs(run: Path, tmp_path: Path) -> None:
    similar = LabelledPairs(["a"], ["b"], np.array([0.5], np.float32), source="sts.csv")
    with pytest.raises(InputError, match=r"sts\.csv: pseudo-labels are probabilities and go with labels 0"):
        add_pseudo_labels(PairSets(similar, VALID), PseudoLabelSettings(run=str(run)), seed=1)
    with pytest.raises(InputError, match=r"nowhere"):
        add_pseudo_labels(PairSets(TRAIN, VALID), PseudoLabelSettings(run=str(tmp_path / "nowhere")), seed=1)
    all_held = LabelledPairs(TEXTS[::2], [*TEXTS[1::2], "blue sea"], np.zeros(5, np.float32))
    with pytest.raises(InputError, match=r"its 36 scored pairs are all labelled already, or have texts that"):
        add_pseudo_labels(PairSets(TRAIN, all_held), PseudoLabelSettings(run=str(run)), seed=1)


def test_a_model_learns_from_the_run(run: Path, tiny: TinyModels, tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "pairs.csv", learnable_pairs(64))
    settings = quick_settings(tiny["bert"], pseudo_labels__run=str(run), training__epochs=80)
    settings |= {"training.evaluate_every": 10_000}  # the last weights are taken
    settings |= {"model.hidden_dropout": 0.0, "model.attention_dropout": 0.0, "training.learning_rate": 3e-3}
    train_cross_encoder(path, Target(tmp_path / "model"), settings | {"training.batch_size": 32})
    data = json.loads((tmp_path / "model" / "training.json").read_text())["data"]
    assert data["pseudo_labels"]["added"] == 36
    assert data["train"]["pairs"] == 61 + 36
    assert "Pairs labelled with the probabilities of the run `run`: 36." in (
        tmp_path / "model" / "README.md"
    ).read_text(encoding="utf-8")
    expected = probabilities_of(run)
    pairs = [(left, right) for left, right in map(sorted, expected)]
    learned = Miner(cross_encoder=str(tmp_path / "model"), precision="fp32", progress=False).score_pairs(
        pairs
    )
    before = Miner(cross_encoder=tiny["sigmoid"], precision="fp32", progress=False).score_pairs(pairs)
    np.testing.assert_allclose(before, list(expected.values()), atol=0.05)
    assert np.ptp(before) > 0.2
    assert np.corrcoef(learned, before)[0, 1] > 0.8
