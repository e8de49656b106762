"""Reports on a store: its status, its changes since a generation, the outcome of an update."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..disk.lock import current_writer
from ..errors import CorruptStoreError, InputError
from .changes import LOG
from .commits import Commit, generations, latest_commit
from .merging import changes_in, read_changes_file

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
    """Return the changes of the generations after `since`, oldest first; schema `LOG`.

    Raises `InputError` for a generation that does not exist yet.
    """
    last = latest_commit(store)
    if since > last.generation:
        raise InputError(
            f"{store}: there is no generation {since}: the last one is {last.generation}; give it or an "
            "earlier one with --since"
        )
    while True:
        try:
            return _read_log(store, last, since)
        except (CorruptStoreError, FileNotFoundError):
            # Meanwhile a writer may have merged the files, and removed them.
            before, last = last, latest_commit(store)
            if last.generation == before.generation:
                raise


def _read_log(store: Path, commit: Commit, since: int) -> pa.Table:
    numbers = [number for number in changes_in(commit) if number > since]
    tables = [read_changes_file(store, commit, number) for number in numbers]
    log = pa.concat_tables([LOG.empty_table(), *tables])
    return log.filter(pc.greater(log["generation"], since))


def _unused_share(commit: Commit) -> float:
    """Return the share of the stored documents and texts that are deleted, replaced or no longer used."""
    stored = sum(segment.documents + segment.texts for segment in commit.segments)
    used = commit.counts.get("documents", 0) + commit.counts.get("unique_texts", 0)
    return max(0.0, 1 - used / stored) if stored else 0.0


def describe(store: Path) -> dict[str, Any]:
    """Return number, counts, bytes, time (UTC) and settings of the last generation, and the writer."""
    commit = latest_commit(store)
    return {
        "generation": commit.generation,
        "operation": commit.operation,
        "updated": commit.time,
        "kept_generations": generations(store),
        **{name: commit.counts.get(name, 0) for name in _COUNTS},
        "segments": len(commit.segments),
        "bytes": sum(file.bytes for file in commit.files.values()),
        "compact_frees": round(_unused_share(commit), 3),
        "models": commit.models,
        "settings": commit.settings,
        "writer": current_writer(store),
    }
