"""Hard negatives: near neighbours of the duplicates' texts that are not duplicates themselves."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..corpus import read_corpus
from ..corpus.questions import question_components
from ..corpus.unique import collapse_exact_duplicates, normalised_key
from ..errors import InputError
from ..inference.device import DeviceConfig, resolve_device
from ..inference.locate import quiet_loading
from ..inference.tokens import tokenise
from ..progress import SILENT, Progress
from ..rerank.scorer import CrossEncoder
from ..retrieval.encoder import BiEncoder, encode_texts
from ..retrieval.index import build_index
from ..schema import TEXT, Floats, LabelledPairs, Rows, probabilities
from ..settings import ComputeSettings, CorpusSettings, RerankSettings, RetrievalSettings
from .data import PairSets
from .settings import NegativesSettings

log = logging.getLogger(__name__)

_BLOCK = 4096  # texts searched for at once

# From texts to the cosines and rows, in the corpus, of the nearest texts, `(n_texts, k)`, best first.
NeighbourSearch = Callable[[Sequence[str]], tuple[Floats, Rows]]
# From two lists of texts to the probability that each pair is a duplicate.
DuplicateScorer = Callable[[list[str], list[str]], Floats]


@dataclass(frozen=True, slots=True)
class _Labels:
    """What the labels say about texts: their group of duplicates, labelled pairs, texts that are held out."""

    group_of: dict[str, int]
    pairs: set[frozenset[str]]
    held_out: set[str]

    def exclusion(self, anchor: str, other: str) -> str | None:
        """Return why two texts cannot be a negative, None where they can."""
        group = self.group_of.get(other)
        if anchor == other or (group is not None and group == self.group_of[anchor]):
            return "duplicates"
        if other in self.held_out:
            return "held_out"
        return "labelled" if frozenset((anchor, other)) in self.pairs else None


def mine_negatives(
    sets: PairSets, settings: NegativesSettings, compute: ComputeSettings, progress: Progress
) -> PairSets:
    """Add hard negatives from the texts of `settings.corpus`, if there is one, as `add_negatives` does.

    Raises:
        InputError: the corpus cannot be read, or the labels are not 0 or 1.
        ModelError: the miner or the guard cannot be found or loaded.
    """
    if settings.corpus is None:
        return sets
    documents = read_corpus([settings.corpus], CorpusSettings()).documents
    texts = collapse_exact_duplicates(documents[TEXT]).texts
    device = resolve_device(compute)
    with quiet_loading():
        search = _neighbour_search(texts, settings, device, progress)
        scorer = _duplicate_scorer(settings, device, progress)
    return add_negatives(sets, texts, settings, search, scorer)


def add_negatives(
    sets: PairSets,
    corpus: Sequence[str],
    settings: NegativesSettings,
    search: NeighbourSearch,
    scorer: DuplicateScorer,
) -> PairSets:
    """Add mined negatives to the training pairs, and their counts to the facts.

    A text is excluded where the labels connect it to the anchor as a duplicate, where the pair is labelled,
    and where the text is held out. Probable duplicates are excluded too: texts above `max_cosine`, and pairs
    to which the scorer gives at least `max_probability`.

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
    queues = _candidates(anchors, corpus, settings, search, _labels(sets, duplicates), counts)
    chosen = _choose(queues, settings, scorer, counts)
    counts["added"] = len(chosen)
    log.info("%d hard negatives: %s", len(chosen), dict(counts))
    left, right = [anchor for anchor, _ in chosen], [text for _, text in chosen]
    mined = LabelledPairs(left, right, np.zeros(len(chosen), np.float32), source="mined")
    train = LabelledPairs.concatenate([sets.train, mined], source=sets.train.source)
    return replace(
        sets, train=train, facts={**sets.facts, "negatives": {"corpus": settings.corpus, **counts}}
    )


