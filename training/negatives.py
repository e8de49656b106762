"""Hard negatives: near neighbours of the duplicates' texts that are no duplicates themselves."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..corpus.questions import question_components
from ..corpus.unique import normalised_key
from ..errors import InputError
from ..inference.device import DeviceConfig
from ..inference.tokens import tokenise
from ..progress import SILENT, Progress
from ..rerank.scorer import CrossEncoder
from ..retrieval.encoder import BiEncoder, Embeddings
from ..retrieval.index import build_index
from ..schema import Floats, LabelledPairs, Rows, probabilities
from ..settings import RerankSettings, RetrievalSettings
from .data import PairSets
from .settings import NegativesSettings

log = logging.getLogger(__name__)

# From texts to the cosines and positions, among the corpus, of the nearest, `(n_texts, k)`, best first.
NeighbourSearch = Callable[[Sequence[str]], tuple[Floats, Rows]]
# From two columns of texts to the probability that each pair asks the same.
DuplicateScorer = Callable[[list[str], list[str]], Floats]


@dataclass(frozen=True, slots=True)
class _Known:
    """What the labels say: the group of a key with duplicates, keys that differ, keys held out."""

    group_of: dict[str, int]
    labelled: set[frozenset[str]]
    held: set[str]

    def objection(self, anchor: str, other: str) -> str | None:
        """Return why two keys make no negative, None where nothing is known against it."""
        group = self.group_of.get(other)
        if anchor == other or (group is not None and group == self.group_of[anchor]):
            return "duplicates"
        if other in self.held:
            return "held_out"
        return "labelled" if frozenset((anchor, other)) in self.labelled else None


def add_negatives(
    sets: PairSets,
    corpus: Sequence[str],
    settings: NegativesSettings,
    search: NeighbourSearch,
    guard: DuplicateScorer,
) -> PairSets:
    """Add mined negatives to the training pairs, and to the facts how many, and how many were left out.

    Left out are texts that the labels join to the anchor, directly or over others, pairs that are labelled
    already, texts that are held out, and what is probably a duplicate that nobody labelled: texts above
    `max_cosine`, and pairs to which the guard gives `max_probability` or more.

    Raises:
        InputError: the labels are not 0 or 1, so there are no duplicates to start from.
    """
    if not sets.train.is_binary:
        raise InputError(
            f"{sets.train.source}: hard negatives need labels 0 or 1; leave negatives.corpus out"
        )
    duplicates = sets.train.take(sets.train.label > 0.5)
    anchors = {normalised_key(text): text for text in (*duplicates.left, *duplicates.right)}
    counts: Counter[str] = Counter(anchors=len(anchors))
    queues = _candidates(anchors, corpus, settings, search, _known(sets, duplicates), counts)
    chosen = _guarded(queues, settings, guard, counts)
    counts["added"] = len(chosen)
    log.info("%d hard negatives: %s", len(chosen), dict(counts))
    left, right = [a for a, _ in chosen], [b for _, b in chosen]
    mined = LabelledPairs(left, right, np.zeros(len(chosen), np.float32), source="mined")
    train = LabelledPairs.concatenate([sets.train, mined], source=sets.train.source)
    facts: dict[str, Any] = {**sets.facts, "negatives": {"corpus": settings.corpus, **counts}}
    return replace(sets, train=train, facts=facts)


def _known(sets: PairSets, duplicates: LabelledPairs) -> _Known:
    group_of: dict[str, int] = {}
    for left, right, group in zip(
        duplicates.left, duplicates.right, question_components(duplicates).tolist(), strict=True
    ):
        group_of[normalised_key(left)] = group_of[normalised_key(right)] = group
    train = sets.train
    labelled = {
        frozenset((normalised_key(left), normalised_key(right)))
        for left, right in zip(train.left, train.right, strict=True)
    }
    return _Known(group_of, labelled, sets.held_out)


def _candidates(
    anchors: dict[str, str],
    corpus: Sequence[str],
    settings: NegativesSettings,
    search: NeighbourSearch,
    known: _Known,
    counts: Counter[str],
) -> list[tuple[str, list[str]]]:
    """Return each anchor's text with the neighbours nothing known speaks against, the nearest first."""
    cosines, rows = search(list(anchors.values()))
    keys = [normalised_key(text) for text in corpus]
    queues: list[tuple[str, list[str]]] = []
    seen: set[frozenset[str]] = set()  # a pair is found from both its sides
    for i, (key, text) in enumerate(anchors.items()):
        queue: list[str] = []
        for cosine, row in zip(cosines[i].tolist(), rows[i].tolist(), strict=True):
            pair = frozenset((key, keys[row]))
            if row < 0 or pair in seen:
                continue
            seen.add(pair)
            objection = known.objection(key, keys[row])
            if objection is None and cosine > settings.max_cosine:
                objection = "too_near"
            if objection is None:
                queue.append(corpus[row])
            else:
                counts[objection] += 1
        queues.append((text, queue))
    return queues


