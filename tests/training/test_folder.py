"""The folder of a training: what it may hold before, and what is left of an interrupted training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dupmine.errors import OutputError
from dupmine.training.folder import RECORD, Target, open_training
from dupmine.training.plan import describe_changes


def finished(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        (folder / name).write_text("old")
    (folder / RECORD).write_text(json.dumps({"files": list(names)}))
    return folder


def test_staging_replaces_a_finished_training_and_its_calibration(tmp_path: Path) -> None:
    out = finished(tmp_path / "model", "model.safetensors")
    for name in ("dupmine.json", "decision.json", "cascade.json"):  # of `calibrate`
        (out / name).write_text("{}")
    with open_training(Target(out, overwrite=True)) as folder:
        (folder.checkpoints / "checkpoint-1").mkdir()
        (folder.staging / "new").write_text("new")
        assert (out / "model.safetensors").read_text() == "old"
    assert [path.name for path in out.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_an_error_leaves_the_folder_unchanged(tmp_path: Path) -> None:
    def fail(out: Path) -> None:
        with open_training(Target(out, overwrite=True)) as folder:
            (folder.staging / "new").write_text("new")
            raise KeyboardInterrupt

    out = finished(tmp_path / "model", "model.safetensors")
    with pytest.raises(KeyboardInterrupt):
        fail(out)
    assert {path.name for path in out.iterdir()} == {"model.safetensors", RECORD}
    with pytest.raises(KeyboardInterrupt):
        fail(tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with (
        pytest.raises(
            OutputError, match=r"holds notes.txt, which this command does not write, so it is not overwritten"
        ),
        open_training(Target(tmp_path)),
    ):
        pass
    with (
        pytest.raises(OutputError, match="exists and is not a folder"),
        open_training(Target(tmp_path / "notes.txt")),
    ):
        pass


def test_the_first_three_differences_are_named() -> None:
    before = {"a": "1", "b": "1", "c": "1", "d": "1", "same": "1"}
    now = {"a": "2", "b": "2", "c": "2", "same": "1", "new": "1"}
    assert describe_changes(before, now) == "a was 1, is 2; b was 1, is 2; c was 1, is 2; 2 more"
    assert describe_changes(now, dict(now)) is None
