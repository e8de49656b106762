"""The documents of the next generation: those of the last one after an update or a deletion."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..corpus.ids import id_text
from ..errors import InputError
from ..schema import DOC_ID, Rows
from .snapshot import Snapshot, stack_documents

Mask = npt.NDArray[np.bool_]
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class TargetDocuments:
    """The documents of the next generation, in order of arrival, and their numbers in the store.

    `added` are the documents that are in no segment yet; their numbers follow all others. `counts` are the
    numbers of new, edited, deleted and unchanged documents.
    """

    documents: pa.Table
    numbers: Rows
    added: pa.Table
    counts: dict[str, int]

    @property
    def changed(self) -> bool:
        """Whether the documents differ from those of the last generation."""
        return any(count for name, count in self.counts.items() if name != "unchanged")


def add_documents(before: Snapshot, incoming: pa.Table) -> TargetDocuments:
    """Add documents. A document with a known id replaces that document, in its position, if it differs.

    Raises:
        InputError: a column has another type than before.
    """
    position = _positions(before, incoming[DOC_ID])
    present = np.flatnonzero(position >= 0)
    same = np.zeros(len(position), bool)
    same[present] = _equal_rows(before.documents.take(position[present]), incoming.take(present))
    added = incoming.filter(pa.array(~same))
    position = position[~same]
    edited = position >= 0
    order = np.arange(len(before.state))
    order[position[edited]] = len(order) + np.flatnonzero(edited)
    order = np.concatenate([order, len(order) + np.flatnonzero(~edited)])
    numbers = np.concatenate(
        [before.state["document"].to_numpy(), before.n_documents + np.arange(len(added))]
    )
    counts = {
        "new": int((~edited).sum()),
        "edited": int(edited.sum()),
        "deleted": 0,
        "unchanged": int(same.sum()),
    }
    return TargetDocuments(
        stack_documents([before.documents, added]).take(order), numbers[order], added, counts
    )


def remove_documents(before: Snapshot, ids: Iterable[object]) -> TargetDocuments:
    """Remove documents.

    Raises:
        InputError: an id is unknown.
    """
    several = [ids] if isinstance(ids, str) else ids
    doc_ids = pa.chunked_array([pa.array(map(id_text, several), pa.string())])
    position = _positions(before, doc_ids)
    unknown = doc_ids.filter(pa.array(position < 0)).unique().to_pylist()
    if unknown:
        shown = ", ".join(repr(doc_id) for doc_id in unknown[:_SHOWN])
        more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
        raise InputError(f"the store has no document with the id {shown}{more}: nothing was deleted")
    kept = np.ones(len(before.state), bool)
    kept[position] = False
    return _select(before, kept)


def keep_documents(before: Snapshot) -> TargetDocuments:
    """Keep all documents as they are."""
    return _select(before, np.ones(len(before.state), bool))


def _select(before: Snapshot, kept: Mask) -> TargetDocuments:
    counts = {"new": 0, "edited": 0, "deleted": int((~kept).sum()), "unchanged": int(kept.sum())}
    numbers = before.state["document"].to_numpy()[kept]
    return TargetDocuments(
        before.documents.filter(pa.array(kept)), numbers, before.documents.slice(0, 0), counts
    )


def _positions(before: Snapshot, ids: pa.ChunkedArray) -> Rows:
    """Return the position of each id among the documents of the last generation, -1 for an unknown id."""
    present = before.state[DOC_ID].combine_chunks()
    return np.asarray(pc.fill_null(pc.index_in(ids, value_set=present), -1).to_numpy(), np.int64)


def _equal_rows(old: pa.Table, new: pa.Table) -> Mask:
    """Return which rows of two tables are equal in every column. A missing column counts as null."""
    stacked = stack_documents([old, new])
    old, new = stacked.slice(0, len(old)), stacked.slice(len(old))
    equal = np.ones(len(old), bool)
    for name in stacked.column_names:
        equal &= _equal(old[name], new[name])
    return equal


def _equal(old: pa.ChunkedArray, new: pa.ChunkedArray) -> Mask:
    try:
        equal = pc.or_(pc.fill_null(pc.equal(old, new), False), pc.and_(pc.is_null(old), pc.is_null(new)))
        if pa.types.is_floating(old.type):
            both = pc.and_(pc.is_nan(old), pc.is_nan(new))
            equal = pc.or_(equal, pc.fill_null(both, False))
        return np.asarray(equal.to_numpy(), bool)
    except pa.ArrowNotImplementedError:  # lists, structs and maps
        rows = zip(old.to_pylist(), new.to_pylist(), strict=True)
        return np.array([repr(a) == repr(b) for a, b in rows], bool)
