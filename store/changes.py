"""Cluster ids that last from night to night, and the log of what changed."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

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
        _field(IS_REPRESENTATIVE, pa.bool_(), "whether this document stands for its cluster"),
    ]
)

CHANGES = pa.schema(
    [
        _field("event", pa.string(), "one of " + ", ".join(EVENTS)),
        _field(CLUSTER_ID, pa.int64(), "stable id of the cluster"),
        _field(
            "other_id",
            pa.int64(),
            "merged: the cluster that came in and ended; split: where the documents came from; else null",
            nullable=True,
        ),
        _field("joined", _IDS, "documents that belong to the cluster since this event, sorted"),
        _field("left", _IDS, "documents that belong to no cluster since this event, sorted"),
        _field(
            "representative_id",
            pa.string(),
            "the cluster's representative where it is new: in a new cluster's first event and in "
            "representative_changed; else null",
            nullable=True,
        ),
    ]
)


def keep_ids(before: pa.Table, after: pa.Table, next_id: int) -> tuple[Rows, int]:
    """Return the stable cluster id of every line of `after`, and the next free id.

    `before` has stable ids below `next_id`, `after` has provisional numbers; both are `MEMBERS`. An old
    cluster's heir is the new cluster that holds most of its documents; a tie goes to the one with its
    representative, then to the one that comes first in `after`. A new cluster takes the lowest id whose
    heir it is, else a fresh one, in order of appearance.
    """
    old, stood = _origins(before, after)
    _, first, line = np.unique(_clusters(after), return_index=True, return_inverse=True)
    new = np.argsort(np.argsort(first))[line]  # numbered in order of appearance
    known, heirs = _heirs(old, new, stood)
    assert not len(known) or known[-1] < next_id, "the ids in `before` must lie below `next_id`"
    ids = np.full(len(first), _NONE)
    heir, oldest = np.unique(heirs, return_index=True)
    ids[heir] = known[oldest]
    fresh = np.flatnonzero(ids == _NONE)
    ids[fresh] = next_id + np.arange(len(fresh))
    return ids[new], next_id + len(fresh)


def find_changes(before: pa.Table, after: pa.Table) -> pa.Table:
    """Return what leads from `before` to `after`, both `MEMBERS` with stable ids; schema `CHANGES`.

    Every document that moved stands in one `joined` (of the cluster it is in now) or `left` (it is in none
    now). Of a cluster whose id ended, the documents in its heir are `merged` into that one. Sorted by
    cluster, event and other cluster; independent of the order of lines.
    """
    old, stood = _origins(before, after)
    new, was = _clusters(after), _clusters(before)
    before_ids = np.unique(was)
    target = _targets(before_ids, old, new, stood)
    moved = np.flatnonzero(old != new)
    gone = np.flatnonzero(~pc.is_in(before[DOC_ID], after[DOC_ID]).to_numpy())
    changed = _new_representatives(before, after)
    entries = [
        _joins(old[moved], new[moved], before_ids, target),
        _leaves(was[gone], target[np.searchsorted(before_ids, was[gone])]),
        _entries(changed, _REPRESENTATIVE_CHANGED, _NONE),
    ]
    joined, left = after[DOC_ID].take(moved), before[DOC_ID].take(gone)
    documents = pa.chunked_array([*joined.chunks, *left.chunks, pa.nulls(len(changed), pa.string())])
    side = np.repeat([_JOINED, _LEFT, _NEITHER], [len(moved), len(gone), len(changed)])
    lines = _lines(np.concatenate(entries, axis=1), side, documents)
    return _with_representatives(lines, after, before_ids)


def replay(changes: Iterable[pa.Table]) -> pa.Table:
    """Return the clusters after all `changes`, oldest first: `MEMBERS`, sorted by cluster, then document."""
    ids: list[pa.Array] = []
    clusters: list[Rows] = [np.empty(0, np.int64)]
    named: list[pa.Table] = [CHANGES.empty_table()]
    for table in changes:
        for name in ("joined", "left"):
            lists = table[name].combine_chunks()
            ids += [lists.flatten()]
            line = np.repeat(np.arange(len(table)), pc.list_value_length(lists).to_numpy())
            clusters.append(_clusters(table)[line] if name == "joined" else np.full(len(line), _NONE))
        named.append(table.filter(table["representative_id"].is_valid()))
    documents, cluster = pa.chunked_array(ids, pa.string()), np.concatenate(clusters)
    last = _last(documents.dictionary_encode().combine_chunks().indices.to_numpy())
    last = last[cluster[last] != _NONE]
    documents, cluster = documents.take(last), cluster[last]
    names = pa.concat_tables(named)
    latest = _last(_clusters(names))
    place = latest[np.searchsorted(_clusters(names)[latest], cluster)]
    stands = pc.equal(documents, names["representative_id"].take(place))
    members = pa.table([documents, cluster, stands], schema=MEMBERS)
    return members.sort_by([(CLUSTER_ID, "ascending"), (DOC_ID, "ascending")])


def _clusters(table: pa.Table) -> Rows:
    ids: Rows = table[CLUSTER_ID].to_numpy()
    return ids


def _origins(before: pa.Table, after: pa.Table) -> tuple[Rows, Flags]:
    """Return for every line of `after` its cluster in `before` (-1: none), and whether it stood for that."""
    place = pc.index_in(after[DOC_ID], before[DOC_ID]).fill_null(_NONE).to_numpy()
    # Position -1, for a document that was in no cluster, is what is appended at the end.
    stood = before[IS_REPRESENTATIVE].to_numpy()
    return np.append(_clusters(before), _NONE)[place], np.append(stood, False)[place]


def _heirs(old: Rows, new: Rows, stood: Flags) -> tuple[Rows, Rows]:
    """Return the old ids of which a document is left, ascending, and for each the number of its heir.

    Ties after representatives go to the lowest number in `new`, which are 0...n - 1.
    """
    known = old != _NONE
    width = int(new.max(initial=0)) + 1
    pairs, line, shared = np.unique(old[known] * width + new[known], return_inverse=True, return_counts=True)
    holds = np.bincount(line, weights=stood[known], minlength=len(pairs))
    ids, numbers = np.divmod(pairs, width)
    order = np.lexsort((numbers, -holds, -shared, ids))
    ids, first = np.unique(ids[order], return_index=True)
    return ids, numbers[order[first]]


def _targets(before_ids: Rows, old: Rows, new: Rows, stood: Flags) -> Rows:
    """Return for every old id: itself if it lives on, else the id of its heir, else -1."""
    after_ids, numbers = np.unique(new, return_inverse=True)
    known, heirs = _heirs(old, numbers, stood)
    target = np.full(len(before_ids), _NONE)
    target[np.searchsorted(before_ids, known)] = after_ids[heirs]
    lives = np.isin(before_ids, after_ids)
    target[lives] = before_ids[lives]
    return target


def _entries(cluster: Rows, event: Rows | int, other: Rows | int) -> Rows:
    """Return an array (3, n) of cluster, event and other cluster."""
    return np.stack(np.broadcast_arrays(cluster, event, other)).astype(np.int64)


def _joins(old: Rows, new: Rows, before_ids: Rows, target: Rows) -> Rows:
    """Return the entries of documents that are in cluster `new` now and were in `old` (-1: none)."""
    newcomer = np.where(np.isin(new, before_ids), _GREW, _CREATED)
    inherited = np.append(target, _NONE)[np.searchsorted(before_ids, old)] == new
    mover = np.where(inherited, _MERGED, _SPLIT)
    return _entries(new, np.where(old == _NONE, newcomer, mover), old)


def _leaves(old: Rows, target: Rows) -> Rows:
    """Return the entries of documents that were in cluster `old` and are in none now."""
    merged = (target != old) & (target != _NONE)
    event = np.where(merged, _MERGED, np.where(target == old, _SHRANK, _DISSOLVED))
    return _entries(np.where(merged, target, old), event, np.where(merged, old, _NONE))


def _representatives(members: pa.Table) -> tuple[Rows, pa.ChunkedArray]:
    """Return all cluster ids, ascending, and the document that stands for each."""
    standing = members.filter(members[IS_REPRESENTATIVE])
    order = np.argsort(_clusters(standing))
    return _clusters(standing)[order], standing[DOC_ID].take(order)


def _new_representatives(before: pa.Table, after: pa.Table) -> Rows:
    """Return the clusters of both tables that another document stands for now."""
    (old, past), (new, present) = _representatives(before), _representatives(after)
    both, a, b = np.intersect1d(old, new, assume_unique=True, return_indices=True)
    differ: Flags = pc.not_equal(past.take(a), present.take(b)).to_numpy()
    changed: Rows = both[differ]
    return changed


def _lines(entries: Rows, side: Rows, documents: pa.ChunkedArray) -> pa.Table:
    """Gather entries (3, n) into one line per cluster, event and other cluster."""
    by_id = pc.sort_indices(documents).to_numpy().astype(np.int64)
    order = by_id[np.lexsort(entries[::-1, by_id])]
    entries, side = entries[:, order], side[order]
    starts = np.ones(len(order), bool)
    starts[1:] = (entries[:, 1:] != entries[:, :-1]).any(axis=0)
    line, (cluster, event, other) = np.cumsum(starts) - 1, entries[:, starts]

    def lists(wanted: int) -> pa.Array:
        chosen = np.flatnonzero(side == wanted)
        ends = np.cumsum(np.bincount(line[chosen], minlength=len(cluster)))
        offsets = pa.array(np.concatenate([[0], ends]), pa.int32())
        return pa.ListArray.from_arrays(offsets, documents.take(order[chosen]).combine_chunks(), _IDS)

    return pa.table(
        [
            pa.array(EVENTS).take(event),
            cluster,
            pa.array(other, mask=other == _NONE),
            lists(_JOINED),
            lists(_LEFT),
            pa.nulls(len(cluster), pa.string()),
        ],
        schema=CHANGES,
    )


def _with_representatives(lines: pa.Table, after: pa.Table, before_ids: Rows) -> pa.Table:
    """Name the representative in the first line of a new cluster and where it changed."""
    cluster = _clusters(lines)
    first = np.append(True, cluster[1:] != cluster[:-1])[: len(cluster)]
    named = first & ~np.isin(cluster, before_ids)
    named |= pc.equal(lines["event"], EVENTS[_REPRESENTATIVE_CHANGED]).to_numpy()
    ids, representatives = _representatives(after)
    place = pa.array(np.searchsorted(ids, cluster), mask=~named)
    column = CHANGES.get_field_index("representative_id")
    return lines.set_column(column, CHANGES.field(column), representatives.take(place))


def _last(values: Rows) -> Rows:
    """Return the position of the last of each distinct value, in ascending order of the values."""
    _, place = np.unique(values[::-1], return_index=True)
    return len(values) - 1 - place
