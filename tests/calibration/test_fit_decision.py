"""Fitting the corpus-aware decision: it learns what only the neighbours say, and mine then uses it."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from dupmine import MiningResult
from dupmine.inference.model_files import FITTED
from dupmine.rerank.decision import Decision
from dupmine.rerank.neighbours import NeighbourFeatures

from ..helpers.shell import dupmine
from ..helpers.tiny_models import TinyModels

TEXTS = [
    f"{question} {verb} {adjective} {thing}"
    for question in ("How do I", "How can you", "What is the best way to")
    for verb in ("learn", "read", "write", "play", "find", "fix")
    for adjective in ("old", "new", "big")
    for thing in ("Python", "piano", "French", "math")
]
FLOOR = 0.5
FEW = ("--threads", "1", "--quiet", "--set", f"retrieval.floor={FLOOR}")


@dataclass(frozen=True, slots=True)
class Scene:
    """A corpus that was mined pair by pair, and labels that follow from the neighbours alone."""

    model: Path
    bi_encoder: str
    corpus: Path
    run: Path
    labels: Path
    lines: list[tuple[str, str, int]]


def write(path: Path, lines: Sequence[tuple[object, ...]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    return path


@pytest.fixture(scope="module")
def scene(tiny: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = tmp_path_factory.mktemp("decide")
    model, bi_encoder = folder / "model", tiny["static"]
    shutil.copytree(tiny["sigmoid"], model)
    corpus = write(folder / "corpus.csv", [("id", "text"), *enumerate(TEXTS)])
    done = mine(corpus, folder / "run", model, bi_encoder, "--set", "rerank.decision=pair")
    pairs = done.scored_pairs.where(done.scored_pairs.cosine >= FLOOR)
    support = NeighbourFeatures(len(TEXTS), pairs).compute(pairs)["support_low"]
    texts = done.texts
    apart = np.flatnonzero(pairs.left % 5 == pairs.right % 5)  # so that the labels form five groups
    chosen = np.random.default_rng(0).choice(apart, 1000, replace=False)
    cut = np.median(support)
    lines = [(texts[pairs.left[i]], texts[pairs.right[i]], int(support[i] > cut)) for i in chosen]
    labels = write(folder / "labels.csv", [("text1", "text2", "label"), *lines])
    return Scene(model, bi_encoder, corpus, folder / "run", labels, lines)


def mine(corpus: Path, out: Path, model: Path, bi_encoder: str, *more: str) -> MiningResult:
    models = ("--cross-encoder", model, "--bi-encoder", bi_encoder, "--threshold", "0.5")
    outcome = dupmine("mine", corpus, "--out", out, *models, *FEW, *more)
    assert outcome.code == 0, outcome.err
    return MiningResult.load(out)


@pytest.fixture(scope="module")
def fitted(scene: Scene) -> Path:
    """A copy of the model with the decision beside it."""
    out = scene.model.parent / "fitted"
    options = ("--corpus", scene.run, "--out", out, "--set", "calibration.folds=3", "--threads", "1")
    outcome = dupmine("calibrate", scene.model, scene.labels, *options)
    assert outcome.code == 0, outcome.err
    assert "1,000 pairs" in outcome.out
    assert "decision on held-out folds" in outcome.out
    return out


def test_it_learns_what_only_the_neighbours_say(fitted: Path) -> None:
    decision = Decision.load(fitted)
    assert decision is not None
    assert decision.average_precision["decision"] > 0.95
    assert decision.average_precision["decision"] > decision.average_precision["cross_encoder"] + 0.1
    assert decision.ece["decision"] < 0.08
    assert decision.thresholds.best_f1.f1 > 0.9
    assert decision.corpus_texts == len(TEXTS)
    assert decision.floor == FLOOR


def test_mine_decides_with_it_and_explains(scene: Scene, fitted: Path, tmp_path: Path) -> None:
    run = mine(scene.corpus, tmp_path / "run", fitted, scene.bi_encoder)
    pairs = run.pairs
    assert set(pairs["decided_by"]) <= {"corpus", "cross-encoder"}
    decided = pairs[pairs["decided_by"] == "corpus"]
    probability_of = {
        frozenset(ends): p
        for *ends, p in decided[["left_id", "right_id", "probability"]].itertuples(index=False)
    }
    id_of = {text: str(i) for i, text in enumerate(TEXTS)}
    right = [
        (probability_of[frozenset((id_of[a], id_of[b]))] > 0.5) == bool(label) for a, b, label in scene.lines
    ]
    assert np.mean(right) > 0.9
    alone = MiningResult.load(scene.run)
    now, before = (each.scored_pairs.where(each.scored_pairs.cosine >= FLOOR) for each in (run, alone))
    same = now.scored_by == before.scored_by  # the bands decided the others
    assert same.mean() > 0.5
    np.testing.assert_allclose(now.pair_logit[same], before.pair_logit[same], atol=1e-3)
    left, right_id, probability, own = decided[
        ["left_id", "right_id", "probability", "pair_probability"]
    ].iloc[5]
    explained = run.explain(left, right_id)
    assert explained.decided_by == "corpus"
    assert explained.probability == pytest.approx(probability)
    assert explained.pair_probability == pytest.approx(own, abs=1e-6)
    sizes = [abs(share) for _, _, share in explained.shares]
    assert sizes == sorted(sizes, reverse=True)
    assert sum(sizes) > 0
    assert "support" in " ".join(name for name, _, _ in explained.shares[:4])
    assert f"{explained.shares[0][0]} = " in str(explained)


def test_a_model_is_trained_again_after_all_that_is_fitted_to_it(scene: Scene, tmp_path: Path) -> None:
    out, base = tmp_path / "model", scene.model
    brief = ("--threads", "1", "--batch-size", "32", "--set", "training.max_steps=2", "--quiet")
    train = (
        "train",
        "cross-encoder",
        scene.labels,
        "--valid",
        scene.labels,
        "--base",
        base,
        "--out",
        out,
        *brief,
    )
    few = ("--set", "calibration.folds=3", "--threads", "1", "--quiet")
    mined = ("--corpus", scene.corpus, "--set", f"bi_encoder={scene.bi_encoder}", "--set", f"floor={FLOOR}")
    for command in (
        train,
        ("calibrate", out, scene.labels, *few),
        ("calibrate", out, scene.labels, *mined, *few),
        (*train, "--overwrite"),
    ):
        outcome = dupmine(*command)
        assert outcome.code == 0, outcome.err
        names = {path.name for path in out.iterdir()}
        assert FITTED.isdisjoint(names) == ("train" in command)
    (out / "notes.txt").touch()
    outcome = dupmine(*train, "--overwrite")
    assert outcome.code == 2
    assert "holds notes.txt, which" in " ".join(outcome.err.split())


def test_the_order_of_the_input_changes_nothing(scene: Scene, fitted: Path, tmp_path: Path) -> None:
    lines = [("id", "text"), *reversed(list(enumerate(TEXTS)))]
    turned = mine(write(tmp_path / "turned.csv", lines), tmp_path / "b", fitted, scene.bi_encoder)
    straight = mine(scene.corpus, tmp_path / "a", fitted, scene.bi_encoder)
    assert turned.pairs_table.equals(straight.pairs_table)
    assert turned.clusters_table.equals(straight.clusters_table)


def test_a_target_precision_is_the_decisions(scene: Scene, fitted: Path, tmp_path: Path) -> None:
    decision = Decision.load(fitted)
    assert decision is not None
    models = ("--cross-encoder", fitted, "--bi-encoder", scene.bi_encoder, "--target-precision", "0.9")
    assert dupmine("mine", scene.corpus, "--out", tmp_path / "run", *models, *FEW).code == 0
    result = MiningResult.load(tmp_path / "run")
    assert result.settings.rerank.threshold == decision.thresholds.threshold_for(0.9)


def test_bad_input_is_named_and_nothing_written(scene: Scene, tmp_path: Path, tiny: TinyModels) -> None:
    few = write(tmp_path / "few.csv", [("text1", "text2", "label"), *scene.lines[:50]])
    elsewhere = [("text1", "text2", "label"), *((f"x{i}", f"y{i}", i % 2) for i in range(400))]
    together = [(TEXTS[0], text, i % 2) for i, text in enumerate(TEXTS[1:])]
    together_path = write(tmp_path / "together.csv", [("text1", "text2", "label"), *together])
    foreign = write(tmp_path / "foreign.csv", elsewhere)
    out = ("--out", tmp_path / "out")
    for pairs, count in ((few, r"of 50 pairs"), (foreign, r"0 and 0 of 400 pairs")):
        outcome = dupmine("calibrate", scene.model, pairs, "--corpus", scene.run, *out)
        assert outcome.code == 2
        assert "are candidates of the corpus" in outcome.err
        assert count in outcome.err
    outcome = dupmine("calibrate", scene.model, together_path, "--corpus", scene.run, *out)
    assert outcome.code == 2
    assert "form 1 connected groups, and 5 are needed" in outcome.err
    outcome = dupmine("calibrate", tiny["unnamed"], scene.labels, "--corpus", scene.run, *out)
    assert outcome.code == 2
    assert "is not a run with the model" in outcome.err
    assert not (tmp_path / "out").exists()
