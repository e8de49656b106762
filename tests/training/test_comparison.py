"""A comparison: one split, models trained once, thresholds from valid pairs, metrics of test pairs."""

from __future__ import annotations

import csv
import itertools
import json
import random
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from sklearn.metrics import average_precision_score, f1_score

from dupmine.corpus.labelled import read_pairs
from dupmine.errors import DupmineError
from dupmine.evaluation.model import EvaluateSettings, load_model, score_with_loaded
from dupmine.evaluation.thresholds import best_f1_threshold
from dupmine.progress import SILENT
from dupmine.settings import PairSettings
from dupmine.staged import load_staged
from dupmine.training.comparison_settings import CompareSettings, read_approaches
from dupmine.training.settings import BiEncoderTraining
from tests.helpers.shell import Outcome, dupmine
from tests.helpers.tiny_models import TinyModels

ROOT = Path(__file__).parent.parent.parent
NAMES = ["as it is", "tiny + Cosine", "pairs at once"]
FOLDERS = ["tiny-cosine", "pairs-at-once"]
QUICK = {"epochs": 2, "batch_size": 16, "learning_rate": 5e-3, "evaluate_every": 14}


def write_pairs(path: Path, n: int = 200) -> Path:
    """Write pairs of which those that share their colour are duplicates."""
    chance = random.Random(0)
    colours, things = ["red", "blue", "green", "black"], ["cat", "dog", "car", "house", "tree", "leaf"]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["question1", "question2", "is_duplicate"])
        for i in range(n):
            left, right = chance.sample(colours, 2)
            right = left if i % 3 == 0 else right
            texts = [f"{colour} {chance.choice(things)} {i}" for colour in (left, right)]
            writer.writerow([*texts, int(left == right)])
    return path