def _labels(sets: PairSets, duplicates: LabelledPairs) -> _Labels:
    groups = question_components(duplicates).tolist()
    group_of: dict[str, int] = {}
    for left, right, group in zip(duplicates.left, duplicates.right, groups, strict=True):
        group_of[normalised_key(left)] = group_of[normalised_key(right)] = group
    pairs = {
        frozenset((normalised_key(left), normalised_key(right)))
        for left, right in zip(sets.train.left, sets.train.right, strict=True)
    }
    return _Labels(group_of, pairs, sets.held_out)


def _candidates(
    anchors: dict[str, str],
    corpus: Sequence[str],
    settings: NegativesSettings,
    search: NeighbourSearch,
    labels: _Labels,
    counts: Counter[str],
) -> list[tuple[str, list[str]]]:
    """Return each anchor's text with its neighbours that are not excluded, the nearest first."""
    cosines, rows = search(list(anchors.values()))
    keys = [normalised_key(text) for text in corpus]
    queues: list[tuple[str, list[str]]] = []
    seen: set[frozenset[str]] = set()  # a pair is found from both its texts
    for i, (key, text) in enumerate(anchors.items()):
        queue: list[str] = []
        for cosine, row in zip(cosines[i].tolist(), rows[i].tolist(), strict=True):
            pair = frozenset((key, keys[row]))
            if row < 0 or pair in seen:
                continue
            seen.add(pair)
            exclusion = labels.exclusion(key, keys[row])
            if exclusion is None and cosine > settings.max_cosine:
                exclusion = "too_near"
            if exclusion is None:
                queue.append(corpus[row])
            else:
                counts[exclusion] += 1
        queues.append((text, queue))
    return queues


def _choose(
    queues: list[tuple[str, list[str]]],
    settings: NegativesSettings,
    scorer: DuplicateScorer,
    counts: Counter[str],
) -> list[tuple[str, str]]:
    """Return up to `per_positive` pairs of each anchor that the scorer does not accept as duplicates.

    Each round scores as many pairs as an anchor still lacks, so few more are scored than are needed.
    """
    chosen: list[list[str]] = [[] for _ in queues]
    start = [0] * len(queues)
    while True:
        batch: list[tuple[int, str]] = []
        for i, (_, queue) in enumerate(queues):
            end = start[i] + settings.per_positive - len(chosen[i])
            batch += [(i, text) for text in queue[start[i] : end]]
            start[i] = max(end, start[i])
        if not batch:
            break
        probability = scorer([queues[i][0] for i, _ in batch], [text for _, text in batch])
        for (i, text), value in zip(batch, probability.tolist(), strict=True):
            if value < settings.max_probability:
                chosen[i].append(text)
            else:
                counts["guarded"] += 1
    return [(text, other) for (text, _), others in zip(queues, chosen, strict=True) for other in others]


def _neighbour_search(
    corpus: Sequence[str], settings: NegativesSettings, device: DeviceConfig, progress: Progress
) -> NeighbourSearch:
    encoder = BiEncoder(settings.miner, device)
    k, gpu = min(settings.neighbours, len(corpus)), device.device.type == "cuda"
    index = build_index(encode_texts(encoder, corpus, progress), RetrievalSettings(), k=k, gpu=gpu)

    def search(texts: Sequence[str]) -> tuple[Floats, Rows]:
        queries = encode_texts(encoder, texts, progress)
        parts = []
        with progress.bar("retrieve", len(texts), "texts") as bar:
            for start in range(0, len(texts), _BLOCK):
                block = np.asarray(queries[start : start + _BLOCK], np.float32)
                parts.append(index.search(block, k))
                bar.update(len(block))
        cosines, rows = (np.concatenate(side) for side in zip(*parts, strict=True))
        return cosines, rows

    return search


def _duplicate_scorer(
    settings: NegativesSettings, device: DeviceConfig, progress: Progress
) -> DuplicateScorer:
    scorer = CrossEncoder(RerankSettings(cross_encoder=settings.guard), device)

    def score(left: list[str], right: list[str]) -> Floats:
        texts = [*left, *right]
        tokens = tokenise(texts, scorer.tokenizer, max_tokens=scorer.max_tokens, progress=SILENT)
        rows = np.arange(len(texts))
        return probabilities(scorer.score(tokens, rows[: len(left)], rows[len(left) :], progress))

    return score
