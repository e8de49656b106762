"""A store's next generation on one page: what is new is embedded, searched and scored, the rest is known.

Every array stands in the order of the rows that a full run over the same documents has, so that the stages
are those of `pipeline` and what they find is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..clustering.partition import canonical_labels, cluster_pairs, find_components
from ..corpus.unique import collapse_exact_duplicates
from ..disk.work import Work
from ..pipeline import Models, tokenise_texts
from ..progress import Progress
from ..rerank.decision import Decision
from ..results.manifest import timed
from ..results.result import MiningResult
from ..retrieval.candidates import find_candidates, pair_cosines
from ..retrieval.encoder import Embeddings, embed
from ..schema import TEXT, CandidatePairs, Corpus, Rows, ScoredPairs, TokenStore, UniqueTexts
from ..settings import MiningSettings
from .segments import Snapshot

Mask = npt.NDArray[np.bool_]
ScoreRows = Callable[[Rows, Rows], ScoredPairs]


@dataclass(frozen=True, slots=True)
class Reuse:
    """What of the last generation still holds: all of it, or less after a change of models or settings."""

    embeddings: bool = True
    neighbours: bool = True
    scores: bool = True
    clusters: bool = True


@dataclass(frozen=True, slots=True)
class Task:
    """What to derive a generation from: the documents it shall hold and the generation before.

    `models` loads them; it is called only where a text or a pair needs them. Finished shards are kept in
    `work`. A corpus-aware `decision` is taken of all pairs anew, since each hangs on others.
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
    """What a generation is made of, by row.

    `number` is the one each row's text has in the generation before, -1 for a new text; `unseen` are the
    pairs that clustering asked for.
    """

    unique: UniqueTexts
    number: Rows
    tokens: TokenStore
    embeddings: Embeddings
    scores: PairScores
    unseen: ScoredPairs
    result: MiningResult
    counts: dict[str, int]
    seconds: dict[str, float]


@dataclass(slots=True)
class PairScores:
    """Every pair with a known score, sorted by (left, right); for others the model is asked, once.

    `fresh` are those that were asked for.
    """

    n_rows: int
    known: ScoredPairs
    fresh: ScoredPairs
    score: Callable[[CandidatePairs], ScoredPairs]

    def of(self, wanted: CandidatePairs) -> ScoredPairs:
        """Return the scores of pairs, each given once, in their order."""
        keys = self.keys(wanted)
        missing = ~np.isin(keys, self.keys(self.known))
        if missing.any():
            scored = self.score(
                CandidatePairs(wanted.left[missing], wanted.right[missing], wanted.cosine[missing])
            )
            self.fresh = ScoredPairs.concatenate(self.fresh, scored)
            self.known = ScoredPairs.concatenate(self.known, scored)
        return self.known.where(np.searchsorted(self.keys(self.known), keys))

    def keys(self, pairs: CandidatePairs) -> Rows:
        """Return one number per pair, in the order of (left, right)."""
        return pairs.left * self.n_rows + pairs.right


def advance(task: Task) -> Generation:
    """Derive the next generation."""
    seconds: dict[str, float] = {}
    before, settings = task.before, task.settings
    with timed(seconds, "collapse"):
        unique = collapse_exact_duplicates(task.corpus.documents[TEXT])
        number = _find_texts(unique.texts, before)
        arrived = _arrived(number, task)
    with timed(seconds, "load"):
        if arrived.any():
            task.models()
    with timed(seconds, "embed"):
        tokens, embeddings, embedded = _encode(unique.texts, number, task)

    def score(pairs: CandidatePairs) -> ScoredPairs:
        return task.models().cascade.score(tokens, pairs, task.progress, task.work)

    known = _known_pairs(number, embeddings, task)
    scores = PairScores(len(unique), known, known.where(np.empty(0, np.int64)), score)
    with timed(seconds, "search"):
        candidates, capped = _find_candidates(embeddings, np.flatnonzero(arrived), scores, task)
    with timed(seconds, "rerank"):
        pairs = scores.of(candidates)
    with timed(seconds, "decide"):
        if task.decision is not None:
            pairs = task.decision().decide(pairs, tokens, task.progress)

    def score_rows(left: Rows, right: Rows) -> ScoredPairs:
        return scores.of(CandidatePairs(left, right, pair_cosines(embeddings, left, right)))

    with timed(seconds, "cluster"):
        touched = _touched(number, arrived, pairs, task)
        labels, unseen = _cluster(touched, number, pairs, task, score_rows)
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
        "texts_reclustered": int(touched.sum()),
        "queries_capped": capped,
        **result.manifest["counts"],
    }
    return Generation(unique, number, tokens, embeddings, scores, unseen, result, counts, seconds)


