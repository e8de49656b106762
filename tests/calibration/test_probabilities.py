"""`dupmine calibrate`, and `mine` with what it leaves."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dupmine as package
from dupmine.corpus.labelled import read_pairs
from dupmine.errors import SettingsError
from dupmine.inference.model_files import CALIBRATION
from dupmine.inference.tokens import tokenise
from dupmine.progress import SILENT
from dupmine.rerank.calibration import Calibration, load_calibration
from dupmine.schema import probabilities
from dupmine.settings import PairSettings
from dupmine.store.store import Store

from ..helpers.planted import read_actions
from ..helpers.shell import dupmine
from ..helpers.tiny_models import TinyModels

N = 390
TEXTS = [f"How do I {action}?" for action in read_actions()[: 2 * N]]
PAIRS = list(zip(TEXTS[::2], TEXTS[1::2], strict=True))
FEW = ("--set", "corpus.max_tokens=16", "--threads", "1", "--quiet")


def write(path: Path, lines: Iterable[tuple[object, ...]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text1", "text2", "label"), *lines])
    return path


@pytest.fixture(scope="module")
def pairs(tiny: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return pairs whose labels the model `sigmoid` knows, but for a slope and an intercept."""
    miner = package.Miner(
        cross_encoder=tiny["sigmoid"], bi_encoder=tiny["bi-encoder"], threads=1, progress=False
    )
    tokens = tokenise(TEXTS, miner.models.scorer.tokenizer, max_tokens=128, progress=SILENT)
    logit = miner.models.scorer.score(tokens, np.arange(0, 2 * N, 2), np.arange(1, 2 * N, 2), SILENT)
    drawn = probabilities(6 * (logit - np.median(logit)) / logit.std())
    label = np.random.default_rng(0).random(N) < drawn
    folder = tmp_path_factory.mktemp("calibrate")
    return write(
        folder / "pairs.csv", ((*pair, int(value)) for pair, value in zip(PAIRS, label, strict=True))
    )


@pytest.fixture(scope="module")
def made(tiny: TinyModels, pairs: Path) -> tuple[Path, str]:
    """Return a calibrated copy of the model `sigmoid`, and what was printed."""
    folder = pairs.parent / "calibrated"
    outcome = dupmine("calibrate", tiny["sigmoid"], pairs, "--out", folder, *FEW[:-1])
    assert outcome.code == 0, outcome.err
    return folder, outcome.out


@pytest.fixture(scope="module")
def calibration(made: tuple[Path, str]) -> Calibration:
    calibration = load_calibration(made[0])
    assert calibration is not None
    return calibration


def test_it_finds_what_the_labels_follow(calibration: Calibration, made: tuple[Path, str]) -> None:
    assert (calibration.head, calibration.both_orders, calibration.pairs.n) == ("sigmoid", False, N)
    assert calibration.base_rate == calibration.pairs.duplicates / N
    assert calibration.log_loss["none"] > min(calibration.log_loss.values()) + 0.1
    assert calibration.ece["after"] < 0.08 < calibration.ece["before"]
    best = calibration.thresholds.best_f1
    assert best.f1_interval[0] < best.f1 < best.f1_interval[1]
    assert calibration.thresholds.highest_precision > 0.8
    screen = made[1].splitlines()
    rate = f"{calibration.base_rate:.1%}"
    assert screen[0] == f"{N} pairs, {rate} duplicates; probabilities for a base rate of {rate}"
    assert f"chosen: {calibration.curve.method}" in screen[1]
    assert f"{best.threshold:.3f}  {best.precision:.3f} ({best.precision_interval[0]:.3f} to" in made[1]
    assert "  precision 0.99  out of reach" in screen
    assert screen[-1] == f"written to {made[0] / CALIBRATION}"


def test_a_copy_is_the_model_and_its_calibration(made: tuple[Path, str], tiny: TinyModels) -> None:
    source = Path(tiny["sigmoid"])
    assert {path.name for path in made[0].iterdir()} == {*(p.name for p in source.iterdir()), CALIBRATION}
    assert (made[0] / "model.safetensors").read_bytes() == (source / "model.safetensors").read_bytes()
    assert not (source / CALIBRATION).exists()
    assert not list(made[0].parent.glob(".*"))


def test_the_same_pairs_give_the_same_file_beside_the_model(
    made: tuple[Path, str], pairs: Path, tiny: TinyModels, tmp_path: Path
) -> None:
    own = shutil.copytree(tiny["sigmoid"], tmp_path / "own")
    for _ in range(2):  # the second time there is one already
        assert dupmine("calibrate", own, pairs, *FEW).code == 0
        assert (own / CALIBRATION).read_bytes() == (made[0] / CALIBRATION).read_bytes()
    assert dupmine("calibrate", own, pairs, "--base-rate", "0.05", *FEW).code == 0
    rare = load_calibration(own)
    assert rare is not None
    assert (rare.base_rate, rare.log_loss) == (
        0.05,
        json.loads((made[0] / CALIBRATION).read_text())["log_loss"],
    )
    assert rare.shift < -2