def write_config(path: Path, tiny: TinyModels, changes: dict[str, Any] | None = None) -> Path:
    cross_encoder = {"kind": "cross-encoder", "base": tiny["bert"], **QUICK}
    content = {
        "split": {"sample": 180, "by": "pair", "train": 0.6, "valid": 0.2, "test": 0.2},
        "compute": {"device": "cpu", "precision": "fp32", "threads": 1},
        "approaches": {
            "as it is": {"kind": "bi-encoder", "base": tiny["bi-encoder"], "trained": False},
            "tiny + Cosine": {"kind": "bi-encoder", "base": tiny["bi-encoder"], "loss": "cosine", **QUICK},
            "pairs at once": cross_encoder,
        },
    }
    path.write_text(yaml.safe_dump(content | (changes or {}), sort_keys=False), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def place(tiny: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pairs, a config and, in `out`, the result of the command."""
    place = tmp_path_factory.mktemp("compare")
    write_pairs(place / "pairs.csv")
    write_config(place / "config.yaml", tiny)
    outcome = run(place, place / "out")
    assert (outcome.code, outcome.err) == (0, "")
    (place / "screen.txt").write_text(outcome.out, encoding="utf-8")
    return place


def run(place: Path, out: Path, *further: str) -> Outcome:
    return dupmine("compare", place / "config.yaml", "--pairs", place / "pairs.csv", "--out", out, *further)


@pytest.fixture
def copy(place: Path, tmp_path: Path) -> Path:
    shutil.copytree(place, tmp_path / "copy")
    return tmp_path / "copy"


def rows_of(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((out / "comparison.json").read_text(encoding="utf-8"))["rows"]
    return rows


def test_the_metrics_are_those_of_the_written_models(place: Path, tiny: TinyModels) -> None:
    out = place / "out"
    models = [tiny["bi-encoder"], *(str(out / "models" / name) for name in FOLDERS)]
    settings = EvaluateSettings.model_validate({"compute": {"device": "cpu", "precision": "fp32"}})
    valid, test = (
        read_pairs(out / "split" / f"{name}.parquet", PairSettings()) for name in ("valid", "test")
    )
    rows = rows_of(out)
    assert [row["name"] for row in rows] == NAMES
    assert [row["objective"] for row in rows] == [None, "cosine", "sigmoid"]
    for row, model in zip(rows, models, strict=True):
        loaded = load_model(model, settings)
        on_valid, on_test = (score_with_loaded(loaded, pairs, 128, SILENT) for pairs in (valid, test))
        threshold = best_f1_threshold(valid.label > 0, on_valid.decision)
        validated = row["test"]["validated"]
        assert validated["threshold"] == pytest.approx(threshold)
        assert validated["f1"]["value"] == pytest.approx(f1_score(test.label, on_test.decision >= threshold))
        valid_f1 = f1_score(valid.label, on_valid.decision >= threshold)
        assert row["valid"]["best"]["f1"]["value"] == pytest.approx(valid_f1)
        expected = average_precision_score(test.label, on_test.value)
        assert row["test"]["average_precision"]["value"] == pytest.approx(expected)
        assert row["scoring_seconds"] > 0
    assert rows[0]["training_seconds"] is None
    for row, folder in zip(rows[1:], FOLDERS, strict=True):
        record = json.loads((out / "models" / folder / "training.json").read_text(encoding="utf-8"))
        assert row["training_seconds"] == record["seconds"] > 0
        assert (record["data"]["train"]["pairs"], record["data"]["valid"]["pairs"]) == (108, 36)


def test_the_split_has_the_requested_shares(place: Path) -> None:
    folder = place / "out" / "split"
    tables = {name: pq.read_table(folder / f"{name}.parquet") for name in ("train", "valid", "test")}
    assert {name: table.num_rows for name, table in tables.items()} == {"train": 108, "valid": 36, "test": 36}
    shares = [np.mean(table["is_duplicate"].to_numpy().astype(float)) for table in tables.values()]
    np.testing.assert_allclose(shares, 67 / 200, atol=0.01)
    texts = [set(table["question1"].to_pylist()) for table in tables.values()]
    assert len(set.union(*texts)) == 180
    facts = json.loads((folder / "split.json").read_text(encoding="utf-8"))
    assert (facts["file"], facts["by"], facts["seed"]) == ("pairs.csv", "pair", 42)


def test_table_and_chart_show_each_approach(place: Path) -> None:
    rows = rows_of(place / "out")
    screen = (place / "screen.txt").read_text(encoding="utf-8")
    page = (place / "out" / "comparison.md").read_text(encoding="utf-8")
    table = [line for line in screen.splitlines() if line.startswith("|")]
    assert len({len(line) for line in table}) == 1
    assert "\n".join(table) in page
    assert "180 pairs of pairs.csv, divided by pair with seed 42: train 108, valid 36, test 36." in page
    for line, row in zip(table[2:], rows, strict=True):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        f1 = row["test"]["validated"]["f1"]
        assert cells[0] == row["name"]
        assert cells[1] == f"{row['valid']['best']['f1']['value']:.4f}"
        assert cells[2] == f"{f1['value']:.4f} ({f1['low']:.3f}-{f1['high']:.3f})"
        assert cells[3] == f"{row['test']['validated']['threshold']:.4f}"
        assert (cells[5] == "-") == (row["name"] == "as it is")
    chart = (place / "out" / "comparison.svg").read_text(encoding="utf-8")
    assert all(f"<!-- {name} -->" in chart for name in [*NAMES, "valid F1", "test F1", "36 test pairs"])


def test_the_split_and_finished_models_are_kept(copy: Path) -> None:
    out = copy / "out"
    rows = rows_of(out)
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    split = (out / "split").stat().st_ino
    assert run(copy, out).code == 0
    again = rows_of(out)
    assert [row.pop("scoring_seconds") > 0 for row in (*rows, *again)] == [True] * 6
    assert again == rows
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")} == stamps
    assert (out / "split").stat().st_ino == split


def test_an_interrupted_comparison_continues(copy: Path) -> None:
    out = copy / "out"
    kept, lost = (out / "models" / name for name in FOLDERS)
    rows, stamp = rows_of(out), (kept / "model.safetensors").stat().st_mtime_ns
    shutil.rmtree(lost)
    for file in out.glob("comparison.*"):
        file.unlink()
    assert run(copy, out).code == 0
    assert (kept / "model.safetensors").stat().st_mtime_ns == stamp
    again = rows_of(out)
    assert [row["test"] for row in again[:2]] == [row["test"] for row in rows[:2]]
    assert again[2]["test"]["average_precision"] == rows[2]["test"]["average_precision"]  # the same seed


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("split.seed=43", "split holds another split (seed was 42, is 43)"),
        ("split.sample=150", "split holds another split (sample was 180, is 150)"),
        (
            "approaches.pairs at once.epochs=3",
            "holds approach pairs at once trained differently (training.epochs was 2, is 3): use the same",
        ),
    ],
)
def test_other_settings_are_refused(place: Path, change: str, expected: str) -> None:
    files = {path: path.stat().st_mtime_ns for path in (place / "out").rglob("*") if path.is_file()}
    outcome = run(place, place / "out", "--set", change)
    assert outcome.code == 2
    assert expected in outcome.err
    assert outcome.err.count("\n") == 1
    assert files == {p: p.stat().st_mtime_ns for p in files}


def test_a_missing_model_is_named_before_anything_is_written(place: Path, tmp_path: Path) -> None:
    name = "sentence-transformers/nowhere-to-be-had"
    outcome = run(place, tmp_path / "a" / "out", "--set", f"approaches.tiny + Cosine.base={name}")
    assert outcome.code == 2
    assert outcome.err.startswith(f"dupmine: approach tiny + Cosine: model {name}: ")
    assert outcome.err.endswith("use configs/compare-quora-offline.yaml\n")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"approaches": {}}, "setting approaches: there is none"),
        ({"approaches": {"a": {"base": "b"}}}, "setting approaches.a.kind: should be bi-encoder or cross-"),
        ({"approaches": {"a": {"kind": "bi-encoder", "epoch": 1}}}, "approach a: unknown setting epoch: did"),
        (
            {"approaches": {"a": {"kind": "bi-encoder", "loss": "hinge"}}},
            "approach a: setting objective.loss: should be",
        ),
        (
            {"approaches": {"a": {"kind": "bi-encoder", "trained": "no"}}},
            "setting approaches.a.trained: should be true or false, not 'no'",
        ),
        (
            {"approaches": {"a b": {"kind": "bi-encoder"}, "a-b": {"kind": "bi-encoder"}}},
            "setting approaches.a-b: its name gives no folder name, or the same one as 'a b'",
        ),
        ({"approaches": {"a": 5}}, "setting approaches.a: should be a valid dictionary, not 5"),
        ({"split": {"train": 0.9}}, "settings split.train, split.valid and split.test: they should sum to 1"),
        ({"splits": {}}, "unknown setting splits: did you mean split?"),
    ],
)
def test_mistakes_in_the_settings_are_named(
    changes: dict[str, Any], expected: str, tiny: TinyModels, tmp_path: Path
) -> None:
    write_config(tmp_path / "config.yaml", tiny, changes)
    outcome = run(tmp_path, tmp_path / "out")
    assert outcome.code == 2
    assert expected in outcome.err
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_mistakes_of_other_kinds(place: Path, tiny: TinyModels, tmp_path: Path) -> None:
    outcome = dupmine("compare", place / "config.yaml", "--out", tmp_path / "out")
    assert outcome.err.startswith("dupmine: setting split.file: set it to a file of labelled pairs")
    outcome = run(place, tmp_path / "out", "--set", f"approaches.tiny + Cosine.base={tiny['bert']}")
    assert "approach tiny + Cosine: model" in outcome.err
    assert "is not a sentence-transformers bi-encoder" in outcome.err
    cross = f"approaches.pairs at once={{kind: cross-encoder, base: '{tiny['bi-encoder']}', trained: false}}"
    assert (
        "is a bi-encoder; set its base to a cross-encoder" in run(place, tmp_path / "out", "--set", cross).err
    )
    (tmp_path / "pairs.csv").write_text(
        "text1,text2,label\n" + "".join(f"a {i},b {i},{i % 3 / 2}\n" for i in range(200)), encoding="utf-8"
    )
    shutil.copy(place / "config.yaml", tmp_path)
    outcome = run(tmp_path, tmp_path / "out")
    assert "pairs.csv: a comparison needs labels 0 and 1" in outcome.err
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").touch()
    assert "out holds thesis.txt, which this command does not write" in run(place, tmp_path / "out").err


@pytest.mark.parametrize("name", ["compare-quora", "compare-quora-offline"])
def test_the_shipped_configs_have_the_five_approaches(name: str) -> None:
    config = ROOT / "configs" / f"{name}.yaml"
    settings = load_staged(CompareSettings, config)
    text = config.read_text(encoding="utf-8")
    assert yaml.safe_load(text) == settings.model_dump()  # nothing is left to a default
    for before, line in itertools.pairwise(text.splitlines()):
        if re.match(r"  \w.*:", line):
            assert before.strip().startswith("#"), f"{line!r} has no comment"
    approaches = read_approaches(settings)
    objectives = [None, "cosine", "online-contrastive", "mnrl", "sigmoid"]
    assert [approach.objective for approach in approaches] == objectives
    split = settings.split
    assert (split.sample, split.by, split.seed) == (50_000, "pair", 42)
    assert split.shares == {"train": 0.8, "valid": 0.1, "test": 0.1}
    offline = {approach.base for approach in approaches} == {"all-MiniLM-L6-v2"}
    assert offline == name.endswith("offline")


def test_a_setting_of_an_approach_can_be_changed() -> None:
    config = ROOT / "configs" / "compare-quora-offline.yaml"
    name = "MiniLM + MultipleNegativesRankingLoss"
    settings = load_staged(CompareSettings, config, {f"approaches.{name}.epochs": 7, "compute.threads": 3})
    assert load_staged(CompareSettings, None, yaml.safe_load(settings.to_yaml())) == settings
    approach = next(approach for approach in read_approaches(settings) if approach.name == name)
    assert isinstance(approach.settings, BiEncoderTraining)
    assert (approach.settings.training.epochs, approach.settings.training.batch_size) == (7, 64)
    assert approach.settings.compute.threads == 3
    with pytest.raises(DupmineError, match=r"approach v1\.5: unknown setting loses"):
        read_approaches(
            load_staged(
                CompareSettings, None, {"approaches": {"v1.5": {"kind": "bi-encoder", "loses": "mnrl"}}}
            )
        )
