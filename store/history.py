"""Reports on a store: its status, its changes since a generation, the outcome of an update."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..disk.lock import current_writer
from ..errors import InputError
from .changes import CHANGES
from .commits import Commit, generations, latest_commit
from .layout import changes_file, commit_file
from .segments import require_intact

_COMPUTED = ("texts_embedded", "pairs_scored", "texts_reclustered")  # counts of work done
_COUNTS = ("documents", "unique_texts", "pairs", "clusters")


@dataclass(frozen=True, slots=True)
class UpdateReport:
    """The outcome of an update: the new generation, or the last one if nothing changed.

    `seconds` are by stage. `events` are the numbers of cluster changes by kind.
    """

    generation: int
    changed: bool
    counts: dict[str, int]
    seconds: dict[str, float] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)

    @classmethod
    def unchanged(cls, commit: Commit, counts: dict[str, int]) -> UpdateReport:
        """Report that nothing changed; `counts` are those of the documents given."""
        return cls(commit.generation, False, commit.counts | dict.fromkeys(_COMPUTED, 0) | counts)

    @classmethod
    def of(cls, commit: Commit, changes: pa.Table, seconds: dict[str, float]) -> UpdateReport:
        """Report a new commit."""
        events = Counter(changes["event"].to_pylist())
        return cls(commit.generation, True, commit.counts, seconds, dict(sorted(events.items())))


def read_changes(store: Path, since: int) -> pa.Table:
    """Return the changes of the generations after `since`, oldest first: `generation` and `CHANGES`.

    Raises `InputError` for a generation that does not exist yet.
    """
    last = latest_commit(store)
    if since > last.generation:
        raise InputError(
            f"{store}: there is no generation {since}: the last one is {last.generation}; give it or an "
            "earlier one with --since"
        )
    tables = [(since, CHANGES.empty_table())]
    for number in range(since + 1, last.generation + 1):
        if changes_file(number) in last.files:
            require_intact(store, changes_file(number), last.files[changes_file(number)])
            tables.append((number, pq.read_table(store / changes_file(number))))
    numbered = (
        table.add_column(0, "generation", pa.array([number] * len(table), pa.int64()))
        for number, table in tables
    )
    return pa.concat_tables(numbered)


def describe(store: Path) -> dict[str, Any]:
    """Return number, counts, bytes, time (UTC) and settings of the last generation, and the writer."""
    commit = latest_commit(store)
    try:
        committed = (store / commit_file(commit.generation)).stat().st_mtime
    except FileNotFoundError:  # a writer committed and removed this one
        if latest_commit(store).generation == commit.generation:
            raise
        return describe(store)
    return {
        "generation": commit.generation,
        "operation": commit.operation,
        "updated": datetime.fromtimestamp(committed, UTC).isoformat(timespec="seconds"),
        "kept_generations": generations(store),
        **{name: commit.counts.get(name, 0) for name in _COUNTS},
        "segments": len(commit.segments),
        "bytes": sum(file.bytes for file in commit.files.values()),
        "models": commit.models,
        "settings": commit.settings,
        "writer": current_writer(store),
    }
