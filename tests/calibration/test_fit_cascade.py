"""From a run to a cascade: a student is trained, bounds are found, and mine then spares the cross-encoder."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from dupmine import MiningResult
from dupmine.calibration.bounds import Judge, verdicts
from dupmine.corpus.unique import collapse_exact_duplicates
from dupmine.inference.device import resolve_device
from dupmine.inference.locate import fingerprint, load_tokenizer
from dupmine.inference.tokens import tokenise
from dupmine.progress import SILENT
from dupmine.rerank.bands import Shortcuts, load_shortcuts
from dupmine.rerank.decision import load_decision
from dupmine.rerank.scorer import CrossEncoder
from dupmine.rerank.student import load_student, put_student
from dupmine.schema import TEXT
from dupmine.settings import ComputeSettings, RerankSettings

from ..helpers.shell import dupmine
from ..helpers.tiny_models import TinyModels
from .test_fit_decision import FEW, FLOOR, TEXTS, write

NAMES = ("bands", "student", "cross-encoder")


@dataclass(frozen=True, slots=True)
class Scene:
    """A cross-encoder, a run in which it scored every pair, its student, and both calibrated to labels."""

    model: Path
    bi_encoder: str
    corpus: Path
    run: Path
    student: Path
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


def soften(weights: Path) -> None:
    """Have the second layer add little to the first, so that there is something a student can learn."""
    tensors = load_file(weights)
    for name in tensors:
        if ".layer.1." in name and ".output.dense." in name:
            tensors[name] *= 0.01
    save_file(tensors, weights, {"format": "pt"})


@pytest.fixture(scope="module")
def scene(tiny: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = tmp_path_factory.mktemp("shortcuts")
    model, bi_encoder = folder / "model", tiny["static"]
    shutil.copytree(tiny["sigmoid"], model)
    soften(model / "model.safetensors")
    corpus = write(folder / "corpus.csv", [("id", "text"), *enumerate(TEXTS)])
    done = mine(model, bi_encoder, corpus, folder / "run")
    pairs = done.scored_pairs.where(done.scored_pairs.cosine >= FLOOR)
    texts = collapse_exact_duplicates(done.corpus.documents[TEXT]).texts
    apart = np.flatnonzero(pairs.left % 5 == pairs.right % 5)  # so that they hang together in five groups
    chosen = np.random.default_rng(0).choice(apart, 1000, replace=False)
    lines = [(texts[pairs.left[i]], texts[pairs.right[i]], int(pairs.probability[i] >= 0.5)) for i in chosen]
    labels = write(folder / "labels.csv", [("text1", "text2", "label"), *lines])
    student, fitted = folder / "student", folder / "fitted"
    brief = ("--layers", "1", "--epochs", "1", "--batch-size", "32", "--threads", "1")
    outcome = dupmine(
        "train", "student", model, folder / "run", "--out", student, *brief, "--learning-rate", "0.0003"
    )
    assert outcome.code == 0, outcome.err
    few = ("--corpus", folder / "run", "--student", student, "--out", fitted)
    outcome = dupmine("calibrate", model, labels, *few, "--set", "calibration.folds=3", "--threads", "1")
    assert outcome.code == 0, outcome.err
    assert "bands: log-odds" in outcome.out
    return Scene(model, bi_encoder, corpus, folder / "run", student, labels, fitted)


@pytest.fixture(scope="module")
def found(scene: Scene) -> Shortcuts:
    loaded = load_shortcuts(scene.fitted)
    assert loaded is not None
    return loaded


def test_the_student_learned_with_the_embeddings_of_its_cross_encoder(scene: Scene) -> None:
    record = json.loads((scene.student / "training.json").read_text())
    assert record["validation"]["spearman"]["value"] > 0.85
    own, known = (load_file(of / "model.safetensors") for of in (scene.student, scene.model))
    assert {name for name in known if ".layer." in name and name not in own} == {
        name for name in known if ".layer.1." in name
    }
    same = {name for name in own if own[name].equal(known[name])}
    assert same == {name for name in own if "embeddings" in name}


def test_training_goes_on_from_an_earlier_student(scene: Scene, tmp_path: Path) -> None:
    out, slow = tmp_path / "on", ("--learning-rate", "1e-6", "--set", "training.warmup=0")
    brief = ("--layers", "1", "--batch-size", "32", "--threads", "1", "--set", "training.max_steps=1")
    start = ("--start", scene.student, "--out", out)
    outcome = dupmine("train", "student", scene.model, scene.run, *start, *brief, *slow)
    assert outcome.code == 0, outcome.err
    own, earlier = (load_file(of / "model.safetensors") for of in (out, scene.student))
    assert set(own) == set(earlier)
    moved = {name: float((own[name] - earlier[name]).abs().max()) for name in own}
    assert 0 < max(moved.values()) < 1e-5


def test_a_student_is_put_together_again(scene: Scene, tmp_path: Path) -> None:
    put_student(scene.student, scene.model, tmp_path / "student")
    kept = load_file(tmp_path / "student" / "model.safetensors")
    assert not any("embeddings" in name for name in kept)
    assert {path.name for path in (tmp_path / "student").iterdir()} == {"config.json", "model.safetensors"}
    for folder in (scene.student, tmp_path / "student"):
        modes = {path.stat().st_mode for path in folder.iterdir() if path.is_file()}
        assert len(modes) == 1, "safetensors writes files that nobody else may read"
    compute = resolve_device(ComputeSettings(device="cpu", precision="fp32", threads=1))
    again = load_student(tmp_path / "student", scene.model, compute)
    whole = CrossEncoder(RerankSettings(cross_encoder=str(scene.student)), compute)
    tokens = tokenise(TEXTS, whole.tokenizer, max_tokens=32, progress=SILENT)
    rows = np.arange(50)
    np.testing.assert_allclose(
        again.score(tokens, rows, rows + 50, SILENT), whole.score(tokens, rows, rows + 50, SILENT), atol=0.02
    )


def test_bounds_are_found_and_hold(found: Shortcuts, scene: Scene) -> None:
    assert found.student is not None
    assert found.candidates == (scene.alone.scored_pairs.cosine >= FLOOR).sum()
    for bounds in (found.bands.bounds, found.student.bounds):
        assert bounds.lower is None or bounds.lower < 0
        assert bounds.upper is None or bounds.upper > 0
        assert bounds.f1["before"] - bounds.f1["after"] <= 0.0015
    assert found.bands.bounds.decided > 0.1
    assert found.student.bounds.decided > 0.1
    assert found.student.bounds.otherwise < 0.02


def test_the_steps_foresee_the_decision(scene: Scene, tmp_path: Path) -> None:
    """People say no to half of what the cross-encoder accepts, by the cosine, which the bands know."""
    pairs = scene.alone.scored_pairs.where(scene.alone.scored_pairs.cosine >= FLOOR)
    texts = collapse_exact_duplicates(scene.alone.corpus.documents[TEXT]).texts
    accepted = pairs.probability >= 0.5
    same = accepted & (pairs.cosine >= np.median(pairs.cosine[accepted]))
    apart = np.flatnonzero(pairs.left % 5 == pairs.right % 5)
    lines = [(texts[pairs.left[i]], texts[pairs.right[i]], int(same[i])) for i in apart[:2000]]
    labels = write(tmp_path / "labels.csv", [("text1", "text2", "label"), *lines])
    few = ("--corpus", scene.run, "--set", "calibration.folds=3", "--threads", "1", "--out", tmp_path / "out")
    outcome = dupmine("calibrate", scene.model, labels, *few)
    assert outcome.code == 0, outcome.err
    found, decision = load_shortcuts(tmp_path / "out"), load_decision(tmp_path / "out")
    assert found is not None
    assert decision is not None
    tokens = tokenise(texts, load_tokenizer(scene.model), max_tokens=512, progress=SILENT)
    decided = decision.decide(pairs, tokens, SILENT).probability
    said = found.bands.log_odds(tokens, pairs.where(np.arange(len(pairs))))
    turned = accepted & (decided < 0.5)
    assert turned.sum() > 0.3 * accepted.sum()
    assert np.median(said[turned]) < -3 < np.median(said[accepted & ~turned])


def test_mine_spares_the_cross_encoder_what_is_clear(scene: Scene, found: Shortcuts, tmp_path: Path) -> None:
    run = mine(scene.fitted, scene.bi_encoder, scene.corpus, tmp_path / "run")
    counts = run.manifest["counts"]
    by = run.pairs["decided_by"].value_counts()
    alone = scene.alone
    assert min(by["bands"], by["student"]) > 0.1 * len(alone.pairs)
    assert [counts[f"pairs_by_{name.replace('-', '_')}"] for name in NAMES] == [
        int((run.scored_pairs.where(run.scored_pairs.cosine >= FLOOR).scored_by == i).sum())
        for i in (3, 4, 1)
    ]
    both = run.pairs.merge(alone.pairs, on=["left_id", "right_id"])
    skipped = both["decided_by_x"] != "cross-encoder"
    np.testing.assert_array_equal(both["probability_x"][~skipped], both["probability_y"][~skipped])
    assert (both["is_duplicate_x"] == both["is_duplicate_y"]).mean() > 0.98
    assert run.manifest["audit"]["pairs"] == -(-int(skipped.sum()) // 10)
    assert run.manifest["audit"]["share"] < 0.05
    off = ("--set", "rerank.bands=off", "--set", "rerank.student=off")
    assert mine(scene.fitted, scene.bi_encoder, scene.corpus, tmp_path / "off", *off).pairs.equals(
        alone.pairs
    )


def test_the_cascade_is_no_part_of_the_models_fingerprint(scene: Scene) -> None:
    assert {"cascade.json", "decision.json", "student"} <= {path.name for path in scene.fitted.iterdir()}
    assert fingerprint(scene.fitted) == fingerprint(scene.model)


def test_what_does_not_fit_is_refused(scene: Scene, tiny: TinyModels, tmp_path: Path) -> None:
    out = tmp_path / "out"
    spared = mine(scene.fitted, scene.bi_encoder, scene.corpus, tmp_path / "run")
    assert spared.manifest["models"]["cascade"]["sha256"] != "none"
    few = ("--out", out, "--quiet")
    cases = (
        (("calibrate", scene.fitted, scene.labels, "--corpus", tmp_path / "run"), "was spared some pairs"),
        (("train", "student", scene.fitted, tmp_path / "run"), "was spared some pairs"),
        (("train", "student", tiny["softmax"], scene.run), "is no run with the model"),
        (("train", "student", scene.model, scene.run, "--layers", "2"), "can have no student of 2 layers"),
        (
            ("train", "student", scene.model, scene.run, "--layers", "1", "--start", tiny["softmax"]),
            "is no student of",
        ),
        (
            ("calibrate", scene.model, scene.labels, "--corpus", scene.run, "--student", tiny["softmax"]),
            "is no student of",
        ),
        (("calibrate", scene.model, scene.labels, "--student", scene.student), "it needs --corpus"),
    )
    for arguments, problem in cases:
        outcome = dupmine(*arguments, *few)
        assert outcome.code == 2, arguments
        assert problem in " ".join(outcome.err.split()), arguments
    assert not out.exists()


def test_bounds_go_as_far_as_is_safe() -> None:
    n = 4000
    said = np.linspace(-8, 8, n).astype(np.float32)
    accepted = said >= 0
    wrong = np.searchsorted(said, [-5.0, 4.0])  # the cross-encoder alone knows better here
    accepted[wrong[0] : wrong[0] + 60] = True
    accepted[wrong[1] - 60 : wrong[1]] = False
    labelled = np.arange(0, n, 2)
    judge = Judge(accepted, 0.0, labelled, accepted[labelled], int(accepted[labelled].sum()) + 100)
    bounds = judge.find_bounds(said, accepted)
    assert bounds.lower is not None
    assert bounds.upper is not None
    # One labelled pair of these is more than F1 may lose.
    assert [bounds.lower, bounds.upper] == pytest.approx([-5.0, 4.0])
    assert bounds.f1["before"] == bounds.f1["after"] == pytest.approx(2 * 1000 / (1000 + 1100), abs=1e-3)
    assert bounds.decided == ((said < bounds.lower) | (said >= bounds.upper)).mean()
    assert bounds.otherwise == 0
    # Without labels a hundredth of 2,000 accepted pairs may turn, and 12 or 13 lie between two bounds.
    further = judge.describe(judge.furthest(said, accepted, loss=1.0), said, accepted)
    assert [further.lower, further.upper] == pytest.approx([-4.95, 3.95])
    turned = int((verdicts(further, said, accepted) != accepted).sum())
    assert 24 <= turned <= 26
    assert further.otherwise == pytest.approx(turned / (further.decided * n))
    assert further.f1["after"] < further.f1["before"]
    # Of a step that says nothing no bound is of use.
    nothing = judge.find_bounds(np.full(n, np.nan, np.float32), accepted)
    assert (nothing.lower, nothing.upper, nothing.decided, nothing.otherwise) == (None, None, 0.0, 0.0)
