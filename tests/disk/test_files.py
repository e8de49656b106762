"""Files are written whole or not at all, and errors say what to do."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path
from typing import BinaryIO

import pytest

from dupmine import OutputError
from dupmine.disk.files import claim, digest, output_errors, remove_leftovers, require_space, write_atomically
from dupmine.errors import SpaceError

from ..helpers.disk import largest_file


def test_a_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for content in (b"old", b"new"):
        write_atomically(path, lambda file, content=content: file.write(content))  # type: ignore[misc]
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, seen = tmp_path / "a", []
    path.write_bytes(b"old")
    sync = os.fsync

    def look(descriptor: int) -> None:
        seen.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), path.read_bytes()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    write_atomically(path, lambda file: file.write(b"new"))
    assert seen == [(False, b"old"), (True, b"new")]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def fail(file: BinaryIO) -> None:
        file.write(b"half")
        assert [p.name.split("tmp-")[0] for p in tmp_path.iterdir() if p != path] == [".a."]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    kept = {"a", ".hidden", ".b.tmp-12345678", ".a.tmp-1234567", ".a.tmp-mine"}
    for name in (*kept, ".a.tmp-12345678"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path, lambda name: name == "a")
    assert {path.name for path in tmp_path.iterdir()} == kept


@pytest.mark.parametrize("size", [0, 1, 3 << 20, (1 << 20) + 7])
def test_claim_and_digest(size: int, tmp_path: Path) -> None:
    claim(tmp_path / "zeros", size)
    assert (tmp_path / "zeros").stat().st_size == size
    assert digest(tmp_path / "zeros") == hashlib.sha256(bytes(size)).hexdigest()


def test_no_space_for_a_file(tmp_path: Path) -> None:
    with pytest.raises(SpaceError) as caught, largest_file(1000), output_errors(tmp_path):
        write_atomically(tmp_path / "a", lambda file: file.write(bytes(1001)))
    assert str(caught.value) == (
        f"{tmp_path} cannot be written: the disk is full; free some space or give another folder "
        "(nothing was changed)"
    )
    assert caught.value.exit_code == 5
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "reason"),
    [(errno.EROFS, "no write access; allow it"), (errno.EIO, "Input/output error; correct that")],
)
def test_other_errors_of_the_disk(number: int, reason: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught, output_errors(tmp_path):
        raise OSError(number, "Input/output error")
    assert type(caught.value) is OutputError
    assert str(caught.value).startswith(f"{tmp_path} cannot be written: {reason} or give another folder")


def test_space_is_required_before_anything_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "yet"
    require_space(folder, 1)
    with pytest.raises(SpaceError) as caught:
        require_space(folder, 1 << 60)
    message = str(caught.value)
    assert message.startswith(f"{folder}: about 1073741824.0 GiB are needed and ")
    assert message.endswith(" are free; free some space or give another folder (nothing was written)")
