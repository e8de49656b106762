"""Commits: what is read is what was written, and no other byte."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dupmine import CorruptStoreError, InputError
from dupmine.store.commits import (
    FORMAT,
    Commit,
    Segment,
    StoredFile,
    commit_problems,
    generations,
    latest_commit,
    read_commit,
)
from dupmine.store.layout import commit_file, copy_of


def files_of(generation: int) -> dict[str, StoredFile]:
    """Return the files of a generation with one segment."""
    folder = f"segments/{generation:08}"
    stems = [f"{folder}/documents", *(f"{kind}/{generation:08}" for kind in ("states", "changes"))]
    twice = [*stems, f"states/{generation:08}.unseen"]
    names = [f"{stem}{copy}.parquet" for stem in twice for copy in ("", ".copy")]
    names += [f"{folder}/{name}" for name in ("texts.parquet", "embeddings.npy", "pairs.parquet")]
    return {name: StoredFile(10, "cd") for name in names}


COMMIT = Commit(
    generation=0,
    operation="update",
    settings={"rerank": {"threshold": 0.35, "cross_encoder": "modèle \\ud800"}},
    models={"bi_encoder": {"sha256": "ab", "dim": 16}},
    columns={"text": "title", "id": "qid"},
    next_cluster_id=7,
    counts={"documents": 3},
    segments=(Segment(0, 3, 2, 1),),
    files=files_of(0),
    previous="",
    time="2026-01-01T00:00:00+00:00",
)


def test_a_commit_is_read_as_it_was_written(tmp_path: Path) -> None:
    previous = ""
    for generation in (0, 9, 10, 123_456_789):
        segments, files = (Segment(generation, 3, 2, 1),), files_of(generation)
        commit = replace(COMMIT, generation=generation, previous=previous, segments=segments, files=files)
        commit.write(tmp_path)
        assert read_commit(tmp_path, generation) == commit
        previous = commit.identity
    assert generations(tmp_path) == [0, 9, 10, 123_456_789]
    assert latest_commit(tmp_path).generation == 123_456_789
    names = [commit_file(9), copy_of(commit_file(9))]
    assert names == ["generations/00000009.json", "generations/00000009.copy.json"]
    assert (tmp_path / names[0]).read_bytes() == (tmp_path / names[1]).read_bytes()


def test_a_flipped_bit_of_any_byte_is_found(tmp_path: Path) -> None:
    COMMIT.write(tmp_path)
    path = tmp_path / commit_file(0)
    content = path.read_bytes()
    for place, byte in enumerate(content):
        path.write_bytes(content[:place] + bytes([byte ^ 1 << place % 8]) + content[place + 1 :])
        assert commit_file(0) in commit_problems(tmp_path, 0), place
    path.write_bytes(content)
    assert commit_problems(tmp_path, 0) == {}


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", "null", '{"checksum": "ab"}', '{"a": "\\ud800"}', "1e999"]
)
def test_what_is_no_commit_is_damage(content: str, tmp_path: Path) -> None:
    COMMIT.write(tmp_path)
    (tmp_path / commit_file(0)).write_text(content)
    assert latest_commit(tmp_path) == COMMIT
    (tmp_path / copy_of(commit_file(0))).write_text(content)
    with pytest.raises(
        CorruptStoreError, match=r"generations/00000000\.json is damaged .* run .*--repair"
    ) as error:
        latest_commit(tmp_path)
    assert error.value.exit_code == 4


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (
            FORMAT - 1,
            "an older version of dupmine wrote this store (format 3, not 4): make a new one with `dupmine "
            "store init` and add the documents again",
        ),
        (
            FORMAT + 1,
            "a newer version of dupmine wrote this store (format 5, not 4): use that version",
        ),
    ],
)
def test_another_format_is_refused_by_its_number(
    number: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as other:
        other.setattr("dupmine.store.commits.FORMAT", number)
        COMMIT.write(tmp_path)
    assert json.loads((tmp_path / commit_file(0)).read_bytes())["format"] == number
    with pytest.raises(InputError) as error:
        latest_commit(tmp_path)
    assert str(error.value) == f"{tmp_path / commit_file(0)}: {message}"
    assert error.value.exit_code == 2


def test_no_commit_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a store of dupmine: make one with `dupmine store init"):
        latest_commit(tmp_path)
    with pytest.raises(CorruptStoreError, match="it is missing"):
        read_commit(tmp_path, 4)
