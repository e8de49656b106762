"""The bands: trees that decide a pair by its texts and its cosine, before the cross-encoder reads it.

The rest of the corpus has no influence, so a run and a store decide a pair in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field
from tokenizers import Tokenizer

from ..inference.model_files import CASCADE
from ..schema import CandidatePairs, Floats, TokenStore
from .calibration import FittedOn
from .lexical import Features, LexicalFeatures, token_sets
from .records import read_record, write_record
from .trees import predict_pairs

if TYPE_CHECKING:
    import lightgbm

_REACH = 16  # tokens compared from either end
_WORDS: dict[str, frozenset[str]] = {
    "negations": frozenset(
        ["no", "not", "never", "none", "nor", "without", "cannot", "nothing", "nobody", "t"]
    ),
    "questions": frozenset(["how", "what", "which", "who", "whom", "whose", "when", "where", "why"]),
}
_MARKERS = "#\u0120\u2581"  # what tokenizers put before pieces of words, or before words

TokenKinds = Mapping[str, tuple[int, ...]]


class Record(BaseModel):
    """A part of what was fitted, as JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Bounds(Record):
    """Log-odds from which the bands decide a pair: refused below `lower`, accepted from `upper` on.

    Null is a bound that was not found safe. On pairs that the trees were not fitted to, a share `decided` of
    the candidates was decided, and the cross-encoder decides a share `otherwise` of those differently; `f1`
    is that of the labelled pairs, before and after.
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

    def within(self, *, refuse: bool, accept: bool) -> Bounds:
        """Return the bounds without those that may not be used."""
        lower, upper = self.lower if refuse else None, self.upper if accept else None
        return self.model_copy(update={"lower": lower, "upper": upper})

    def decide(self, log_odds: Floats) -> npt.NDArray[np.bool_]:
        """Return which pairs the bounds decide, by their log-odds, `(n_pairs,)`."""
        return beyond(log_odds, self.lower, self.upper)


def beyond(log_odds: Floats, lower: float | None, upper: float | None) -> npt.NDArray[np.bool_]:
    """Return which log-odds lie below a lower bound or from an upper bound on; NaN never does."""
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

    def bounded(self, *, decision: bool, refuse: bool, accept: bool) -> Bands:
        """Return the bands with the bounds that may be used, with or without a decision afterwards."""
        bounds = self.bounds_with_decision if decision and self.bounds_with_decision else self.bounds
        return self.model_copy(update={"bounds": bounds.within(refuse=refuse, accept=accept)})

    def log_odds(self, tokens: TokenStore, pairs: CandidatePairs) -> Floats:
        """Return the log-odds of pairs, `(n_pairs,) float32`; `tokens` are the cross-encoder's."""
        idf = np.array(self.idf, np.float32)
        return predict_pairs(
            self._booster,
            len(pairs),
            lambda block: evidence(tokens, pairs.where(block), idf, self.kinds),
        ).astype(np.float32)

    @cached_property
    def _booster(self) -> lightgbm.Booster:
        import lightgbm

        return lightgbm.Booster(model_str=self.trees)


def evidence(tokens: TokenStore, pairs: CandidatePairs, idf: Floats, kinds: TokenKinds) -> Floats:
    """Return the features of pairs, `(n_pairs, len(FEATURES)) float32`."""
    rows, at = np.unique(np.concatenate([pairs.left, pairs.right]), return_inverse=True)
    left, right = at.reshape(2, -1).astype(np.int64)
    near = CandidatePairs(left, right, pairs.cosine)
    return np.stack(list(_describe(tokens.take(rows), near, idf, kinds).values()), axis=1)


def _describe(tokens: TokenStore, pairs: CandidatePairs, idf: Floats, kinds: TokenKinds) -> Features:
    features: Features = {"cosine": pairs.cosine}
    features |= LexicalFeatures(tokens, idf).compute(pairs)
    for name in ("numbers", *_WORDS):
        features[f"{name}_apart"] = _apart(tokens, np.array(kinds.get(name, ()), np.int32), pairs)
    shortest = np.maximum(features["tokens_low"], 1)
    for name, step in (("prefix", 1), ("suffix", -1)):
        features[name] = _common(tokens, pairs, step)
        features[f"{name}_share"] = np.asarray(features[name] / shortest, np.float32)
    return features


def _apart(tokens: TokenStore, wanted: npt.NDArray[np.int32], pairs: CandidatePairs) -> Floats:
    """Count the tokens of a kind that only one of the two texts has."""
    chosen = np.isin(tokens.ids, wanted)
    owner = np.repeat(np.arange(len(tokens.lengths)), tokens.lengths)
    sets = token_sets(
        tokens.ids[chosen].astype(np.int64), np.bincount(owner[chosen], minlength=len(tokens.lengths))
    )
    sizes = np.diff(sets.indptr)
    shared = np.diff(sets[pairs.left].multiply(sets[pairs.right]).tocsr().indptr)
    return np.asarray(sizes[pairs.left] + sizes[pairs.right] - 2 * shared, np.float32)


def _common(tokens: TokenStore, pairs: CandidatePairs, step: int) -> Floats:
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
    numbers = {token for token, piece in pieces.items() if any(map(str.isdigit, piece))}
    words = {kind: {t for t, piece in pieces.items() if piece in of} for kind, of in _WORDS.items()}
    return {kind: tuple(sorted(found)) for kind, found in ({"numbers": numbers} | words).items()}


def _names() -> tuple[str, ...]:
    nothing = TokenStore(np.empty(0, np.int32), np.zeros(1, np.int64), 0)
    nowhere = np.empty(0, np.int64)
    pairs = CandidatePairs(nowhere, nowhere, np.empty(0, np.float32))
    return tuple(_describe(nothing, pairs, np.zeros(1, np.float32), {}))


FEATURES = _names()


FIT_AGAIN = "fit it again with `dupmine calibrate --corpus`, or set rerank.bands: off"


class FittedCascade(Record):
    """What `dupmine calibrate --corpus` fitted beside the decision.

    It belongs to a bi-encoder and to a cross-encoder with its calibration (`cross_encoder`, see
    `fingerprint_logits`), to candidates with a cosine of at least `floor`, and to a cross-encoder that
    accepts from a probability of `threshold`.
    """

    version: Literal[2] = 2
    bi_encoder: str
    cross_encoder: str
    floor: float
    threshold: float = Field(ge=0.0, le=1.0)
    candidates: int
    pairs: FittedOn
    bands: Bands

    def write(self, folder: Path) -> None:
        """Write `cascade.json` into a model's folder, whole or not at all."""
        write_record(self, folder / CASCADE)


def load_cascade(folder: Path) -> FittedCascade | None:
    """Return what lies beside a cross-encoder, None where there is none.

    Raises:
        ModelError: it cannot be read, or an earlier version of dupmine wrote it.
    """
    return read_record(FittedCascade, folder / CASCADE, FIT_AGAIN)
