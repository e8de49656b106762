"""What documents a generation holds: new, edited, unchanged and deleted ones, of any column type."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dupmine import InputError
from dupmine.schema import ScoredPairs, TokenStore
from dupmine.store.commits import Commit, Segment
from dupmine.store.documents import add_documents, keep_documents, remove_documents
from dupmine.store.segments import STATE
from dupmine.store.snapshot import Snapshot, Texts

NOTHING = np.empty(0, np.int64)
PAIRS = ScoredPairs.none()
TEXTS = Texts(pa.chunked_array([[]], pa.large_string()), TokenStore(NOTHING.astype(np.int32), NOTHING, 0), ())


def documents(lines: dict[str, Any], kind: pa.DataType | None = None) -> pa.Table:
    """Return documents with a column of values by id."""
    ids = pa.chunked_array([pa.array(list(lines), pa.string())])
    values = pa.chunked_array([pa.array(list(lines.values()), kind)])
    return pa.table({"doc_id": ids, "text": ids, "value": values})


def holding(held: pa.Table, numbers: list[int] | None = None) -> Snapshot:
    """Return a generation of a store with some documents, under their numbers."""
    commit = Commit(1, "update", {}, {}, {}, 0, {}, (Segment(1, 100, 0, 0),), {}, "", "")
    state = pa.table(
        {
            "document": numbers or list(range(len(held))),
            "doc_id": held["doc_id"],
            "text": pa.array([-1] * len(held), pa.int64()),
            "cluster_id": pa.nulls(len(held), pa.int64()),
            "is_representative": [True] * len(held),
            "probability": pa.nulls(len(held), pa.float32()),
            "weakest_link": pa.nulls(len(held), pa.float32()),
        },
        schema=STATE,
    )
    return Snapshot(commit, held, state, TEXTS, PAIRS, (NOTHING, NOTHING))


ids = st.integers(0, 12).map(str)
lines = st.dictionaries(ids, st.sampled_from([None, 1, 2]), max_size=8)


@given(lines, lines)
def test_updated_documents_are_those_of_a_dictionary(held: dict[str, Any], incoming: dict[str, Any]) -> None:
    """An edited document keeps its place, new ones follow, and every number says where a document lies."""
    before = holding(documents(held, pa.int64()), list(range(50, 50 + len(held))))
    target = add_documents(before, documents(incoming, pa.int64()))
    ids, values = (target.documents[name].to_pylist() for name in ("doc_id", "value"))
    assert list(zip(ids, values, strict=True)) == list((held | incoming).items())
    changed = {i: v for i, v in incoming.items() if i not in held or held[i] != v}
    assert target.added["doc_id"].to_pylist() == list(changed)
    where = dict(zip(held, range(50, 50 + len(held)), strict=True))
    where |= {doc_id: 100 + place for place, doc_id in enumerate(changed)}
    assert target.numbers.tolist() == [where[doc_id] for doc_id in held | incoming]
    new = len(changed.keys() - held.keys())
    assert target.counts == {
        "new": new,
        "edited": len(changed) - new,
        "deleted": 0,
        "unchanged": len(incoming) - len(changed),
    }
    assert target.changed == bool(changed)


@given(lines, st.sets(ids))
def test_deleted_documents_leave_the_others_in_order(held: dict[str, Any], gone: set[str]) -> None:
    before = holding(documents(held, pa.int64()))
    known = sorted(gone & held.keys())
    target = remove_documents(before, known)
    assert target.documents["doc_id"].to_pylist() == [doc_id for doc_id in held if doc_id not in gone]
    assert target.numbers.tolist() == [i for i, doc_id in enumerate(held) if doc_id not in gone]
    assert (target.counts["deleted"], target.changed) == (len(known), bool(known))
    if gone - held.keys():
        with pytest.raises(InputError, match="nothing was deleted"):
            remove_documents(before, gone)
    assert keep_documents(before).documents.equals(before.documents)
    assert not keep_documents(before).changed


VALUES: dict[str, tuple[list[Any], Any]] = {
    "float": ([1.5, float("nan"), None, 0.0], 2.5),
    "string": (["a", "", None, "\U0001f600"], "b"),
    "list": ([[1, 2], [], None, [None]], [2, 1]),
    "struct": ([{"a": 1}, {"a": None}, None, {"a": 2}], {"a": 3}),
    "time": ([datetime(2026, 1, 1, tzinfo=UTC), None], datetime(2026, 1, 2, tzinfo=UTC)),
    "decimal": ([Decimal("1.10"), None], Decimal("1.11")),
    "bytes": ([b"\xff", b"", None], b"\x00"),
    "list of floats": ([[float("nan")], [0.5]], [0.25]),
}


@pytest.mark.parametrize("kind", VALUES)
def test_values_of_any_type_are_compared(kind: str) -> None:
    values, other = VALUES[kind]
    held = documents({str(i): value for i, value in enumerate(values)})
    before = holding(held)
    assert add_documents(before, held).counts["unchanged"] == len(values)
    edited = documents(dict.fromkeys(map(str, range(len(values))), other), held["value"].type)
    assert add_documents(before, edited).counts["edited"] == len(values)


def test_a_column_that_one_side_lacks_is_null_there() -> None:
    held = documents({"a": 1, "b": None})
    without = held.drop_columns("value")
    target = add_documents(holding(held), without)
    assert (target.counts["edited"], target.counts["unchanged"]) == (1, 1)
    assert target.documents["value"].to_pylist() == [None, None]
    more = add_documents(holding(without), held)
    assert (more.counts["edited"], more.documents["value"].to_pylist()) == (1, [1, None])


def test_another_type_is_refused_and_named() -> None:
    with pytest.raises(InputError, match=r"another type than in the store \(.*value.*string.*\): convert it"):
        add_documents(holding(documents({"a": 1})), documents({"a": "x"}))


def test_numbers_go_on_from_all_segments() -> None:
    before = holding(documents({"a": 1}))
    commit = replace(before.commit, segments=(Segment(1, 7, 0, 0), Segment(2, 4, 0, 0)))
    target = add_documents(replace(before, commit=commit), documents({"b": 1}))
    assert target.numbers.tolist() == [0, 11]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (pa.array([7, 8]), pa.array(["7", "9"])),
        (pa.array(["7", "8"]), pa.array([7, 9])),
        (pa.array(["7", "8"]).dictionary_encode(), pa.array(["7", "9"])),
        (pa.array([7, 8]).dictionary_encode(), pa.array([7, 9], pa.int16())),
    ],
    ids=["integers then text", "text then integers", "dictionary then text", "dictionaries of integers"],
)
def test_ids_of_several_types_are_one_space(old: pa.Array, new: pa.Array) -> None:
    def table(names: list[str], column: pa.Array, text: list[str]) -> pa.Table:
        return pa.table({"doc_id": names, "text": text, "id": column})

    before = holding(table(["7", "8"], old, ["a", "b"]))
    target = add_documents(before, table(["7", "9"], new, ["a", "c"]))
    assert target.counts == {"new": 1, "edited": 0, "deleted": 0, "unchanged": 1}
    assert target.documents["doc_id"].to_pylist() == ["7", "8", "9"]
    assert target.documents["id"].to_pylist() == ["7", "8", "9"]
    assert remove_documents(before, [7]).documents["doc_id"].to_pylist() == ["8"]