def mine(model: Path, tiny: TinyModels, out: Path, *flags: str) -> dict[str, object]:
    """Mine some texts and return the manifest; where that fails, the message alone."""
    table = out.with_name("questions.csv")
    table.write_text("id,text\n" + "".join(f"{i},{text}\n" for i, text in enumerate(TEXTS[:60])))
    models = ("--bi-encoder", tiny["bi-encoder"], "--cross-encoder", str(model))
    outcome = dupmine("mine", table, "--out", out, *models, "--floor", "0.9", "-q", *flags)
    if outcome.code:
        assert (outcome.code, out.exists()) == (2, False)
        return {"error": outcome.err}
    manifest: dict[str, object] = json.loads((out / "manifest.json").read_text())
    return manifest


def test_mining_takes_the_threshold_from_the_model(
    made: tuple[Path, str], calibration: Calibration, tiny: TinyModels, tmp_path: Path
) -> None:
    model = made[0]
    own = mine(model, tiny, tmp_path / "own")
    best = calibration.thresholds.best_f1.threshold
    assert own["threshold"] == {"value": best, "by": "best F1 on the calibration pairs"}
    assert own["settings"]["rerank"]["threshold"] == best  # type: ignore[index]
    precise = mine(model, tiny, tmp_path / "precise", "--target-precision", "0.75")
    assert precise["threshold"] == {
        "value": calibration.thresholds.threshold_for(0.75),
        "by": "rerank.target_precision 0.75",
    }
    result = package.MiningResult.load(tmp_path / "precise")
    assert result.settings.rerank.accepts_from == calibration.thresholds.threshold_for(0.75)
    pairs = result.pairs
    scored = pairs[pairs["decided_by"] == "cross-encoder"]
    assert (scored["is_duplicate"] == (scored["probability"] >= result.settings.rerank.accepts_from)).all()
    assert scored["is_duplicate"].nunique() == 2
    bare = mine(model, tiny, tmp_path / "bare", "--set", "calibrate=false")
    assert bare["threshold"] == {"value": 0.5, "by": "default"}
    raw = package.MiningResult.load(tmp_path / "bare").pairs.merge(pairs, on=["left_id", "right_id"])
    raw = raw[raw["decided_by_x"] == "cross-encoder"]
    p = raw["probability_x"].to_numpy(float)
    expected = calibration.probabilities(np.log(p / (1 - p)).astype(np.float32))
    np.testing.assert_allclose(raw["probability_y"], expected, atol=1e-4)


def test_a_precision_out_of_reach_is_refused(
    made: tuple[Path, str], calibration: Calibration, tiny: TinyModels, tmp_path: Path
) -> None:
    model, out = made[0], tmp_path / "out"
    assert mine(model, tiny, out, "--target-precision", "0.99") == {
        "error": f"dupmine: setting rerank.target_precision: 0.99 is out of reach of model {model}: its "
        f"calibration pairs support at most {calibration.thresholds.highest_precision:g}; ask for less, or "
        "calibrate it with more pairs\n"
    }
    name = tiny["sigmoid"]
    assert mine(Path(name), tiny, out, "--target-precision", "0.9") == {
        "error": f"dupmine: setting rerank.target_precision: 0.9 needs a calibration, and model {name} has "
        f"none: make one with `dupmine calibrate {name} PAIRS`, or give a threshold\n"
    }
    assert mine(model, tiny, out, "--target-precision", "0.9", "--threshold", "0.4") == {
        "error": "dupmine: settings rerank.threshold and rerank.target_precision: give one of the two; it is "
        "null that takes the other back\n"
    }
    assert "should be greater than or equal to 0.5, not 0.3" in str(
        mine(model, tiny, out, "--target-precision", "0.3")
    )


def test_a_store_settles_the_threshold_once(
    made: tuple[Path, str], calibration: Calibration, tiny: TinyModels, tmp_path: Path
) -> None:
    models: dict[str, Any] = {
        "bi_encoder": tiny["bi-encoder"],
        "cross_encoder": str(made[0]),
        "threads": 1,
        "floor": 0.9,
    }
    store = Store.create(tmp_path / "store", progress=False, target_precision=0.75, **models)
    expected = calibration.thresholds.threshold_for(0.75)
    opened = Store.open(tmp_path / "store", progress=False)
    assert opened.settings == store.settings
    assert (opened.settings.rerank.threshold, opened.settings.rerank.target_precision) == (expected, None)
    with pytest.raises(SettingsError, match="give one of the two"):
        opened.rebuild(target_precision=0.8)
    assert opened.settings == store.settings
    opened.rebuild(target_precision=0.8, threshold=None)
    assert opened.settings.rerank.threshold == calibration.thresholds.threshold_for(0.8)
    opened.rebuild(threshold=None)
    assert (
        Store.open(tmp_path / "store").settings.rerank.threshold == calibration.thresholds.best_f1.threshold
    )


