"""Stable cluster ids and the log of changes between two generations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..schema import DOC_ID, Flags, Rows

CLUSTER_ID = "cluster_id"
IS_REPRESENTATIVE = "is_representative"

# In the order in which the events of one cluster are listed.
EVENTS = ("created", "merged", "split", "grew", "shrank", "representative_changed", "dissolved")
_CREATED, _MERGED, _SPLIT, _GREW, _SHRANK, _REPRESENTATIVE_CHANGED, _DISSOLVED = range(len(EVENTS))


_NONE = -1
_JOINED, _LEFT, _NEITHER = range(3)


def _field(name: str, kind: pa.DataType, description: str, *, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"description": description})


_IDS = pa.list_(pa.field("element", pa.string(), nullable=False))

MEMBERS = pa.schema(
    [
        _field(DOC_ID, pa.string(), "the document's id"),
        _field(CLUSTER_ID, pa.int64(), "stable id of its cluster, from 0"),
        _field(IS_REPRESENTATIVE, pa.bool_(), "whether this document is the representative of its cluster"),
    ]
)

CHANGES = pa.schema(
    [
        _field("event", pa.string(), "one of " + ", ".join(EVENTS)),
        _field(CLUSTER_ID, pa.int64(), "stable id of the cluster"),
        _field(
            "other_id",
            pa.int64(),
            "merged: the cluster that ended; split: the cluster the documents come from; else null",
            nullable=True,
        ),
        _field("joined", _IDS, "documents that belong to the cluster since this event, sorted"),
        _field("left", _IDS, "documents that belong to no cluster since this event, sorted"),
        _field(
            "representative_id",
            pa.string(),
            "the cluster's representative where it is new: in the first event of a new cluster and in "
            "representative_changed; else null",
            nullable=True,
        ),
    ]
)


def keep_ids(before: pa.Table, after: pa.Table, next_id: int) -> tuple[Rows, int]:
    """Return the stable cluster id of every row of `after`, and the next free id.

    `before` has stable ids below `next_id`, `after` has provisional numbers; both have the schema `MEMBERS`.
    The successor of an old cluster is the new cluster that holds most of its documents. A tie goes to the
    one with the old representative, then to the one that comes first in `after`. A new cluster takes the
    lowest id of the clusters it succeeds, or else a new id, in order of appearance.
    """
    old, was_representative = _origins(before, after)
    _, first, cluster = np.unique(_clusters(after), return_index=True, return_inverse=True)
    new = np.argsort(np.argsort(first))[cluster]  # numbered in order of appearance
    old_ids, successors = _successors(old, new, was_representative)
    assert not len(old_ids) or old_ids[-1] < next_id, "the ids in `before` must lie below `next_id`"
    ids = np.full(len(first), _NONE)
    successor, oldest = np.unique(successors, return_index=True)
    ids[successor] = old_ids[oldest]
    fresh = np.flatnonzero(ids == _NONE)
    ids[fresh] = next_id + np.arange(len(fresh))
    return ids[new], next_id + len(fresh)


def find_changes(before: pa.Table, after: pa.Table) -> pa.Table:
    """Return the events that lead from `before` to `after`, both `MEMBERS` with stable ids; schema `CHANGES`.

    Every document that moved is listed once: in `joined` of the cluster it is in now, or in `left` if it is
    in no cluster now. Where a cluster id ended, the documents in its successor are `merged` into that one.
    The rows are sorted by cluster, event and other cluster, whatever the order of the input.
    """
    old, was_representative = _origins(before, after)
    new, previous = _clusters(after), _clusters(before)
    before_ids = np.unique(previous)
    target = _targets(before_ids, old, new, was_representative)
    moved = np.flatnonzero(old != new)
    removed = np.flatnonzero(~pc.is_in(before[DOC_ID], after[DOC_ID]).to_numpy())
    changed = _new_representatives(before, after)
    entries = [
        _joins(old[moved], new[moved], before_ids, target),
        _leaves(previous[removed], target[np.searchsorted(before_ids, previous[removed])]),
        _entries(changed, _REPRESENTATIVE_CHANGED, _NONE),
    ]
    joined, left = after[DOC_ID].take(moved), before[DOC_ID].take(removed)
    documents = pa.chunked_array([*joined.chunks, *left.chunks, pa.nulls(len(changed), pa.string())])
    side = np.repeat([_JOINED, _LEFT, _NEITHER], [len(moved), len(removed), len(changed)])
    events = _group_entries(np.concatenate(entries, axis=1), side, documents)
    return _with_representatives(events, after, before_ids)


# As it is stored: the changes of some generations, oldest first.
LOG = CHANGES.insert(0, _field("generation", pa.int64(), "the generation that the change led to"))


def log_of(changes: pa.Table, generation: int) -> pa.Table:
    """Return the changes that led to a generation as they are stored; schema `LOG`."""
    numbers = pa.array([generation] * len(changes), pa.int64())
    return pa.table([numbers, *changes.columns], schema=LOG)


def read_log(store: Path) -> Iterator[pa.Table]:
    """Yield the changes of each generation of a store, oldest first, without those of an interrupted update.

    Several files may hold a generation, with the same lines: later files hold those that merged.
    """
    newest = max(file.stem for file in (store / "generations").glob("????????.json"))
    files = (store / "changes").glob("????????.parquet")
    tables = [pq.read_table(file) for file in sorted(files, reverse=True) if file.stem <= newest]
    whole: dict[int, pa.Table] = {}
    for table in tables:
        for generation in pc.unique(table["generation"]).to_pylist():
            whole.setdefault(generation, table.filter(pc.equal(table["generation"], generation)))
    yield from (whole[generation] for generation in sorted(whole))


def replay(changes: Iterable[pa.Table]) -> pa.Table:
    """Return the clusters after all `changes`, a table per generation, oldest first.

    The table has the schema `MEMBERS`, sorted by cluster and document.
    """
    ids: list[pa.Array] = []
    clusters: list[Rows] = [np.empty(0, np.int64)]
    with_representative: list[pa.Table] = [CHANGES.empty_table()]
    for table in changes:
        for name in ("joined", "left"):
            lists = table[name].combine_chunks()
            ids += [lists.flatten()]
            row = np.repeat(np.arange(len(table)), pc.list_value_length(lists).to_numpy())
            clusters.append(_clusters(table)[row] if name == "joined" else np.full(len(row), _NONE))
        with_representative.append(table.filter(table["representative_id"].is_valid()).select(CHANGES.names))
    documents, cluster = pa.chunked_array(ids, pa.string()), np.concatenate(clusters)
    last = _last_positions(documents.dictionary_encode().combine_chunks().indices.to_numpy())
    last = last[cluster[last] != _NONE]
    documents, cluster = documents.take(last), cluster[last]
    representatives = pa.concat_tables(with_representative)
    latest = _last_positions(_clusters(representatives))
    position = latest[np.searchsorted(_clusters(representatives)[latest], cluster)]
    is_representative = pc.equal(documents, representatives["representative_id"].take(position))
    members = pa.table([documents, cluster, is_representative], schema=MEMBERS)
    return members.sort_by([(CLUSTER_ID, "ascending"), (DOC_ID, "ascending")])


def _clusters(table: pa.Table) -> Rows:
    ids: Rows = table[CLUSTER_ID].to_numpy()
    return ids


def _origins(before: pa.Table, after: pa.Table) -> tuple[Rows, Flags]:
    """Return per row of `after` its cluster in `before` (-1: none), and whether it was representative."""
    position = pc.index_in(after[DOC_ID], before[DOC_ID]).fill_null(_NONE).to_numpy()
    # A document that was in no cluster has position -1, the appended last element.
    representative = before[IS_REPRESENTATIVE].to_numpy()
    return np.append(_clusters(before), _NONE)[position], np.append(representative, False)[position]


def _successors(old: Rows, new: Rows, was_representative: Flags) -> tuple[Rows, Rows]:
    """Return the old ids that still have a document, ascending, and the number of the successor of each.

    The numbers in `new` are 0...n - 1. A tie that the representative does not decide goes to the lowest.
    """
    clustered = old != _NONE
    width = int(new.max(initial=0)) + 1
    pairs, pair, shared = np.unique(
        old[clustered] * width + new[clustered], return_inverse=True, return_counts=True
    )
    has_representative = np.bincount(pair, weights=was_representative[clustered], minlength=len(pairs))
    ids, numbers = np.divmod(pairs, width)
    order = np.lexsort((numbers, -has_representative, -shared, ids))
    ids, first = np.unique(ids[order], return_index=True)
    return ids, numbers[order[first]]


def _targets(before_ids: Rows, old: Rows, new: Rows, was_representative: Flags) -> Rows:
    """Return for every old id: the id itself if it is still used, else its successor's id, else -1."""
    after_ids, numbers = np.unique(new, return_inverse=True)
    old_ids, successors = _successors(old, numbers, was_representative)
    target = np.full(len(before_ids), _NONE)
    target[np.searchsorted(before_ids, old_ids)] = after_ids[successors]
    continued = np.isin(before_ids, after_ids)
    target[continued] = before_ids[continued]
    return target