def _guarded(
    queues: list[tuple[str, list[str]]],
    settings: NegativesSettings,
    guard: DuplicateScorer,
    counts: Counter[str],
) -> list[tuple[str, str]]:
    """Return up to `per_positive` pairs of each anchor that the guard calls no duplicates.

    Each round asks for as many as an anchor still lacks, so few more pairs are scored than are needed.
    """
    taken: list[list[str]] = [[] for _ in queues]
    start = [0] * len(queues)
    while True:
        asked: list[tuple[int, str]] = []
        for i, (_, queue) in enumerate(queues):
            end = start[i] + settings.per_positive - len(taken[i])
            asked += [(i, text) for text in queue[start[i] : end]]
            start[i] = max(end, start[i])
        if not asked:
            break
        probability = guard([queues[i][0] for i, _ in asked], [text for _, text in asked])
        for (i, text), likely in zip(asked, probability.tolist(), strict=True):
            if likely < settings.max_probability:
                taken[i].append(text)
            else:
                counts["guarded"] += 1
    return [(text, other) for (text, _), others in zip(queues, taken, strict=True) for other in others]


_BLOCK = 4096  # texts searched for at once


def _search_in(
    corpus: Sequence[str], settings: NegativesSettings, compute: DeviceConfig, progress: Progress
) -> NeighbourSearch:
    encoder = BiEncoder(settings.miner, compute)
    retrieval = RetrievalSettings(bi_encoder=settings.miner, top_k=settings.neighbours)
    index = build_index(_embedded(encoder, corpus, progress), retrieval, gpu=compute.device.type == "cuda")
    k = min(settings.neighbours, len(corpus))

    def search(texts: Sequence[str]) -> tuple[Floats, Rows]:
        queries = _embedded(encoder, texts, progress)
        found = []
        with progress.bar("retrieve", len(texts), "texts") as bar:
            for start in range(0, len(texts), _BLOCK):
                block = np.asarray(queries[start : start + _BLOCK], np.float32)
                found.append(index.search(block, k))
                bar.update(len(block))
        cosines, rows = (np.concatenate(side) for side in zip(*found, strict=True))
        return cosines, rows

    return search


def _embedded(encoder: BiEncoder, texts: Sequence[str], progress: Progress) -> Embeddings:
    tokens = None
    if encoder.tokenizer is not None:
        tokens = tokenise(texts, encoder.tokenizer, max_tokens=encoder.max_tokens, progress=SILENT)
    out = np.empty((len(texts), encoder.dim), np.float16)
    encoder.encode(texts, tokens, out, progress)
    return out


def _guard(settings: NegativesSettings, compute: DeviceConfig, progress: Progress) -> DuplicateScorer:
    scorer = CrossEncoder(RerankSettings(cross_encoder=settings.guard), compute)

    def probability(left: list[str], right: list[str]) -> Floats:
        texts = [*left, *right]
        tokens = tokenise(texts, scorer.tokenizer, max_tokens=scorer.max_tokens, progress=SILENT)
        rows = np.arange(len(texts))
        return probabilities(scorer.score(tokens, rows[: len(left)], rows[len(left) :], progress))

    return probability