def lines(duplicates: int, others: int) -> list[tuple[object, ...]]:
    return [(*pair, int(i < duplicates)) for i, pair in enumerate(PAIRS[: duplicates + others])]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (lines(100, 0), "at least 20 duplicates and as many other pairs, and there are 100 and 0"),
        (lines(19, 60), "at least 20 duplicates and as many other pairs, and there are 19 and 60"),
        ([*lines(30, 30), ("a", "b", 0.5)], "calibration needs labels 0 and 1, and one is 0.5 "
         "(1 is the highest); give pairs that are duplicates or not"),
        ([("dog", text, i % 2) for i, text in enumerate(TEXTS[:80])], "the questions of the pairs form "
         "1 connected groups, and 5 are needed for cross-validation; give more pairs, or "),
        ([*lines(30, 30), ("a", "b", "")], "row 61: label is missing: expected a number from 0"),
        ([*lines(30, 30), ("a", "b", 7)], "row 61: label is 7: expected a number from 0"),
        ([], "there are no labelled pairs in it"),
    ],
    ids=["one class", "too few", "graded", "one component", "missing", "out of range", "none"],
)  # fmt: skip
def test_pairs_that_do_not_do(
    content: list[tuple[object, ...]], problem: str, tiny: TinyModels, tmp_path: Path
) -> None:
    path, out = write(tmp_path / "pairs.csv", content), tmp_path / "out"
    outcome = dupmine("calibrate", tiny["sigmoid"], path, "--out", out, *FEW)
    assert (outcome.code, outcome.out) == (2, "")
    assert problem in outcome.err
    assert outcome.err.startswith(f"dupmine: {path}")
    assert outcome.err.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (("--base-rate", "1"), "setting calibration.base_rate: should be less than 1, not 1.0"),
        (("--split", "valid"), ": no column split, so there is no split 'valid'"),
        (("--label-column", "gold"), ": no column gold (setting pairs.label_column)"),
        (
            ("--set", "calibration.fold=3"),
            "unknown setting calibration.fold: did you mean calibration.folds?",
        ),
        (("--out", "{pairs}"), "pairs.csv exists and is not a folder; give another --out"),
    ],
)
def test_wrong_flags(flags: tuple[str, str], problem: str, pairs: Path, tiny: TinyModels) -> None:
    outcome = dupmine(
        "calibrate", tiny["sigmoid"], pairs, *(flag.format(pairs=pairs) for flag in flags), *FEW
    )
    assert (outcome.code, outcome.out) == (2, "")
    assert problem in outcome.err


def test_models_that_cannot_be_written_beside(pairs: Path, tiny: TinyModels, tmp_path: Path) -> None:
    outcome = dupmine("calibrate", "quora-minilm-l6", pairs, *FEW)
    assert (outcome.code, outcome.err) == (
        2,
        "dupmine: model quora-minilm-l6 is not a local folder; give --out FOLDER for a copy of it with its "
        "calibration\n",
    )
    full = shutil.copytree(tiny["sigmoid"], tmp_path / "full")
    outcome = dupmine("calibrate", full, pairs, "--out", full, *FEW)
    assert (outcome.code, outcome.err) == (
        2,
        f"dupmine: {full} exists and is not empty; give another --out\n",
    )
    assert not (full / CALIBRATION).exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_model_without_write_access(pairs: Path, tiny: TinyModels, tmp_path: Path) -> None:
    own = shutil.copytree(tiny["sigmoid"], tmp_path / "own")
    own.chmod(0o555)
    outcome = dupmine("calibrate", own, pairs, *FEW)
    own.chmod(0o755)
    assert (outcome.code, outcome.err) == (
        2,
        f"dupmine: model {own} cannot be written: no write access; give --out FOLDER for a copy of it with "
        "its calibration\n",
    )


def test_a_bi_encoder_has_no_calibration(pairs: Path, tiny: TinyModels, tmp_path: Path) -> None:
    outcome = dupmine("calibrate", tiny["bi-encoder"], pairs, "--out", tmp_path / "out", *FEW)
    assert outcome.code == 2
    assert outcome.err.startswith(f"dupmine: model {tiny['bi-encoder']} is not a cross-encoder: ")
    assert not (tmp_path / "out").exists()


def test_the_fixture_has_pairs_of_both_kinds(pairs: Path) -> None:
    assert 0.3 < read_pairs(pairs, PairSettings()).label.mean() < 0.7