def _entries(cluster: Rows, event: Rows | int, other: Rows | int) -> Rows:
    """Return an array (3, n) of cluster, event and other cluster."""
    return np.stack(np.broadcast_arrays(cluster, event, other)).astype(np.int64)


def _joins(old: Rows, new: Rows, before_ids: Rows, target: Rows) -> Rows:
    """Return the entries of documents that are now in cluster `new` and were in `old` (-1: none)."""
    added = np.where(np.isin(new, before_ids), _GREW, _CREATED)
    to_successor = np.append(target, _NONE)[np.searchsorted(before_ids, old)] == new
    moved = np.where(to_successor, _MERGED, _SPLIT)
    return _entries(new, np.where(old == _NONE, added, moved), old)


def _leaves(old: Rows, target: Rows) -> Rows:
    """Return the entries of documents that were in cluster `old` and are now in none."""
    merged = (target != old) & (target != _NONE)
    event = np.where(merged, _MERGED, np.where(target == old, _SHRANK, _DISSOLVED))
    return _entries(np.where(merged, target, old), event, np.where(merged, old, _NONE))


def _representatives(members: pa.Table) -> tuple[Rows, pa.ChunkedArray]:
    """Return all cluster ids, ascending, and the representative of each."""
    representatives = members.filter(members[IS_REPRESENTATIVE])
    order = np.argsort(_clusters(representatives))
    return _clusters(representatives)[order], representatives[DOC_ID].take(order)


