"""What makes a store whole or other: changed settings and models, an earlier generation, repair."""

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
from .commits import Commit, commit_file, copy_of, generations, read_commit
from .compatibility import stored_settings
from .documents import with_documents
from .generation import Reuse
from .maintenance import COMPUTED, Damage, drop_generation, find_damage, restore_copies
from .segments import Snapshot, read_intact, read_snapshot, state_file, unseen_file, write_state

log = logging.getLogger(__name__)


def what_holds(before: Commit, settings: MiningSettings, models: dict[str, Any]) -> Reuse:
    """Tell what of a generation holds under other settings and models."""
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


def roll_back(store: Path, before: Snapshot, generation: int) -> tuple[Commit, pa.Table]:
    """Commit an earlier generation anew; return the commit and its changes.

    Raises:
        InputError: it is not kept.
        CorruptStoreError: it is damaged.
    """
    kept = generations(store)
    if generation not in kept:
        names = ", ".join(map(str, kept))
        raise InputError(
            f"{store}: generation {generation} is not kept (kept are {names}): name one of these"
        )
    then = read_snapshot(store, read_commit(store, generation))
    number = before.commit.generation + 1
    changes = find_changes(before.members.cast(MEMBERS), then.members.cast(MEMBERS))
    own = {state_file(generation), unseen_file(generation)}
    own |= {copy_of(name) for name in own}
    files = {name: file for name, file in then.commit.files.items() if name not in own}
    files |= {name: file for name, file in before.commit.files.items() if name.startswith("changes/")}
    files |= write_state(store, number, then.state, then.unseen, changes)
    next_id = max(before.commit.next_cluster_id, then.commit.next_cluster_id)
    counts = with_documents(before, then.documents).counts
    counts["deleted"] = len(before.documents) - counts["edited"] - counts["unchanged"]
    commit = replace(
        then.commit,
        generation=number,
        operation="rollback",
        next_cluster_id=next_id,
        counts=then.commit.counts | {"texts_embedded": 0, "pairs_scored": 0} | counts,
        files=files,
    )
    commit.write(store)
    return commit, changes


def mend(store: Path, recompute: Callable[[Snapshot], None]) -> list[Damage]:
    """Make a store whole: from the copies, by computing anew, or by going back to a whole generation.

    Returns what was damaged, and whether it is well again.

    Raises:
        CorruptStoreError: no generation can be made whole.
    """
    found = find_damage(store)
    restore_copies(store, found)
    lost = []
    while damaged := {damage.file for damage in find_damage(store)}:
        generation = generations(store)[-1]
        own = _files_needed(store, generation) & damaged
        if not own:
            _drop_older(store, damaged)
            break
        if all(name.endswith(COMPUTED) for name in own):
            recompute(read_intact(store, read_commit(store, generation), frozenset(own)))
        else:
            _require_one(store, damaged)
            lost.append(_drop_last(store, generation))
    left = {damage.file for damage in find_damage(store)}
    return [replace(damage, repaired=damage.file not in left) for damage in found] + lost


def _files_needed(store: Path, generation: int) -> set[str]:
    """Return the files a generation cannot do without: all but the changes; its commit if that is damaged."""
    try:
        commit = read_commit(store, generation)
    except CorruptStoreError:
        return {commit_file(generation)}
    return {name for name in commit.files if not name.startswith("changes/")}


def _require_one(store: Path, damaged: set[str]) -> None:
    """Check that a generation can be made whole, before others are dropped for it."""
    for generation in generations(store):
        if all(name.endswith(COMPUTED) for name in _files_needed(store, generation) & damaged):
            return
    raise CorruptStoreError(f"{store}: no generation is whole: put back a backup, or make the store anew")


def _drop_last(store: Path, generation: int) -> Damage:
    """Go back to the generation before the last, and say so."""
    kept = generations(store)[:-1]
    drop_generation(store, generation)
    problem = (
        f"generation {generation} cannot be made whole and is dropped: the store is at generation "
        f"{kept[-1]}; give what came since again"
    )
    log.warning("%s: %s", store, problem)
    return Damage(commit_file(generation), problem)


def _drop_older(store: Path, damaged: set[str]) -> None:
    """Drop the generations before the last that name damaged files: nobody can go back to them."""
    for generation in generations(store)[:-1]:
        if _files_needed(store, generation) & damaged:
            drop_generation(store, generation)
