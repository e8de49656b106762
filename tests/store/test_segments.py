"""The files of a generation: what is read back is what was written, segment by segment."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dupmine import CorruptStoreError
from dupmine.schema import BANDS, DECIDERS, ScoredPairs, TokenStore
from dupmine.store.changes import LOG
from dupmine.store.commits import Commit, Segment
from dupmine.store.segments import STATE, check_file, write_segment, write_state
from dupmine.store.snapshot import read_snapshot, read_without, stack_documents

VECTORS = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float16)
NOTHING = np.empty(0, np.int64)


def tokens(*texts: list[int]) -> TokenStore:
    lengths = [0, *map(len, texts)]
    return TokenStore(np.array([token for text in texts for token in text], np.int32), np.cumsum(lengths), 0)


def pairs(*triples: tuple[int, int, float]) -> ScoredPairs:
    left, right, logit = zip(*triples, strict=True) if triples else ((), (), ())
    logits = np.array(logit, np.float32)
    return ScoredPairs.from_logits(np.array(left, np.int64), np.array(right, np.int64), logits, logits)


def documents(*ids: str) -> pa.Table:
    return pa.table({"doc_id": pa.array(ids, pa.string()), "text": pa.array(ids, pa.string())})


def state(numbers: list[int], ids: list[str]) -> pa.Table:
    """Two documents of cluster 4, whose texts have their numbers; columns that no test reads are null."""
    known = {
        "document": numbers,
        "doc_id": ids,
        "text": numbers,
        "cluster_id": [4, 4],
        "is_representative": [True, False],
        "probability": [1.0, 0.5],
        "weakest_link": [0.5, 0.5],
    }
    return pa.table({name: known.get(name, [None, None]) for name in STATE.names}, schema=STATE)


@pytest.fixture
def commit(tmp_path: Path) -> Commit:
    """Two segments; of their three documents the second was deleted, so its text is unused."""
    files = write_segment(
        tmp_path,
        1,
        documents=documents("a", "b"),
        texts=["A", "B"],
        tokens=tokens([5, 6], []),
        embeddings=VECTORS[:2],
        pairs=pairs((0, 1, 0.5)),
    )
    files |= write_segment(
        tmp_path,
        2,
        documents=documents("c"),
        texts=["C"],
        tokens=tokens([7]),
        embeddings=VECTORS[2:],
        pairs=pairs((0, 2, -0.25), (1, 2, 0.75)),
    )
    files |= write_state(
        tmp_path, 3, state([0, 2], ["a", "c"]), (np.array([0]), np.array([2])), LOG.empty_table()
    )
    models = {"bi_encoder": {"dim": 2}}
    return Commit(
        3, "delete", {}, models, {}, 5, {}, (Segment(1, 2, 2, 1), Segment(2, 1, 1, 2)), files, "", ""
    )


def test_who_scored_a_pair_is_kept(tmp_path: Path) -> None:
    bands = np.array([DECIDERS.index(BANDS)], np.int8)
    logits = np.array([0.5], np.float32)
    scored = ScoredPairs.from_logits(np.array([0]), np.array([1]), logits, logits, bands)
    files = write_segment(
        tmp_path,
        1,
        documents=documents("a", "b"),
        texts=["A", "B"],
        tokens=tokens([5], [6]),
        embeddings=VECTORS[:2],
        pairs=scored,
    )
    files |= write_state(tmp_path, 1, state([0, 1], ["a", "b"]), (NOTHING, NOTHING), LOG.empty_table())
    commit = Commit(
        1, "update", {}, {"bi_encoder": {"dim": 2}}, {}, 5, {}, (Segment(1, 2, 2, 1),), files, "", ""
    )
    read = read_snapshot(tmp_path, commit).pairs
    assert [DECIDERS[i] for i in (*read.scored_by, *read.decided_by)] == [BANDS, BANDS]


def test_segments_are_read_as_one(commit: Commit, tmp_path: Path) -> None:
    read = read_snapshot(tmp_path, commit)
    assert read.documents["doc_id"].to_pylist() == ["a", "c"]
    assert (read.n_documents, read.n_texts) == (3, 3)
    assert read.texts.texts.to_pylist() == ["A", "B", "C"]
    assert read.texts.tokens.ids.tolist() == [5, 6, 7]
    assert read.texts.tokens.offsets.tolist() == [0, 2, 2, 3]
    numbers = np.array([2, 0, 2, 1])
    np.testing.assert_array_equal(read.texts.vectors(numbers, 2), VECTORS[numbers])
    assert (read.pairs.left.tolist(), read.pairs.right.tolist()) == ([0, 0, 1], [1, 2, 2])
    assert read.pairs.logit.tolist() == [0.5, -0.25, 0.75]
    assert [end.tolist() for end in read.unseen] == [[0], [2]]
    assert read.members.to_pylist() == [
        {"doc_id": "a", "cluster_id": 4, "is_representative": True},
        {"doc_id": "c", "cluster_id": 4, "is_representative": False},
    ]


@pytest.mark.parametrize("part", ["texts.parquet", "embeddings.npy"])
def test_texts_without_their_file_keep_their_numbers(part: str, commit: Commit, tmp_path: Path) -> None:
    name = f"segments/00000001/{part}"
    (tmp_path / name).write_bytes(b"")
    read = read_without(tmp_path, commit, frozenset({name}))
    assert read.texts.texts.to_pylist() == [None, None, "C"]
    assert read.texts.tokens.take(np.array([0, 2])).ids.tolist() == [7]
    np.testing.assert_array_equal(read.texts.vectors(np.array([2]), 2), VECTORS[2:])
    assert len(read.pairs) == 3


def test_pairs_without_their_file_are_left_out(commit: Commit, tmp_path: Path) -> None:
    name = "segments/00000002/pairs.parquet"
    (tmp_path / name).unlink()
    read = read_without(tmp_path, commit, frozenset({name}))
    assert (read.pairs.left.tolist(), read.pairs.right.tolist()) == ([0], [1])
    assert read.texts.texts.to_pylist() == ["A", "B", "C"]


def test_a_damaged_file_is_named_with_what_is_wrong(commit: Commit, tmp_path: Path) -> None:
    name = "segments/00000001/pairs.parquet"
    path, expected = tmp_path / name, commit.files[name]
    content = path.read_bytes()
    assert check_file(tmp_path, name, expected) is None
    path.write_bytes(content[:-1])
    assert (
        check_file(tmp_path, name, expected)
        == f"it has {len(content) - 1:,} bytes instead of {len(content):,}"
    )
    path.write_bytes(content[:-1] + b"?")
    assert check_file(tmp_path, name, expected) == "its checksum does not match"
    with pytest.raises(CorruptStoreError) as error:
        read_snapshot(tmp_path, commit)
    assert str(error.value) == (
        f"{path} is damaged (its checksum does not match): run `dupmine store verify --repair {tmp_path}`"
    )
    path.unlink()
    assert check_file(tmp_path, name, expected) == "it is missing"
    path.mkdir()
    assert check_file(tmp_path, name, expected) is not None


def test_equal_content_gives_equal_bytes_and_sums(commit: Commit, tmp_path: Path) -> None:
    again = write_segment(
        tmp_path / "again",
        1,
        documents=documents("a", "b"),
        texts=["A", "B"],
        tokens=tokens([5, 6], []),
        embeddings=VECTORS[:2],
        pairs=pairs((0, 1, 0.5)),
    )
    assert {name: commit.files[name] for name in again} == again
    assert not [name for _, _, names in os.walk(tmp_path) for name in names if ".tmp-" in name]


def test_no_documents_have_the_two_columns_of_all() -> None:
    assert stack_documents([]).column_names == ["doc_id", "text"]
    stacked = stack_documents([documents("a"), documents("b").append_column("score", pa.array([3]))])
    assert stacked["score"].to_pylist() == [None, 3]
