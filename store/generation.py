"""Derive the next generation of a store: new texts are embedded, searched and scored, the rest is reused.

All arrays have the row order of a full run over the same documents. The stages are those of `pipeline`, so
the result is that of a full run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..clustering.partition import canonical_labels, cluster_pairs, find_components
from ..corpus.templates import Families, find_families
from ..corpus.unique import collapse_exact_duplicates
from ..disk.work import Work
from ..progress import Progress
from ..results.manifest import timed
from ..results.result import MiningResult
from ..schema import TEXT, CandidatePairs, Corpus, Rows, ScoredPairs, TokenStore, UniqueTexts
from ..settings import MiningSettings
from .snapshot import Snapshot

if TYPE_CHECKING:  # a generation that needs no model loads no torch
    from ..pipeline import Models
    from ..rerank.decision import Decision
    from ..retrieval.encoder import Embeddings

TEMPLATE_FAMILIES = "template_families"

Mask = npt.NDArray[np.bool_]
ScoreRows = Callable[[Rows, Rows], ScoredPairs]


@dataclass(frozen=True, slots=True)
class Reuse:
    """Which parts of the last generation are still valid: all, or fewer after other models or settings."""

    embeddings: bool = True
    neighbours: bool = True
    scores: bool = True
    clusters: bool = True


@dataclass(frozen=True, slots=True)
class GenerationTask:
    """The input of the next generation: its documents and the last generation.

    `models` loads the models; it is called only if a text or a pair needs them. Finished shards are kept in
    `work`. A corpus-aware `decision` is applied to all pairs again, since each depends on other pairs.
    """

    corpus: Corpus
    before: Snapshot
    settings: MiningSettings
    models: Callable[[], Models]
    progress: Progress
    work: Work | None = None
    reuse: Reuse = Reuse()
    decision: Callable[[], Decision] | None = None


@dataclass(frozen=True, slots=True)
class Generation:
    """A generation, by row.

    `text_number` is the number that the text of a row has in the last generation, -1 for a new text. `unseen`
    are the pairs whose scores clustering requested.
    """

    unique: UniqueTexts
    text_number: Rows
    tokens: TokenStore
    embeddings: Embeddings
    scores: PairScores
    unseen: ScoredPairs
    result: MiningResult
    counts: dict[str, int]
    seconds: dict[str, float]


@dataclass(slots=True)
class PairScores:
    """Every pair with a known score, sorted by (left, right). Other pairs are scored when first needed.

    `fresh` are the pairs that were scored.
    """

    known: ScoredPairs
    fresh: ScoredPairs
    score: Callable[[CandidatePairs], ScoredPairs]

    def look_up(self, pairs: CandidatePairs) -> ScoredPairs:
        """Return the scores of distinct pairs, in their order."""
        missing = self.known.positions(pairs.left, pairs.right) < 0
        if missing.any():
            scored = self.score(pairs.where(missing))
            self.fresh = ScoredPairs.concatenate(self.fresh, scored)
            self.known = ScoredPairs.concatenate(self.known, scored)
        return self.known.where(self.known.positions(pairs.left, pairs.right))


def derive_generation(task: GenerationTask) -> Generation:
    """Derive the next generation."""
    seconds: dict[str, float] = {}
    before, settings = task.before, task.settings
    with timed(seconds, "collapse"):
        unique = collapse_exact_duplicates(task.corpus.documents[TEXT])
        text_number = _match_texts(unique.texts, before)
        families = find_families(unique.texts)
        new_rows = _find_new_rows(text_number, families, task)
    with timed(seconds, "load"):
        if new_rows.any():
            task.models()
    with timed(seconds, "embed"):
        tokens, embeddings, embedded = _encode_texts(unique.texts, text_number, task)

    def score(pairs: CandidatePairs) -> ScoredPairs:
        return task.models().cascade.score(tokens, pairs, task.progress, task.work)

    known = _known_pairs(text_number, embeddings, task)
    scores = PairScores(known, known.where(np.empty(0, np.int64)), score)
    with timed(seconds, "search"):
        candidates, capped = _find_candidates(embeddings, np.flatnonzero(new_rows), families, scores, task)
    with timed(seconds, "rerank"):
        pairs = scores.look_up(candidates)
    with timed(seconds, "decide"):
        if task.decision is not None:
            pairs = task.decision().decide(pairs, tokens, task.progress)

    def score_rows(left: Rows, right: Rows) -> ScoredPairs:
        at = scores.known.positions(left, right)
        if (at >= 0).all():
            return scores.known.where(at)
        from ..retrieval.candidates import pair_cosines

        return scores.look_up(CandidatePairs(left, right, pair_cosines(embeddings, left, right)))

    with timed(seconds, "cluster"):
        affected = _find_affected_rows(text_number, new_rows, pairs, task)
        labels, unseen = _cluster_affected(affected, text_number, pairs, task, score_rows)
    with timed(seconds, "tables"):
        result = MiningResult.build(
            corpus=task.corpus,
            row_of=unique.row_of,
            pairs=ScoredPairs.concatenate(pairs, unseen),
            labels=labels,
            settings=settings,
            manifest={"counts": {}},
            score_rows=score_rows,
        )
    counts = {
        "documents": len(unique.row_of),
        "unique_texts": len(unique),
        "texts_embedded": embedded,
        "pairs": len(pairs) + len(unseen),
        "pairs_scored": len(scores.fresh),
        "texts_reclustered": int(affected.sum()),
        "queries_capped": capped,
        TEMPLATE_FAMILIES: len(families),
        **result.manifest["counts"],
    }
    return Generation(unique, text_number, tokens, embeddings, scores, unseen, result, counts, seconds)


def _match_texts(texts: list[str], before: Snapshot) -> Rows:
    """Return the number of each text in the last generation, -1 for a new text."""
    known = pa.concat_arrays([pa.array([], pa.large_string()), *before.texts.texts.chunks])
    numbers = pc.index_in(pa.array(texts, pa.large_string()), value_set=known)
    return np.asarray(pc.fill_null(numbers, -1).to_numpy(), np.int64)


def _live_texts(before: Snapshot) -> Mask:
    """Return which texts in the segments a document of the last generation has, (n_texts,)."""
    live = np.zeros(before.n_texts, bool)
    numbers = before.state["text"].to_numpy()
    live[numbers[numbers >= 0]] = True
    return live


def _row_of_text(text_number: Rows, before: Snapshot) -> Rows:
    """Return the row of each text of the last generation, -1 if no document has it now."""
    row_of = np.full(before.n_texts, -1)
    row_of[text_number[text_number >= 0]] = np.flatnonzero(text_number >= 0)
    return row_of


def _find_new_rows(text_number: Rows, families: Families, task: GenerationTask) -> Mask:
    """Return which rows have neighbours that are not known: no document had their text.

    Of other texts than before these are all rows, if one generation has template families: the pairs of a
    family depend on all texts.
    """
    reuse = task.reuse
    if not (reuse.neighbours and reuse.embeddings and reuse.scores):  # scored pairs are the known neighbours
        return np.ones(len(text_number), bool)
    new_rows, live = text_number < 0, _live_texts(task.before)
    new_rows[~new_rows] = ~live[text_number[~new_rows]]
    has_families = len(families) or task.before.commit.counts.get(TEMPLATE_FAMILIES)
    if has_families and (new_rows.any() or live.sum() != len(new_rows)):
        new_rows[:] = True
    return new_rows


def _encode_texts(
    texts: list[str], text_number: Rows, task: GenerationTask
) -> tuple[TokenStore, Embeddings, int]:
    """Return the cross-encoder tokens and unit vectors of all rows, and the number of texts embedded."""
    new = text_number < 0
    untokenised = np.flatnonzero(new | (not (task.reuse.embeddings and task.reuse.scores)))
    lacking = new | (not task.reuse.embeddings)
    vectors = _known_vectors(text_number, task)
    if not len(untokenised):
        return task.before.texts.tokens.take(text_number), vectors, 0
    from ..pipeline import tokenise_texts
    from ..retrieval.encoder import embed

    models, new_texts = task.models(), [texts[row] for row in untokenised]
    tokens, pair_tokens = tokenise_texts(new_texts, task.settings, models, task.progress)
    position = text_number.copy()
    position[untokenised] = task.before.n_texts + np.arange(len(untokenised))
    all_tokens = TokenStore.concatenate(task.before.texts.tokens, pair_tokens).take(position)
    unembedded = np.flatnonzero(lacking[untokenised])
    if len(unembedded):
        assert task.work is not None, "new texts need a work folder"
        vectors[lacking] = embed(
            models.encoder,
            [new_texts[i] for i in unembedded],
            None if tokens is None else tokens.take(unembedded),
            task.work,
            task.progress,
        )
    return all_tokens, vectors, len(unembedded)


def _known_vectors(text_number: Rows, task: GenerationTask) -> Embeddings:
    if not task.reuse.embeddings:
        return np.empty((len(text_number), task.models().encoder.dim), np.float16)
    return task.before.texts.vectors(text_number, int(task.before.commit.models["bi_encoder"]["dim"]))


def _known_pairs(text_number: Rows, embeddings: Embeddings, task: GenerationTask) -> ScoredPairs:
    """Return the scored pairs whose texts both have a row, by row."""
    pairs, row_of = task.before.pairs, _row_of_text(text_number, task.before)
    left, right = row_of[pairs.left], row_of[pairs.right]
    present = (left >= 0) & (right >= 0) & task.reuse.scores
    kept = replace(pairs.where(present), left=left[present], right=right[present])
    assert (kept.left < kept.right).all(), "rows are in the order of normalised texts"
    if not task.reuse.embeddings:
        from ..retrieval.candidates import pair_cosines

        kept = replace(kept, cosine=pair_cosines(embeddings, kept.left, kept.right))
    return ScoredPairs.concatenate(kept)


def _find_candidates(
    embeddings: Embeddings, new_rows: Rows, families: Families, scores: PairScores, task: GenerationTask
) -> tuple[CandidatePairs, int]:
    """Return all pairs above the floor: the known ones and those of the new rows.

    The `max_k` nearest of a new row are found. The second value is the number of rows with more neighbours.
    """
    known = scores.known.where(scores.known.cosine >= task.settings.retrieval.floor)
    known = known.where(families.allow(known.left, known.right))
    if not len(new_rows):
        return known, 0
    from ..retrieval.candidates import find_candidates

    n, retrieval = len(embeddings), task.settings.retrieval
    device = task.models().compute.device
    if len(families):
        from ..pipeline import find_pairs

        found, search = find_pairs(embeddings, families, retrieval, device, task.progress)
        return found, search.capped
    new, search = find_candidates(embeddings, retrieval, device, task.progress, rows=new_rows)
    if len(new_rows) == n:
        return new, search.capped
    columns = [np.concatenate([getattr(p, c) for p in (known, new)]) for c in ("left", "right", "cosine")]
    _, first = np.unique(columns[0] * n + columns[1], return_index=True)
    return CandidatePairs(*(column[first] for column in columns)), search.capped


def _find_affected_rows(text_number: Rows, new_rows: Mask, pairs: ScoredPairs, task: GenerationTask) -> Mask:
    """Return which rows are in a component that gained or lost a text. All others keep their clusters."""
    if task.decision is not None or not task.reuse.clusters:
        return np.ones(len(text_number), bool)
    before, threshold = task.before, task.settings.rerank.accepts_from
    row_of = _row_of_text(text_number, before)
    removed = _live_texts(before) & (row_of < 0)
    links = before.pairs.where(before.pairs.probability >= threshold)
    lost_link = np.concatenate([links.left[removed[links.right]], links.right[removed[links.left]]])
    changed = new_rows.copy()
    changed[row_of[lost_link[row_of[lost_link] >= 0]]] = True
    component = find_components(len(text_number), pairs, threshold)
    return np.isin(component, component[changed])


def _cluster_affected(
    affected: Mask, text_number: Rows, pairs: ScoredPairs, task: GenerationTask, score_rows: ScoreRows
) -> tuple[Rows, ScoredPairs]:
    """Cluster the affected rows; return the labels of all rows and the pairs that clustering requested."""
    rows, rank = np.flatnonzero(affected), np.cumsum(affected) - 1
    inside = pairs.where(affected[pairs.left] & affected[pairs.right])

    def score_unseen(left: Rows, right: Rows) -> ScoredPairs:
        return replace(score_rows(rows[left], rows[right]), left=left, right=right)

    partition = cluster_pairs(
        len(rows),
        replace(inside, left=rank[inside.left], right=rank[inside.right]),
        threshold=task.settings.rerank.accepts_from,
        settings=task.settings.clustering,
        score_unseen=score_unseen,
    )
    labels = _labels_before(text_number, task.before)
    labels[rows] = labels.max(initial=0) + 1 + partition.labels
    scored = partition.scored
    requested = replace(scored, left=rows[scored.left], right=rows[scored.right])
    ends = [_row_of_text(text_number, task.before)[end] for end in task.before.unseen]
    kept = (ends[0] >= 0) & (ends[1] >= 0)
    kept[kept] = ~affected[ends[0][kept]]
    still_requested = score_rows(ends[0][kept], ends[1][kept])
    return canonical_labels(labels), ScoredPairs.concatenate(requested, still_requested)


def _labels_before(text_number: Rows, before: Snapshot) -> Rows:
    """Return a label per row: the id of its cluster in the last generation, or a unique label."""
    in_cluster = before.state.filter(
        pc.and_(pc.is_valid(before.state["cluster_id"]), pc.greater_equal(before.state["text"], 0))
    )
    cluster_of = np.full(before.n_texts, -1)
    cluster_of[in_cluster["text"].to_numpy()] = in_cluster["cluster_id"].to_numpy()
    unique = before.commit.next_cluster_id + np.arange(len(text_number))
    known = np.where(text_number >= 0, cluster_of[text_number] if before.n_texts else -1, -1)
    return np.where(known >= 0, known, unique)
