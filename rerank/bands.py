"""The bands: trees that decide a pair by its texts and its cosine, before the cross-encoder reads it.

The rest of the corpus has no influence, so a run and a store decide a pair in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np
from pydantic import Field, model_validator
from tokenizers import Tokenizer

from ..schema import CandidatePairs, Flags, Floats, Rows, TokenStore
from .lexical import LexicalFeatures, token_sets
from .records import Record
from .tree_text import check_trees
from .trees import Features, load_trees, predict_log_odds, stack_features

_REACH = 16  # tokens compared from either end
_WORDS: dict[str, frozenset[str]] = {
    "negations": frozenset(
        ["no", "not", "never", "none", "nor", "without", "cannot", "nothing", "nobody", "t"]
    ),
    "questions": frozenset(["how", "what", "which", "who", "whom", "whose", "when", "where", "why"]),
}
_MARKERS = "#\u0120\u2581"  # what tokenizers put before pieces of words, or before words

TokenKinds = Mapping[str, tuple[int, ...]]


class Bounds(Record):
    """Log-odds from which the bands decide a pair: refused below `lower`, accepted from `upper` on.

    Null is a bound that was not found safe. On pairs that the trees were not fitted to, the bounds decided a
    share `decided` of the candidates, a share `otherwise` of these not as the cross-encoder does; `f1` is
    that of the labelled pairs, before and after.
    """

    lower: float | None
    upper: float | None
    decided: float = Field(ge=0.0, le=1.0)
    otherwise: float = Field(ge=0.0, le=1.0)
    f1: dict[str, float]

    @property
    def any(self) -> bool:
        """Whether there is a bound at all."""
        return self.lower is not None or self.upper is not None

    def decide(self, log_odds: Floats) -> Flags:
        """Return which pairs the bounds decide, by their log-odds, `(n_pairs,)`."""
        return beyond(log_odds, self.lower, self.upper)


def beyond(log_odds: Floats, lower: float | None, upper: float | None) -> Flags:
    """Return which log-odds lie below a lower bound or from an upper bound on."""
    decided = np.zeros(len(log_odds), bool)
    if lower is not None:
        decided |= log_odds < np.float32(lower)
    if upper is not None:
        decided |= log_odds >= np.float32(upper)
    return decided


class Bands(Record):
    """Trees that predict the decision from the texts and the cosine, and the bounds of what they decide.

    `trees` is LightGBM's text format, `idf` the inverse document frequency of each token of the
    cross-encoder's vocabulary, `kinds` are the tokens that are numbers, negations or question words.
    `bounds_with_decision` hold where the corpus-aware decision follows, which corrects much of what the bands
    get wrong.
    """

    trees: str
    bounds: Bounds
    bounds_with_decision: Bounds | None = None
    features: tuple[str, ...]
    idf: tuple[float, ...]
    kinds: dict[str, tuple[int, ...]]

    @model_validator(mode="after")
    def _has_trees(self) -> Self:
        check_trees(self.trees, len(self.features))
        return self

    def restrict(self, *, decision: bool, refuse: bool, accept: bool) -> Bands:
        """Return the bands with the bounds that may be used, with or without a decision afterwards."""
        bounds = self.bounds_with_decision if decision and self.bounds_with_decision else self.bounds
        unused = {} if refuse else {"lower": None}
        unused |= {} if accept else {"upper": None}
        return self.model_copy(update={"bounds": bounds.model_copy(update=unused)})

    def log_odds(self, tokens: TokenStore, pairs: CandidatePairs) -> Floats:
        """Return the log-odds of pairs, `(n_pairs,) float32`; `tokens` are the cross-encoder's."""
        idf = np.array(self.idf, np.float32)

        def table(block: Rows) -> Floats:
            return band_features(tokens, pairs.where(block), idf, self.kinds)

        trees = load_trees(self.trees, len(self.features))
        return predict_log_odds(trees, len(pairs), table).astype(np.float32)


def band_features(tokens: TokenStore, pairs: CandidatePairs, idf: Floats, kinds: TokenKinds) -> Floats:
    """Return the features of pairs, `(n_pairs, len(FEATURES)) float32`."""
    rows, index = np.unique(np.concatenate([pairs.left, pairs.right]), return_inverse=True)
    left, right = index.reshape(2, -1).astype(np.int64)
    renumbered = CandidatePairs(left, right, pairs.cosine)
    return stack_features(_compute(tokens.take(rows), renumbered, idf, kinds))


def _compute(tokens: TokenStore, pairs: CandidatePairs, idf: Floats, kinds: TokenKinds) -> Features:
    features: Features = {"cosine": pairs.cosine}
    features |= LexicalFeatures(tokens, idf).compute(pairs)
    for name in ("numbers", *_WORDS):
        features[f"{name}_apart"] = _count_apart(tokens, kinds.get(name, ()), pairs)
    shortest = np.maximum(features["tokens_low"], 1)
    for name, step in (("prefix", 1), ("suffix", -1)):
        features[name] = _count_common(tokens, pairs, step)
        features[f"{name}_share"] = np.asarray(features[name] / shortest, np.float32)
    return features


def _count_apart(tokens: TokenStore, kind: tuple[int, ...], pairs: CandidatePairs) -> Floats:
    """Count the tokens of a kind that only one of the two texts has."""
    n = len(tokens.lengths)
    matches = np.isin(tokens.ids, np.array(kind, np.int32))
    owner = np.repeat(np.arange(n), tokens.lengths)[matches]
    sets = token_sets(tokens.ids[matches].astype(np.int64), np.bincount(owner, minlength=n))
    sizes = np.diff(sets.indptr)
    shared = np.diff(sets[pairs.left].multiply(sets[pairs.right]).tocsr().indptr)
    return np.asarray(sizes[pairs.left] + sizes[pairs.right] - 2 * shared, np.float32)


def _count_common(tokens: TokenStore, pairs: CandidatePairs, step: int) -> Floats:
    """Count the tokens that two texts share from the start (`step` 1) or from the end (-1), at most 16."""
    sides = pairs.left, pairs.right
    edges = [tokens.offsets[side] if step > 0 else tokens.offsets[side + 1] - 1 for side in sides]
    shortest = np.minimum(*(tokens.lengths[side] for side in sides))
    common, same = np.zeros(len(pairs), np.float32), np.ones(len(pairs), bool)
    for i in range(_REACH):
        same &= i < shortest
        at = np.flatnonzero(same)
        same[at] = tokens.ids[edges[0][at] + step * i] == tokens.ids[edges[1][at] + step * i]
        common += same
    return common


def find_token_kinds(tokenizer: Tokenizer) -> dict[str, tuple[int, ...]]:
    """Return the tokens of a vocabulary that are numbers, negations or question words."""
    pieces = {token: piece.strip(_MARKERS).lower() for piece, token in tokenizer.get_vocab().items()}
    kinds = {"numbers": {token for token, piece in pieces.items() if any(map(str.isdigit, piece))}}
    for kind, words in _WORDS.items():
        kinds[kind] = {token for token, piece in pieces.items() if piece in words}
    return {kind: tuple(sorted(tokens)) for kind, tokens in kinds.items()}


def _feature_names() -> tuple[str, ...]:
    no_tokens, no_rows = TokenStore(np.empty(0, np.int32), np.zeros(1, np.int64), 0), np.empty(0, np.int64)
    no_pairs = CandidatePairs(no_rows, no_rows, np.empty(0, np.float32))
    return tuple(_compute(no_tokens, no_pairs, np.zeros(1, np.float32), {}))


FEATURES = _feature_names()
