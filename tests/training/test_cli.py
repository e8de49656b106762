"""`dupmine train`: the settings of its flags, and mistakes as one line with exit code 2."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from ..helpers.shell import dupmine
from ..helpers.trainings import learnable_pairs, write_pairs


def test_flags_set_the_settings() -> None:
    flags = ("--head", "nli", "--epochs", "2", "--label-max", "5", "--hard-negatives", "questions.csv")
    printed = dupmine("train", "cross-encoder", "pairs.csv", *flags, "--set", "swap=false", "--print-config")
    assert printed.code == 0
    settings = yaml.safe_load(printed.out)
    assert settings["model"]["head"] == "nli"
    assert (settings["training"]["epochs"], settings["training"]["swap"]) == (2, False)
    assert (settings["pairs"]["label_max"], settings["negatives"]["corpus"]) == (5.0, "questions.csv")
    printed = dupmine("train", "bi-encoder", "pairs.csv", "--loss", "cosine", "--print-config")
    settings = yaml.safe_load(printed.out)
    assert (settings["objective"]["loss"], settings["training"]["learning_rate"]) == ("cosine", 2e-5)


def test_mistakes_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_pairs(tmp_path / "pairs.csv", learnable_pairs(8))
    out = ("--out", tmp_path / "model")
    ended = dupmine("train", "cross-encoder", path, *out)
    assert (ended.code, ended.err) == (
        2,
        f"dupmine: {path}: 6 training pairs are less than one batch of 64; add pairs, or lower "
        "training.batch_size\n",
    )
    ended = dupmine("train", "bi-encoder", path, *out, "--loss", "triplet")
    assert ended.code == 2
    assert ended.err.startswith("dupmine: setting objective.loss: should be 'cosine', 'contrastive'")
    ended = dupmine("train", "cross-encoder", path, *out, "--resume", "--restart")
    assert ended.code == 2
    assert "give one of --resume and --restart" in ended.err

    monkeypatch.setitem(sys.modules, "datasets", None)
    ended = dupmine("train", "cross-encoder", path, *out)
    assert ended.err == (
        "dupmine: training needs datasets, which is not installed: pip install 'dupmine[train]'\n"
    )
    assert not (tmp_path / "model").exists()