def _find_texts(texts: list[str], before: Snapshot) -> Rows:
    known = pa.concat_arrays([pa.array([], pa.large_string()), *before.texts.texts.chunks])
    found = pc.index_in(pa.array(texts, pa.large_string()), value_set=known)
    return np.asarray(pc.fill_null(found, -1).to_numpy(), np.int64)


def _alive(before: Snapshot) -> Mask:
    """Tell which texts of the generation before its documents had, (n_texts,)."""
    alive = np.zeros(before.n_texts, bool)
    used = before.state["text"].to_numpy()
    alive[used[used >= 0]] = True
    return alive


def _row_of_text(number: Rows, before: Snapshot) -> Rows:
    """Return the row of each text of the generation before, -1 where no document has it now."""
    row_of = np.full(before.n_texts, -1)
    row_of[number[number >= 0]] = np.flatnonzero(number >= 0)
    return row_of


def _arrived(number: Rows, task: Task) -> Mask:
    """Tell which rows were not there in the generation before: their neighbours are not known."""
    reuse = task.reuse
    if not (reuse.neighbours and reuse.embeddings and reuse.scores):  # neighbours are known by their scores
        return np.ones(len(number), bool)
    arrived = number < 0
    arrived[~arrived] = ~_alive(task.before)[number[~arrived]]
    return arrived


def _encode(texts: list[str], number: Rows, task: Task) -> tuple[TokenStore, Embeddings, int]:
    """Return the cross-encoder's tokens and the unit vectors of all rows, and how many were embedded."""
    new = number < 0
    untokenised = np.flatnonzero(new | (not (task.reuse.embeddings and task.reuse.scores)))
    lacking = new | (not task.reuse.embeddings)
    vectors = _known_vectors(number, task)
    if not len(untokenised):
        return task.before.texts.tokens.take(number), vectors, 0
    models, chosen = task.models(), [texts[row] for row in untokenised]
    tokens, pair_tokens = tokenise_texts(chosen, task.settings, models, task.progress)
    place = number.copy()
    place[untokenised] = task.before.n_texts + np.arange(len(untokenised))
    all_tokens = TokenStore.concatenate(task.before.texts.tokens, pair_tokens).take(place)
    wanted = np.flatnonzero(lacking[untokenised])
    if len(wanted):
        assert task.work is not None, "new texts need a folder to work in"
        vectors[lacking] = embed(
            models.encoder,
            [chosen[i] for i in wanted],
            None if tokens is None else tokens.take(wanted),
            task.work,
            task.progress,
        )
    return all_tokens, vectors, len(wanted)


def _known_vectors(number: Rows, task: Task) -> Embeddings:
    if not task.reuse.embeddings:
        return np.empty((len(number), task.models().encoder.dim), np.float16)
    return task.before.texts.vectors(number, int(task.before.commit.models["bi_encoder"]["dim"]))


def _known_pairs(number: Rows, embeddings: Embeddings, task: Task) -> ScoredPairs:
    """Return the pairs with a score whose texts are both there, by row."""
    pairs, row_of = task.before.pairs, _row_of_text(number, task.before)
    left, right = row_of[pairs.left], row_of[pairs.right]
    present = (left >= 0) & (right >= 0) & task.reuse.scores
    kept = replace(pairs.where(present), left=left[present], right=right[present])
    assert (kept.left < kept.right).all(), "rows stand in the order of normalised texts"
    if not task.reuse.embeddings:
        kept = replace(kept, cosine=pair_cosines(embeddings, kept.left, kept.right))
    return ScoredPairs.concatenate(kept)


