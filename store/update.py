"""From the documents a store shall hold to its next commit."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..disk.files import require_space
from ..disk.work import WORK, Work
from ..errors import OutputError
from ..pipeline import Models, check_keep
from ..progress import Progress
from ..rerank.decision import NO_DECISION, Decision
from ..results.manifest import timed
from ..schema import DOC_ID, Corpus, Rows
from ..settings import MiningSettings
from .changes import CHANGES, MEMBERS, find_changes, keep_ids
from .commits import Commit, Segment, StoredFile
from .documents import Target
from .generation import Generation, Reuse, Task, advance
from .history import UpdateReport
from .segments import STATE, Snapshot, segment_folder, write_segment, write_state

_BYTES_PER_DOCUMENT = 256  # of the state, the changes and the pairs, roughly


@dataclass(frozen=True, slots=True)
class Step:
    """How a writer goes on from a generation.

    `models` are loaded when the first text or pair needs them. `columns` are those of the user that text and
    id come from. `anew` writes all that lives into one segment. `rebuilt` keeps these settings and models
    instead of those the store had.
    """

    operation: str
    settings: MiningSettings
    models: Callable[[], Models]
    progress: Progress
    columns: dict[str, str] | None = None
    reuse: Reuse = field(default_factory=Reuse)
    anew: bool = False
    rebuilt: bool = False


def first_commit(store: Path, settings: MiningSettings, models: dict[str, Any]) -> Commit:
    """Commit generation 0, which holds nothing."""
    nothing = np.empty(0, np.int64)
    files = write_state(store, 0, STATE.empty_table(), (nothing, nothing), CHANGES.empty_table())
    commit = Commit(0, "init", settings.model_dump(), models, {}, 0, {"documents": 0}, (), files)
    commit.write(store)
    return commit


def next_commit(
    store: Path, before: Snapshot, target: Target, step: Step, seconds: dict[str, float] | None = None
) -> UpdateReport:
    """Derive, write and commit the next generation; `seconds` are those of the stages before.

    What was computed before an interrupt lies in the store's folder `.work` and is not computed again.
    """
    check_keep(step.settings.clustering, target.documents)
    kept = _facts(before.commit, step)
    require_space(store, _space(before, target, step, kept.models["bi_encoder"]["dim"]))
    corpus = Corpus(target.documents, kept.columns.get("text", ""), kept.columns.get("id"))
    work = _open_work(store / WORK, step, kept)
    decision = partial(_decision, step.models) if decides_with_corpus(kept) else None
    task = Task(corpus, before, step.settings, step.models, step.progress, work, step.reuse, decision)
    generation = advance(task)
    with timed(generation.seconds, "commit"):
        commit, changes = _commit(store, before, target, generation, kept, anew=step.anew)
    return UpdateReport.of(commit, changes, (seconds or {}) | generation.seconds)


def decides_with_corpus(commit: Commit) -> bool:
    """Whether a generation's pairs were decided with what their neighbours say."""
    return bool(commit.models.get("decision", {}).get("sha256", NO_DECISION) != NO_DECISION)


def _decision(models: Callable[[], Models]) -> Decision:
    found = models().decision
    assert found is not None, "the models are those of the commit"
    return found


def _facts(before: Commit, step: Step) -> Commit:
    """Return the commit before with what the step changes of its settings, models and columns."""
    kept = replace(before, operation=step.operation, columns=step.columns or before.columns)
    if not step.rebuilt:
        return kept
    return replace(kept, settings=step.settings.model_dump(), models=step.models().describe()["models"])


def _open_work(folder: Path, step: Step, kept: Commit) -> Work:
    """Open the folder of shards, emptied where they were made with other models or settings."""
    folder.mkdir(exist_ok=True)
    work = Work(folder)
    basis = {"settings": step.settings.to_yaml(), "models": json.dumps(kept.models, sort_keys=True)}
    try:
        work.require(basis)
    except OutputError:
        work.clear()
        work.require(basis)
    return work


