"""From a run to a cascade: bounds are found, and the cross-encoder then reads fewer pairs."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from dupmine import MiningResult
from dupmine.calibration.bounds import HeldOutPairs
from dupmine.inference.locate import fingerprint, load_tokenizer
from dupmine.inference.tokens import tokenise
from dupmine.progress import SILENT
from dupmine.rerank.cascade import FittedCascade
from dupmine.rerank.decision import Decision
from dupmine.schema import DECIDERS

from ..helpers.shell import dupmine
from ..helpers.tiny_models import TinyModels
from .test_fit_decision import FEW, FLOOR, TEXTS, write


@dataclass(frozen=True, slots=True)
class Scene:
    """A cross-encoder, a run in which it scored every pair, and it fitted to labels."""

    model: Path
    bi_encoder: str
    corpus: Path
    run: Path
    labels: Path
    fitted: Path

    @property
    def alone(self) -> MiningResult:
        """The run of the cross-encoder alone."""
        return MiningResult.load(self.run)


def mine(scene_model: Path, bi_encoder: str, corpus: Path, out: Path, *more: str) -> MiningResult:
    models = ("--cross-encoder", scene_model, "--bi-encoder", bi_encoder, "--set", "rerank.decision=pair")
    outcome = dupmine("mine", corpus, "--out", out, *models, *FEW, *more)
    assert outcome.code == 0, outcome.err
    return MiningResult.load(out)


@pytest.fixture(scope="module")
def scene(tiny: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = tmp_path_factory.mktemp("cascade")
    model, bi_encoder = folder / "model", tiny["static"]
    shutil.copytree(tiny["sigmoid"], model)
    corpus = write(folder / "corpus.csv", [("id", "text"), *enumerate(TEXTS)])
    done = mine(model, bi_encoder, corpus, folder / "run")
    pairs = done.scored_pairs.where(done.scored_pairs.cosine >= FLOOR)
    texts = done.texts
    apart = np.flatnonzero(pairs.left % 5 == pairs.right % 5)  # so that the labels form five groups
    chosen = np.random.default_rng(0).choice(apart, 1000, replace=False)
    lines = [(texts[pairs.left[i]], texts[pairs.right[i]], int(pairs.probability[i] >= 0.5)) for i in chosen]
    labels = write(folder / "labels.csv", [("text1", "text2", "label"), *lines])
    fitted = folder / "fitted"
    few = ("--corpus", folder / "run", "--out", fitted)
    outcome = dupmine("calibrate", model, labels, *few, "--set", "calibration.folds=3", "--threads", "1")
    assert outcome.code == 0, outcome.err
    assert "bands: log-odds" in outcome.out
    return Scene(model, bi_encoder, corpus, folder / "run", labels, fitted)


@pytest.fixture(scope="module")
def cascade(scene: Scene) -> FittedCascade:
    loaded = FittedCascade.load(scene.fitted)
    assert loaded is not None
    return loaded


def test_bounds_are_found_and_hold(cascade: FittedCascade, scene: Scene) -> None:
    bounds = cascade.bands.bounds
    assert cascade.candidates == (scene.alone.scored_pairs.cosine >= FLOOR).sum()
    assert bounds.lower is None or bounds.lower < 0
    assert bounds.upper is None or bounds.upper > 0
    assert bounds.f1["before"] - bounds.f1["after"] <= 0.0015
    assert bounds.decided > 0.1
    assert bounds.otherwise < 0.02


def test_the_bands_predict_the_decision(scene: Scene, tmp_path: Path) -> None:
    """People say no to half of what the cross-encoder accepts, by the cosine, which the bands know."""
    pairs = scene.alone.scored_pairs.where(scene.alone.scored_pairs.cosine >= FLOOR)
    texts = scene.alone.texts
    accepted = pairs.probability >= 0.5
    same = accepted & (pairs.cosine >= np.median(pairs.cosine[accepted]))
    apart = np.flatnonzero(pairs.left % 5 == pairs.right % 5)
    lines = [(texts[pairs.left[i]], texts[pairs.right[i]], int(same[i])) for i in apart[:2000]]
    labels = write(tmp_path / "labels.csv", [("text1", "text2", "label"), *lines])
    few = ("--corpus", scene.run, "--set", "calibration.folds=3", "--threads", "1", "--out", tmp_path / "out")
    outcome = dupmine("calibrate", scene.model, labels, *few)
    assert outcome.code == 0, outcome.err
    cascade, decision = FittedCascade.load(tmp_path / "out"), Decision.load(tmp_path / "out")
    assert cascade is not None
    assert decision is not None
    tokens = tokenise(texts, load_tokenizer(scene.model), max_tokens=512, progress=SILENT)
    decided = decision.decide(pairs, tokens, SILENT).probability
    log_odds = cascade.bands.log_odds(tokens, pairs.where(np.arange(len(pairs))))
    turned = accepted & (decided < 0.5)
    assert turned.sum() > 0.3 * accepted.sum()
    assert np.median(log_odds[turned]) < -3 < np.median(log_odds[accepted & ~turned])


def test_the_cross_encoder_skips_what_the_bands_decide(scene: Scene, tmp_path: Path) -> None:
    run = mine(scene.fitted, scene.bi_encoder, scene.corpus, tmp_path / "run")
    counts = run.manifest["counts"]
    by = run.pairs["decided_by"].value_counts()
    alone = scene.alone
    assert by["bands"] > 0.1 * len(alone.pairs)
    scored_by = run.scored_pairs.where(run.scored_pairs.cosine >= FLOOR).scored_by
    for name in ("bands", "cross-encoder"):
        count = int((scored_by == DECIDERS.index(name)).sum())
        assert counts[f"pairs_by_{name.replace('-', '_')}"] == count
    both = run.pairs.merge(alone.pairs, on=["left_id", "right_id"])
    skipped = both["decided_by_x"] != "cross-encoder"
    np.testing.assert_array_equal(both["probability_x"][~skipped], both["probability_y"][~skipped])
    assert (both["is_duplicate_x"] == both["is_duplicate_y"]).mean() > 0.98
    assert run.manifest["audit"]["pairs"] == -(-int(skipped.sum()) // 10)
    assert run.manifest["audit"]["share"] < 0.05
    off = ("--set", "rerank.bands=off")
    assert mine(scene.fitted, scene.bi_encoder, scene.corpus, tmp_path / "off", *off).pairs.equals(
        alone.pairs
    )


def test_the_cascade_is_no_part_of_the_models_fingerprint(scene: Scene) -> None:
    assert {"cascade.json", "decision.json"} <= {path.name for path in scene.fitted.iterdir()}
    assert fingerprint(scene.fitted) == fingerprint(scene.model)


def test_a_run_that_skipped_pairs_is_refused(scene: Scene, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    skipped = mine(scene.fitted, scene.bi_encoder, scene.corpus, run)
    assert skipped.manifest["models"]["cascade"]["sha256"] != "none"
    outcome = dupmine("calibrate", scene.fitted, scene.labels, "--corpus", run, "--out", out, "--quiet")
    assert outcome.code == 2
    assert "the cross-encoder skipped some pairs" in " ".join(outcome.err.split())
    assert not out.exists()


def test_bounds_go_as_far_as_is_safe() -> None:
    n = 4000
    log_odds = np.linspace(-8, 8, n).astype(np.float32)
    accepted = log_odds >= 0
    wrong = np.searchsorted(log_odds, [-5.0, 4.0])  # only the cross-encoder gets these right
    accepted[wrong[0] : wrong[0] + 60] = True
    accepted[wrong[1] - 60 : wrong[1]] = False
    labelled = np.arange(0, n, 2)
    held_out = HeldOutPairs(accepted, 0.0, labelled, accepted[labelled], int(accepted[labelled].sum()) + 100)
    bounds = held_out.find_bounds(log_odds)
    assert bounds.lower is not None
    assert bounds.upper is not None
    # One labelled pair of these is more than F1 may lose.
    assert [bounds.lower, bounds.upper] == pytest.approx([-5.0, 4.0])
    assert bounds.f1["before"] == bounds.f1["after"] == pytest.approx(2 * 1000 / (1000 + 1100), abs=1e-3)
    assert bounds.decided == ((log_odds < bounds.lower) | (log_odds >= bounds.upper)).mean()
    assert bounds.otherwise == 0
    # Without labels a hundredth of 2,000 accepted pairs may turn, and 12 or 13 lie between two bounds.
    further = held_out.find_bounds(log_odds, loss=1.0)
    assert [further.lower, further.upper] == pytest.approx([-4.95, 3.95])
    assert further.lower is not None
    assert further.upper is not None
    turned = int((accepted[log_odds < further.lower]).sum() + (~accepted[log_odds >= further.upper]).sum())
    assert 24 <= turned <= 26
    assert further.otherwise == pytest.approx(turned / (further.decided * n))
    assert further.f1["after"] < further.f1["before"]
    # Where nothing lies beyond a bound that is tried, there is none.
    none = held_out.find_bounds(np.zeros(n, np.float32))
    assert (none.lower, none.upper, none.decided, none.otherwise) == (None, None, 0.0, 0.0)