def _find_candidates(
    embeddings: Embeddings, arrived: Rows, scores: PairScores, task: Task
) -> tuple[CandidatePairs, int]:
    """Return all pairs above the floor: those known, and those the arrived rows are in.

    Of the latter those beyond the `max_k` nearest are not found; also returns how many rows that befell.
    """
    known = scores.known.where(scores.known.cosine >= task.settings.retrieval.floor)
    if not len(arrived):
        return known, 0
    n, retrieval = len(embeddings), task.settings.retrieval
    device = task.models().compute.device
    found, search = find_candidates(embeddings, retrieval, device, task.progress, rows=arrived)
    if len(arrived) == n:
        return found, search.capped
    columns = [np.concatenate([getattr(p, c) for p in (known, found)]) for c in ("left", "right", "cosine")]
    _, first = np.unique(columns[0] * n + columns[1], return_index=True)
    return CandidatePairs(*(column[first] for column in columns)), search.capped


def _touched(number: Rows, arrived: Mask, pairs: ScoredPairs, task: Task) -> Mask:
    """Tell which rows are in a component that gained or lost a text; all others keep their clusters."""
    if task.decision is not None or not task.reuse.clusters:
        return np.ones(len(number), bool)
    before, threshold = task.before, task.settings.rerank.accepts_from
    row_of = _row_of_text(number, before)
    departed = _alive(before) & (row_of < 0)
    links = before.pairs.where(before.pairs.probability >= threshold)
    bereft = np.concatenate([links.left[departed[links.right]], links.right[departed[links.left]]])
    dirty = arrived.copy()
    dirty[row_of[bereft[row_of[bereft] >= 0]]] = True
    component = find_components(len(number), pairs, threshold)
    return np.isin(component, component[dirty])


def _cluster(
    touched: Mask, number: Rows, pairs: ScoredPairs, task: Task, score_rows: ScoreRows
) -> tuple[Rows, ScoredPairs]:
    """Cluster the touched rows; return the labels of all, and the pairs that clustering asked for."""
    rows, rank = np.flatnonzero(touched), np.cumsum(touched) - 1
    inside = pairs.where(touched[pairs.left] & touched[pairs.right])

    def score_unseen(left: Rows, right: Rows) -> ScoredPairs:
        return replace(score_rows(rows[left], rows[right]), left=left, right=right)

    partition = cluster_pairs(
        len(rows),
        replace(inside, left=rank[inside.left], right=rank[inside.right]),
        threshold=task.settings.rerank.accepts_from,
        settings=task.settings.clustering,
        score_unseen=score_unseen,
    )
    labels = _labels_before(number, task.before)
    labels[rows] = labels.max(initial=0) + 1 + partition.labels
    asked = replace(partition.scored, left=rows[partition.scored.left], right=rows[partition.scored.right])
    ends = [_row_of_text(number, task.before)[end] for end in task.before.unseen]
    held = (ends[0] >= 0) & (ends[1] >= 0)
    held[held] = ~touched[ends[0][held]]
    return canonical_labels(labels), ScoredPairs.concatenate(asked, score_rows(ends[0][held], ends[1][held]))


def _labels_before(number: Rows, before: Snapshot) -> Rows:
    """Return a label per row: its cluster's id in the generation before, or one of its own."""
    in_cluster = before.state.filter(
        pc.and_(pc.is_valid(before.state["cluster_id"]), pc.greater_equal(before.state["text"], 0))
    )
    cluster_of = np.full(before.n_texts, -1)
    cluster_of[in_cluster["text"].to_numpy()] = in_cluster["cluster_id"].to_numpy()
    alone = before.commit.next_cluster_id + np.arange(len(number))
    known = np.where(number >= 0, cluster_of[number] if before.n_texts else -1, -1)
    return np.where(known >= 0, known, alone)
