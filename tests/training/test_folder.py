"""A training's folder: what may be there before, and what is left of one that ends early."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dupmine.errors import OutputError, SettingsError
from dupmine.training.folder import RECORD, TrainingFolder, open_training


def finished(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        (folder / name).write_text("old")
    (folder / RECORD).write_text(json.dumps({"files": list(names)}))
    return folder


def test_what_is_staged_takes_the_place_of_a_finished_training(tmp_path: Path) -> None:
    out = finished(tmp_path / "model", "model.safetensors")
    (out / "dupmine.json").write_text("{}")
    with open_training(out, overwrite=True) as folder:
        (folder.checkpoints / "checkpoint-1").mkdir()
        (folder.staging / "new").write_text("new")
        assert (out / "model.safetensors").read_text() == "old"
    assert [path.name for path in out.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    def fail(out: Path) -> None:
        with open_training(out, overwrite=True) as folder:
            (folder.staging / "new").write_text("new")
            raise KeyboardInterrupt

    out = finished(tmp_path / "model", "model.safetensors")
    with pytest.raises(KeyboardInterrupt):
        fail(out)
    assert {path.name for path in out.iterdir()} == {"model.safetensors", RECORD}
    with pytest.raises(KeyboardInterrupt):
        fail(tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with (
        pytest.raises(OutputError, match=r"holds notes.txt and no training of dupmine"),
        open_training(tmp_path),
    ):
        pass
    with (
        pytest.raises(OutputError, match="exists and is not a folder"),
        open_training(tmp_path / "notes.txt"),
    ):
        pass


def test_differences_are_named_the_first_three_of_them(tmp_path: Path) -> None:
    folder = TrainingFolder(tmp_path, tmp_path)
    folder.require({}, {"seed": "1"})
    assert folder.planned() == {"seed": "1"}
    before = {"a": "1", "b": "1", "c": "1", "d": "1", "same": "1"}
    now = {"a": "2", "b": "2", "c": "2", "same": "1", "new": "1"}
    with pytest.raises(SettingsError) as caught:
        folder.require(before, now)
    assert "(a was 1, is 2; b was 1, is 2; c was 1, is 2; 2 more)" in str(caught.value)
    assert folder.planned() == {"seed": "1"}
