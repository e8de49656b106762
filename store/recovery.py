"""Recovery of a store: what a rebuild can reuse, rollback, repair."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..errors import CorruptStoreError, InputError
from ..rerank.cascade import NO_CASCADE
from ..rerank.decision import NO_DECISION
from ..settings import MiningSettings
from .changes import MEMBERS, find_changes
from .commits import Commit, commit_time, generations, read_commit
from .compatibility import stored_settings
from .documents import add_documents
from .generation import Reuse
from .layout import commit_file, copy_of, state_file, unseen_file
from .maintenance import COMPUTED, Damage, Outcome, drop_generation, find_damage, restore_from_copies
from .merging import merge_changes
from .segments import write_state
from .snapshot import Snapshot, read_snapshot, read_without

log = logging.getLogger(__name__)


def find_reusable(before: Commit, settings: MiningSettings, models: dict[str, Any]) -> Reuse:
    """Return what of a generation is still valid with other settings and models."""
    new, old = settings.model_dump(), stored_settings(before).model_dump()

    def same(stage: str, *keys: str) -> bool:
        return all(new[stage][key] == old[stage][key] for key in keys or new[stage])

    computed = same("compute", "precision", "device") and same("corpus", "max_tokens")
    embeddings = computed and models["bi_encoder"] == before.models["bi_encoder"]
    scores = computed and models["cross_encoder"] == before.models["cross_encoder"]
    scores = scores and same("rerank", "symmetric", "head", "score_max", "calibrate")
    scores = scores and models["cascade"] == before.models.get("cascade", {"sha256": NO_CASCADE})
    neighbours = embeddings and same("retrieval")
    clusters = neighbours and scores and same("rerank") and same("clustering")
    clusters = clusters and models["decision"] == before.models.get("decision", {"sha256": NO_DECISION})
    return Reuse(embeddings=embeddings, neighbours=neighbours, scores=scores, clusters=clusters)


def restore_generation(store: Path, before: Snapshot, generation: int) -> tuple[Commit, pa.Table]:
    """Commit the content of an earlier generation as a new one; return the commit and its changes.

    Raises:
        InputError: it is not kept.
        CorruptStoreError: it is damaged.
    """
    kept = generations(store)
    if generation not in kept:
        numbers = ", ".join(map(str, kept))
        raise InputError(
            f"{store}: generation {generation} is not kept (kept are {numbers}): name one of these"
        )
    earlier = read_snapshot(store, read_commit(store, generation))
    number = before.commit.generation + 1
    changes = find_changes(before.members.cast(MEMBERS), earlier.members.cast(MEMBERS))
    state_files = {state_file(generation), unseen_file(generation)}
    state_files |= {copy_of(name) for name in state_files}
    files = {name: file for name, file in earlier.commit.files.items() if name not in state_files}
    files = {name: file for name, file in files.items() if not name.startswith("changes/")}
    shared, log = merge_changes(store, before.commit, number, changes)
    files |= shared | write_state(store, number, earlier.state, earlier.unseen, log)
    next_id = max(before.commit.next_cluster_id, earlier.commit.next_cluster_id)
    counts = add_documents(before, earlier.documents).counts
    counts["deleted"] = len(before.documents) - counts["edited"] - counts["unchanged"]
    commit = replace(
        earlier.commit,
        generation=number,
        time=commit_time(),
        operation="rollback",
        next_cluster_id=next_id,
        previous=before.commit.identity,
        counts=earlier.commit.counts | {"texts_embedded": 0, "pairs_scored": 0} | counts,
        files=files,
    )
    commit.write(store)
    return commit, changes


def repair_store(store: Path, recompute: Callable[[Snapshot], None]) -> list[Damage]:
    """Repair a store: from copies, by recomputing, or by going back to the last intact generation.

    Returns the damage that was found and whether it is repaired.

    Raises:
        CorruptStoreError: no generation can be repaired.
    """
    damage = find_damage(store)
    restore_from_copies(store, damage)
    report, outcomes = list[Damage](), dict[str, Outcome]()
    while damaged := {entry.file for entry in find_damage(store)}:
        generation = generations(store)[-1]
        needed = _files_needed(store, generation) & damaged
        if not needed:
            for name in _drop_older(store, damaged):
                outcomes.setdefault(name, "dropped")
            break
        if all(name.endswith(COMPUTED) for name in needed):
            recompute(read_without(store, read_commit(store, generation), frozenset(needed)))
            outcomes |= dict.fromkeys(needed, "repaired")
        else:
            _require_one(store, damaged)
            outcomes |= dict.fromkeys((name for name in needed if not name.endswith(COMPUTED)), "lost")
            report.append(_drop_newest(store, generation))
    left = {entry.file for entry in find_damage(store)}
    outcomes |= dict.fromkeys(left, "damaged")
    return [replace(entry, outcome=outcomes.get(entry.file, "repaired")) for entry in damage] + report


def _files_needed(store: Path, generation: int) -> set[str]:
    """Return the files that a generation needs: its commit and, if that is intact, all but the changes."""
    needed = {commit_file(generation), copy_of(commit_file(generation))}
    try:
        commit = read_commit(store, generation)
    except CorruptStoreError:
        return needed
    return needed | {name for name in commit.files if not name.startswith("changes/")}


def _require_one(store: Path, damaged: set[str]) -> None:
    """Check that some generation can be repaired before others are dropped."""
    for generation in generations(store):
        if all(name.endswith(COMPUTED) for name in _files_needed(store, generation) & damaged):
            return
    raise CorruptStoreError(f"{store}: no generation is intact: restore a backup, or make a new store")


def _drop_newest(store: Path, generation: int) -> Damage:
    """Drop the newest generation; return what to report."""
    kept = generations(store)[:-1]
    drop_generation(store, generation)
    problem = (
        f"generation {generation} cannot be repaired and is dropped: the store is at generation "
        f"{kept[-1]}; run the updates since then again"
    )
    log.warning("%s: %s", store, problem)
    return Damage(commit_file(generation), problem, "lost")


def _drop_older(store: Path, damaged: set[str]) -> set[str]:
    """Drop earlier generations that need damaged files, as nobody can go back to them; return these files."""
    needless = set[str]()
    for generation in generations(store)[:-1]:
        if needed := _files_needed(store, generation) & damaged:
            drop_generation(store, generation)
            needless |= needed
    return needless