def _new_representatives(before: pa.Table, after: pa.Table) -> Rows:
    """Return the clusters in both tables whose representative is another document now."""
    (old, past), (new, present) = _representatives(before), _representatives(after)
    both, a, b = np.intersect1d(old, new, assume_unique=True, return_indices=True)
    differ: Flags = pc.not_equal(past.take(a), present.take(b)).to_numpy()
    changed: Rows = both[differ]
    return changed


def _group_entries(entries: Rows, side: Rows, documents: pa.ChunkedArray) -> pa.Table:
    """Group entries (3, n) into one row per cluster, event and other cluster; schema `CHANGES`."""
    by_id = pc.sort_indices(documents).to_numpy().astype(np.int64)
    order = by_id[np.lexsort(entries[::-1, by_id])]
    entries, side = entries[:, order], side[order]
    starts = np.ones(len(order), bool)
    starts[1:] = (entries[:, 1:] != entries[:, :-1]).any(axis=0)
    row, (cluster, event, other) = np.cumsum(starts) - 1, entries[:, starts]

    def lists(one_side: int) -> pa.Array:
        entry = np.flatnonzero(side == one_side)
        ends = np.cumsum(np.bincount(row[entry], minlength=len(cluster)))
        offsets = pa.array(np.concatenate([[0], ends]), pa.int32())
        return pa.ListArray.from_arrays(offsets, documents.take(order[entry]).combine_chunks(), _IDS)

    return pa.table(
        {
            "event": pa.array(EVENTS).take(event),
            "cluster_id": cluster,
            "other_id": pa.array(other, mask=other == _NONE),
            "joined": lists(_JOINED),
            "left": lists(_LEFT),
            "representative_id": pa.nulls(len(cluster), pa.string()),
        },
        schema=CHANGES,
    )


def _with_representatives(events: pa.Table, after: pa.Table, before_ids: Rows) -> pa.Table:
    """Fill in the representative in the first row of a new cluster and where it changed."""
    cluster = _clusters(events)
    first = np.append(True, cluster[1:] != cluster[:-1])[: len(cluster)]
    filled = first & ~np.isin(cluster, before_ids)
    filled |= pc.equal(events["event"], EVENTS[_REPRESENTATIVE_CHANGED]).to_numpy()
    ids, representatives = _representatives(after)
    position = pa.array(np.searchsorted(ids, cluster), mask=~filled)
    column = CHANGES.get_field_index("representative_id")
    return events.set_column(column, CHANGES.field(column), representatives.take(position))


def _last_positions(values: Rows) -> Rows:
    """Return the position of the last occurrence of each distinct value, in ascending order of values."""
    _, position = np.unique(values[::-1], return_index=True)
    return len(values) - 1 - position
