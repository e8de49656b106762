"""The shards of an interrupted run: computed once, never used when they are damaged."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from dupmine import OutputError
from dupmine.disk.files import output_errors
from dupmine.disk.work import Work, shard_name
from dupmine.errors import SpaceError

from ..helpers.disk import largest_file

ARRAYS = [
    np.arange(12, dtype=np.int64).reshape(3, 4),
    np.empty((0, 4), np.float16),
    np.linspace(0, 1, 5, dtype=np.float32),
    np.array([], np.uint8),
]


@pytest.mark.parametrize("array", ARRAYS, ids=["rows", "no-rows", "floats", "nothing"])
def test_a_shard_is_made_once(array: np.ndarray, tmp_path: Path) -> None:
    first = Work(tmp_path)
    made = first.array("a", lambda: array)
    again = Work(tmp_path)
    found = again.array("a", lambda: pytest.fail("made twice"))
    for shard in (made, found):
        assert shard.dtype == array.dtype
        np.testing.assert_array_equal(shard, array)
    assert (first.found, first.made, again.found, again.made) == (0, 1, 1, 0)
    assert again.size() == (tmp_path / "a.shard").stat().st_size > array.nbytes


def test_facts(tmp_path: Path) -> None:
    facts = {"kind": "exact", "recall": 0.97, "more": {"ä": None}}
    assert Work(tmp_path).facts("index", lambda: facts) == facts
    assert Work(tmp_path).facts("index", dict) == facts


@pytest.mark.parametrize("place", [0, 20, 100, 140, 170, -1])
def test_a_flipped_bit_is_noticed(place: int, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    expected = np.arange(12)
    Work(tmp_path).array("a", lambda: expected)
    path = tmp_path / "a.shard"
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)
    work = Work(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert work.array("a", lambda: expected).tolist() == expected.tolist()
    assert (work.found, work.made) == (0, 1)
    assert caplog.messages == [f"{path} is damaged: it is computed again"]


@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 128, -33, -1])
def test_a_shard_that_was_cut_is_made_again(length: int, tmp_path: Path) -> None:
    expected = np.arange(12)
    Work(tmp_path).array("a", lambda: expected)
    path = tmp_path / "a.shard"
    path.write_bytes(path.read_bytes()[:length])
    work = Work(tmp_path)
    assert work.array("a", lambda: expected).tolist() == expected.tolist()
    assert (work.found, work.made) == (0, 1)


def test_no_room_for_a_shard(tmp_path: Path) -> None:
    work = Work(tmp_path)
    with pytest.raises(SpaceError), largest_file(4096), output_errors(tmp_path):
        work.array("a", lambda: np.arange(1000))
    assert list(tmp_path.iterdir()) == []


def test_work_made_from_something_else_is_refused(tmp_path: Path) -> None:
    work = Work(tmp_path)
    work.require({"a": "1"})
    work.require({"a": "2"})  # nothing is finished yet
    work.array("shard", lambda: np.arange(3))
    Work(tmp_path).require({"a": "2"})
    with pytest.raises(OutputError) as caught:
        Work(tmp_path).require({"a": "3", **{f"b{i}": "x" for i in range(4)}})
    assert str(caught.value) == (
        f"{tmp_path} holds an interrupted run that was started differently (a was 2, is 3; "
        "b0 was missing, is x; b1 was missing, is x; 2 more): "
        "repeat it as it was started, or discard it with --restart"
    )
    Work(tmp_path).clear()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]"])
def test_work_of_unknown_origin_is_discarded(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    work = Work(tmp_path)
    work.require({"a": "1"})
    work.array("shard", lambda: np.arange(3))
    (tmp_path / "basis.json").write_bytes(content)
    work = Work(tmp_path)
    work.require({"a": "1"})
    assert work.array("shard", lambda: np.arange(4)).tolist() == [0, 1, 2, 3]
    assert caplog.messages == [f"{tmp_path}: it is not known what the shards were made from: discarded"]


def test_a_shard_name_depends_on_its_inputs() -> None:
    names = [
        shard_name("a", b"x", b"y"),
        shard_name("a", b"xy"),
        shard_name("a", b"xy", b""),
        shard_name("b", b"xy"),
        shard_name("a", np.array([1, 2], np.int32)),
        shard_name("a", np.array([1, 3], np.int32)),
    ]
    assert len(set(names)) == len(names)
    assert shard_name("a", b"xy") == names[1]
