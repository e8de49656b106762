"""Hard negatives: near neighbours of the duplicates' texts that are not duplicates themselves."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from ..corpus import read_corpus
from ..corpus.questions import question_components
from ..corpus.unique import collapse_exact_duplicates, normalised_key
from ..errors import InputError
from ..evaluation.model import score_with_loaded
from ..inference.device import DeviceConfig, resolve_device
from ..inference.locate import quiet_loading
from ..progress import Progress
from ..rerank.scorer import CrossEncoder
from ..retrieval.encoder import BiEncoder, encode_texts
from ..retrieval.index import flat_index
from ..schema import TEXT, Floats, LabelledPairs, Rows
from ..settings import ComputeSettings, CorpusSettings, RerankSettings
from .data import PairSets
from .settings import NegativesSettings

log = logging.getLogger(__name__)

# From texts to the cosines and rows, in the corpus, of the nearest texts, `(n_texts, k)`, best first.
NeighbourSearch = Callable[[Sequence[str]], tuple[Floats, Rows]]
# From two lists of texts to the probability that each pair is a duplicate.
DuplicateScorer = Callable[[list[str], list[str]], Floats]


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
    pairs = _find_pairs(anchors, corpus, search)
    exclusion = _exclusions(pairs, sets, duplicates, settings.max_cosine)
    counts = {"anchors": len(anchors), **exclusion[exclusion != ""].value_counts().to_dict()}
    chosen, counts["guarded"] = _choose(pairs[exclusion == ""], settings, scorer)
    counts["added"] = len(chosen)
    log.info("%d hard negatives: %s", len(chosen), counts)
    mined = LabelledPairs(
        chosen["text"].tolist(), chosen["other"].tolist(), np.zeros(len(chosen), np.float32), source="mined"
    )
    train = LabelledPairs.concatenate([sets.train, mined], source=sets.train.source)
    return replace(
        sets, train=train, facts={**sets.facts, "negatives": {"corpus": settings.corpus, **counts}}
    )


def _find_pairs(anchors: dict[str, str], corpus: Sequence[str], search: NeighbourSearch) -> pd.DataFrame:
    """Return a row for each anchor and neighbour, the nearest first."""
    cosines, rows = search(list(anchors.values()))
    at = rows.ravel()
    pairs = pd.DataFrame(
        {
            "text_key": np.repeat(list(anchors), rows.shape[1]),
            "other_key": np.array([normalised_key(text) for text in corpus], object)[at],
            "text": np.repeat(list(anchors.values()), rows.shape[1]),
            "other": np.array(corpus, object)[at],
            "cosine": cosines.ravel(),
        }
    )[at >= 0]
    sides = zip(pairs["text_key"], pairs["other_key"], strict=True)
    pairs["pair"] = list(map(frozenset, sides))  # type: ignore[assignment] # objects of any kind
    return pairs.drop_duplicates("pair")  # it is found from both its texts


def _exclusions(
    pairs: pd.DataFrame, sets: PairSets, duplicates: LabelledPairs, max_cosine: float
) -> pd.Series[str]:
    """Return for each pair why its texts cannot be a negative, empty where they can."""
    groups = question_components(duplicates)
    group_of = {
        normalised_key(text): group
        for side in (duplicates.left, duplicates.right)
        for text, group in zip(side, groups.tolist(), strict=True)
    }
    text, other = pairs["text_key"], pairs["other_key"]
    sides = ([normalised_key(text) for text in side] for side in (sets.train.left, sets.train.right))
    labelled = set(map(frozenset, zip(*sides, strict=True)))
    return pd.Series("", index=pairs.index).case_when(
        [
            ((text == other) | (text.map(group_of) == other.map(group_of)), "duplicates"),
            (other.isin(sets.held_out), "held_out"),
            (pairs["pair"].isin(labelled), "labelled"),
            (pairs["cosine"] > max_cosine, "too_near"),
        ]
    )


def _choose(
    pairs: pd.DataFrame, settings: NegativesSettings, scorer: DuplicateScorer
) -> tuple[pd.DataFrame, int]:
    """Return up to `per_positive` pairs of each anchor that the scorer does not accept as duplicates.

    Each round scores as many pairs as an anchor still lacks, so few more are scored than are needed. Also
    returned is the number of pairs that the scorer accepts.
    """
    lacking = pd.Series(settings.per_positive, index=pairs["text"].unique())
    chosen, guarded = [pairs[:0]], 0
    while len(pairs):
        is_next = pairs.groupby("text").cumcount() < pairs["text"].map(lacking)
        batch = pairs[is_next]
        probability = scorer(batch["text"].tolist(), batch["other"].tolist())
        chosen.append(batch[probability < settings.max_probability])
        guarded += len(batch) - len(chosen[-1])
        lacking = lacking.sub(chosen[-1]["text"].value_counts(), fill_value=0)
        pairs = pairs[~is_next & (pairs["text"].map(lacking) > 0)]
    return pd.concat(chosen).sort_index(), guarded


def _neighbour_search(
    corpus: Sequence[str], settings: NegativesSettings, device: DeviceConfig, progress: Progress
) -> NeighbourSearch:
    encoder = BiEncoder(settings.miner, device)
    k = min(settings.neighbours, len(corpus))
    index = flat_index(encoder.dim, device.device)
    index.add(encode_texts(encoder, corpus, progress))

    def search(texts: Sequence[str]) -> tuple[Floats, Rows]:
        queries = encode_texts(encoder, texts, progress)
        with progress.message("finding the nearest texts"):
            return index.nearest(queries, k)

    return search


def _duplicate_scorer(
    settings: NegativesSettings, device: DeviceConfig, progress: Progress
) -> DuplicateScorer:
    model = CrossEncoder(RerankSettings(cross_encoder=settings.guard), device)

    def score(left: list[str], right: list[str]) -> Floats:
        pairs = LabelledPairs(left, right, np.zeros(len(left), np.float32))
        return score_with_loaded(model, pairs, model.max_tokens, progress).probability

    return score
