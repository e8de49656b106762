"""Compute, write and commit the next generation of a store."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..clustering import check_keep
from ..disk.files import require_space
from ..disk.work import WORK, Work
from ..errors import OutputError
from ..progress import Progress
from ..rerank.decision import NO_DECISION, Decision
from ..results.manifest import timed
from ..results.tables import STORED
from ..schema import DOC_ID, Corpus, Rows
from ..settings import MiningSettings
from .changes import LOG, MEMBERS, find_changes, keep_ids
from .commits import Commit, Segment, StoredFile, commit_time
from .documents import TargetDocuments
from .generation import Generation, GenerationTask, Reuse, derive_generation
from .history import UpdateReport
from .layout import segment_folder
from .maintenance import remove_unreferenced, require_new
from .merging import count_kept, merge_changes, merge_segments, size_of
from .segments import STATE, write_segment, write_state
from .snapshot import Snapshot

if TYPE_CHECKING:
    from ..pipeline import Models

_BYTES_PER_DOCUMENT = 256  # of state, changes and pairs, roughly


@dataclass(frozen=True, slots=True)
class UpdatePlan:
    """How the next generation is made.

    `models` loads the models when the first text or pair needs them. `columns` are the user's columns of text
    and id. `rewrite` writes all live data into one segment. `new_settings` commits these settings and models
    instead of those of the store.
    """

    operation: str
    settings: MiningSettings
    models: Callable[[], Models]
    progress: Progress
    columns: dict[str, str] | None = None
    reuse: Reuse = field(default_factory=Reuse)
    rewrite: bool = False
    new_settings: bool = False


def create_store(folder: Path, settings: MiningSettings, models: dict[str, Any]) -> None:
    """Commit generation 0, which is empty, in a new folder.

    Raises:
        OutputError: the folder is a store or is not empty.
    """
    require_new(folder)
    no_rows = np.empty(0, np.int64)
    files = write_state(folder, 0, STATE.empty_table(), (no_rows, no_rows), LOG.empty_table())
    commit = Commit(
        generation=0,
        time=commit_time(),
        operation="init",
        settings=settings.model_dump(),
        models=models,
        columns={},
        next_cluster_id=0,
        counts={"documents": 0},
        segments=(),
        files=files,
        previous="",
    )
    commit.write(folder)
    remove_unreferenced(folder, 1)


def next_commit(
    store: Path,
    before: Snapshot,
    target: TargetDocuments,
    plan: UpdatePlan,
    seconds: dict[str, float] | None = None,
) -> UpdateReport:
    """Derive, write and commit the next generation; `seconds` are those of earlier stages.

    Shards that an interrupted update finished are in the store's folder `.work` and are not computed again.
    """
    check_keep(plan.settings.clustering, target.documents)
    draft = _draft_commit(before.commit, plan)
    require_space(store, _space_needed(before, target, plan, draft.models["bi_encoder"]["dim"]))
    corpus = Corpus(target.documents, draft.columns.get("text", ""), draft.columns.get("id"))
    work = _open_work(store / WORK, plan, draft)
    decision = partial(_decision, plan.models) if decides_with_corpus(draft) else None
    task = GenerationTask(
        corpus, before, plan.settings, plan.models, plan.progress, work, plan.reuse, decision
    )
    generation = derive_generation(task)
    with timed(generation.seconds, "commit"):
        commit, changes = _commit(store, before, target, generation, draft, rewrite=plan.rewrite)
    return UpdateReport.of(commit, changes, (seconds or {}) | generation.seconds)


def decides_with_corpus(commit: Commit) -> bool:
    """Return whether the pairs of a generation were decided with a corpus-aware decision."""
    return bool(commit.models.get("decision", {}).get("sha256", NO_DECISION) != NO_DECISION)


def _decision(models: Callable[[], Models]) -> Decision:
    decision = models().decision
    assert decision is not None, "the models are those of the commit"
    return decision


def _draft_commit(before: Commit, plan: UpdatePlan) -> Commit:
    """Return the last commit with the settings, models and columns that the plan changes."""
    draft = replace(before, operation=plan.operation, columns=plan.columns or before.columns)
    if not plan.new_settings:
        return draft
    return replace(draft, settings=plan.settings.model_dump(), models=plan.models().describe()["models"])


def _open_work(folder: Path, plan: UpdatePlan, draft: Commit) -> Work:
    """Open the folder of shards; discard shards of other models or settings."""
    if folder.is_symlink():
        raise OutputError(f"{folder} is a link, so it is not written to: remove it")
    folder.mkdir(exist_ok=True)
    work = Work(folder)
    made_from = {"settings": plan.settings.to_yaml(), "models": json.dumps(draft.models, sort_keys=True)}
    try:
        work.require(made_from)
    except OutputError:
        work.clear()
        work.require(made_from)
    return work


def _space_needed(before: Snapshot, target: TargetDocuments, plan: UpdatePlan, dim: int) -> int:
    """Return roughly how many bytes a generation writes, including its shards."""
    added = target.documents if plan.rewrite else target.added
    vectors = 4 * dim * len(added)  # two bytes each in the work folder and in the segment
    pairs = 24 * len(before.pairs) if plan.rewrite else 0
    return 2 * int(added.nbytes) + vectors + pairs + _BYTES_PER_DOCUMENT * len(target.documents)


def _commit(
    store: Path,
    before: Snapshot,
    target: TargetDocuments,
    generation: Generation,
    draft: Commit,
    *,
    rewrite: bool,
) -> tuple[Commit, pa.Table]:
    number = before.commit.generation + 1
    text_number = generation.text_number
    fresh = text_number < 0 if not rewrite else np.ones(len(text_number), bool)
    text_of_row = text_number.copy()
    text_of_row[fresh] = (0 if rewrite else before.n_texts) + np.arange(int(fresh.sum()))
    added = _segment_parts(generation, target, rewrite, np.flatnonzero(fresh), text_of_row)
    n_rows = sum(_count(added))
    kept = 0 if rewrite else len(before.commit.segments)
    if n_rows and not rewrite:
        kept = count_kept(list(map(size_of, before.commit.segments)), n_rows)
        if kept < len(before.commit.segments):
            require_space(store, _bytes_from(before.commit, kept))
            added = merge_segments(store, before, kept, added)
    files, segments = _shared_with(before.commit, kept)
    if n_rows:
        files |= write_segment(store, number, **added)
        segments = (*segments, Segment(number, *_count(added)))
    provisional = generation.result.clusters_table.select(MEMBERS.names)
    ids, next_id = keep_ids(before.members, provisional, before.commit.next_cluster_id)
    changes = find_changes(before.members, provisional.set_column(1, MEMBERS.field(1), pa.array(ids)))
    numbers = np.arange(len(target.numbers)) if rewrite else target.numbers
    unseen = (text_of_row[generation.unseen.left], text_of_row[generation.unseen.right])
    shared, log = merge_changes(store, before.commit, number, changes)
    files |= shared | write_state(store, number, _state(generation, numbers, text_of_row, ids), unseen, log)
    commit = replace(
        draft,
        generation=number,
        time=commit_time(),
        previous=before.commit.identity,
        next_cluster_id=next_id,
        counts=generation.counts | target.counts,
        segments=segments,
        files=files,
    )
    commit.write(store)
    return commit, changes


def _count(parts: dict[str, Any]) -> list[int]:
    return [len(parts[name]) for name in ("documents", "texts", "pairs")]


def _bytes_from(before: Commit, kept: int) -> int:
    """Return the bytes of the segments after the first `kept` ones."""
    folders = tuple(segment_folder(segment.generation) + "/" for segment in before.segments[kept:])
    return sum(file.bytes for name, file in before.files.items() if name.startswith(folders))


def _shared_with(before: Commit, kept: int) -> tuple[dict[str, StoredFile], tuple[Segment, ...]]:
    """Return the first `kept` segments, which the next generation shares, and their files."""
    segments = before.segments[:kept]
    prefixes = tuple(segment_folder(segment.generation) + "/" for segment in segments)
    return {name: file for name, file in before.files.items() if name.startswith(prefixes)}, segments


def _segment_parts(
    generation: Generation, target: TargetDocuments, rewrite: bool, fresh: Rows, text_of_row: Rows
) -> dict[str, Any]:
    """Return the parts of the new segment, as arguments of `write_segment`."""
    pairs = generation.scores.known if rewrite else generation.scores.fresh
    ends = (text_of_row[pairs.left], text_of_row[pairs.right])
    return {
        "documents": target.documents if rewrite else target.added,
        "texts": [generation.unique.texts[row] for row in fresh],
        "tokens": generation.tokens.take(fresh),
        "embeddings": generation.embeddings[fresh],
        "pairs": replace(pairs, left=ends[0], right=ends[1]),
    }


def _state(generation: Generation, numbers: Rows, text_of_row: Rows, ids: Rows) -> pa.Table:
    """Return a row per document, in order; schema `STATE`."""
    clusters, documents = generation.result.clusters_table, generation.result.corpus.documents
    row = pc.index_in(documents[DOC_ID], value_set=clusters[DOC_ID].combine_chunks())
    columns = {
        "document": numbers,
        DOC_ID: documents[DOC_ID],
        "text": np.append(text_of_row, -1)[generation.unique.row_of],
        "cluster_id": pa.array(ids).take(row),
    }
    return pa.table(columns | {name: clusters[name].take(row) for name in STORED}, schema=STATE)
