"""What a generation shall hold: the documents of the one before, with new and edited ones, without others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import InputError
from ..schema import DOC_ID, Rows
from .segments import Snapshot, stack_documents

Mask = npt.NDArray[np.bool_]
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Target:
    """The documents a generation shall hold, in order of arrival, and their numbers in the store.

    `added` are those that no segment holds yet; their numbers follow the ones before. `counts` says how
    many are new, edited, deleted and unchanged.
    """

    documents: pa.Table
    numbers: Rows
    added: pa.Table
    counts: dict[str, int]

    @property
    def changed(self) -> bool:
        """Whether it differs from the generation before."""
        return any(count for name, count in self.counts.items() if name != "unchanged")


def with_documents(before: Snapshot, incoming: pa.Table) -> Target:
    """Add documents; one with a known id replaces that document, in its place, where it differs from it.

    Raises:
        InputError: a column has another type than before.
    """
    place = _places(before, incoming[DOC_ID])
    known = np.flatnonzero(place >= 0)
    same = np.zeros(len(place), bool)
    same[known] = _equal_lines(before.documents.take(place[known]), incoming.take(known))
    added = incoming.filter(pa.array(~same))
    place = place[~same]
    edited = place >= 0
    order = np.arange(len(before.state))
    order[place[edited]] = len(order) + np.flatnonzero(edited)
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
    return Target(stack_documents([before.documents, added]).take(order), numbers[order], added, counts)


def without_documents(before: Snapshot, ids: Iterable[object]) -> Target:
    """Take documents out.

    Raises:
        InputError: there is no document with one of the ids.
    """
    listed = [ids] if isinstance(ids, str) else ids
    wanted = pa.chunked_array([pa.array(map(str, listed), pa.string())])
    place = _places(before, wanted)
    unknown = wanted.filter(pa.array(place < 0)).unique().to_pylist()
    if unknown:
        shown = ", ".join(repr(doc_id) for doc_id in unknown[:_SHOWN])
        more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
        raise InputError(f"the store holds no document with the id {shown}{more}: nothing was deleted")
    stays = np.ones(len(before.state), bool)
    stays[place] = False
    return _selected(before, stays)


def all_documents(before: Snapshot) -> Target:
    """Keep the documents as they are."""
    return _selected(before, np.ones(len(before.state), bool))


def _selected(before: Snapshot, stays: Mask) -> Target:
    counts = {"new": 0, "edited": 0, "deleted": int((~stays).sum()), "unchanged": int(stays.sum())}
    numbers = before.state["document"].to_numpy()[stays]
    return Target(before.documents.filter(pa.array(stays)), numbers, before.documents.slice(0, 0), counts)


def _places(before: Snapshot, ids: pa.ChunkedArray) -> Rows:
    """Return the place of each id among the documents before, -1 where it is not among them."""
    known = before.state[DOC_ID].combine_chunks()
    return np.asarray(pc.fill_null(pc.index_in(ids, value_set=known), -1).to_numpy(), np.int64)


def _equal_lines(old: pa.Table, new: pa.Table) -> Mask:
    """Tell which lines of two tables are equal in every column; a column one lacks is null there."""
    stacked = stack_documents([old, new])
    old, new = stacked.slice(0, len(old)), stacked.slice(len(old))
    equal = np.ones(len(old), bool)
    for name in stacked.column_names:
        equal &= _equal(old[name], new[name])
    return equal


def _equal(old: pa.ChunkedArray, new: pa.ChunkedArray) -> Mask:
    try:
        found = pc.or_(pc.fill_null(pc.equal(old, new), False), pc.and_(pc.is_null(old), pc.is_null(new)))
        if pa.types.is_floating(old.type):
            both = pc.and_(pc.is_nan(old), pc.is_nan(new))
            found = pc.or_(found, pc.fill_null(both, False))
        return np.asarray(found.to_numpy(), bool)
    except pa.ArrowNotImplementedError:  # lists, structs and maps
        lines = zip(old.to_pylist(), new.to_pylist(), strict=True)
        return np.array([repr(a) == repr(b) for a, b in lines], bool)