def _space(before: Snapshot, target: Target, step: Step, dim: int) -> int:
    """Return about how many bytes a generation writes, its shards included."""
    added = target.documents if step.anew else target.added
    vectors = 4 * dim * len(added)  # two bytes each in the work folder and in the segment
    pairs = 24 * len(before.pairs) if step.anew else 0
    return 2 * int(added.nbytes) + vectors + pairs + _BYTES_PER_DOCUMENT * len(target.documents)


def _commit(
    store: Path, before: Snapshot, target: Target, generation: Generation, kept: Commit, *, anew: bool
) -> tuple[Commit, pa.Table]:
    number = before.commit.generation + 1
    fresh = generation.number < 0 if not anew else np.ones(len(generation.number), bool)
    text_of_row = generation.number.copy()
    text_of_row[fresh] = (0 if anew else before.n_texts) + np.arange(int(fresh.sum()))
    files, segments = _kept(before.commit, anew)
    added = _added(generation, target, anew, np.flatnonzero(fresh), text_of_row)
    sizes = [len(added[part]) for part in ("documents", "texts", "pairs")]
    if any(sizes):
        files |= write_segment(store, number, **added)
        segments = (*segments, Segment(number, *sizes))
    provisional = generation.result.clusters_table.select(MEMBERS.names)
    ids, next_id = keep_ids(before.members, provisional, before.commit.next_cluster_id)
    changes = find_changes(before.members, provisional.set_column(1, MEMBERS.field(1), pa.array(ids)))
    numbers = np.arange(len(target.numbers)) if anew else target.numbers
    unseen = (text_of_row[generation.unseen.left], text_of_row[generation.unseen.right])
    files |= write_state(store, number, _state(generation, numbers, text_of_row, ids), unseen, changes)
    commit = replace(
        kept,
        generation=number,
        next_cluster_id=next_id,
        counts=generation.counts | target.counts,
        segments=segments,
        files=files,
    )
    commit.write(store)
    return commit, changes


def _kept(before: Commit, anew: bool) -> tuple[dict[str, StoredFile], tuple[Segment, ...]]:
    """Return what stays of the generation before: the changes of all, and the segments unless anew."""
    segments = () if anew else before.segments
    folders = (segment_folder(segment.generation) + "/" for segment in segments)
    prefixes = ("changes/", *folders)
    return {name: file for name, file in before.files.items() if name.startswith(prefixes)}, segments


def _added(
    generation: Generation, target: Target, anew: bool, fresh: Rows, text_of_row: Rows
) -> dict[str, Any]:
    """Return the parts of a segment, as `write_segment` takes them."""
    pairs = generation.scores.known if anew else generation.scores.fresh
    ends = (text_of_row[pairs.left], text_of_row[pairs.right])
    return {
        "documents": target.documents if anew else target.added,
        "texts": [generation.unique.texts[row] for row in fresh],
        "tokens": generation.tokens.take(fresh),
        "embeddings": generation.embeddings[fresh],
        "pairs": replace(pairs, left=ends[0], right=ends[1]),
    }


def _state(generation: Generation, numbers: Rows, text_of_row: Rows, ids: Rows) -> pa.Table:
    """Return a line per document, in order; schema `STATE`."""
    clusters, documents = generation.result.clusters_table, generation.result.corpus.documents
    line = pc.index_in(documents[DOC_ID], value_set=clusters[DOC_ID].combine_chunks())
    return pa.table(
        [
            pa.array(numbers),
            documents[DOC_ID],
            pa.array(np.append(text_of_row, -1)[generation.unique.row_of]),
            pa.chunked_array([pa.array(ids)]).take(line),
            clusters["is_representative"].take(line).fill_null(True),
            clusters["probability"].take(line),
            clusters["weakest_link"].take(line),
        ],
        schema=STATE,
    )
