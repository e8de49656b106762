"""The steps before the cross-encoder: trees that tell from what is known of a pair what will become of it.

The bands know the two texts and their cosine, the student's step also what a student makes of the texts.
Nothing here follows from the rest of the corpus: a pair is decided alike in a run and in a store, today and
in a year.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field
from tokenizers import Tokenizer

from ..inference.batches import in_blocks
from ..schema import CandidatePairs, Floats, TokenStore
from .calibration import Fitted
from .fitted import read_fitted, write_fitted
from .wording import Features, Wording, token_sets

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

Kinds = Mapping[str, tuple[int, ...]]


class Record(BaseModel):
    """A part of what was fitted, as JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Bounds(Record):
    """From which log-odds a pair is clear: refused below `lower`, accepted from `upper` on.

    Null is a bound that was not found safe. Above log-odds of `asked` by the step before, this one decides
    too few pairs to be worth its time; null asks it of all. On pairs not fitted on, a share `decided` of the
    candidates was clear, and the cross-encoder says otherwise of a share `otherwise` of those; `f1` is that
    of the labelled pairs, before and after.
    """

    lower: float | None
    upper: float | None
    decided: float = Field(ge=0.0, le=1.0)
    otherwise: float = Field(ge=0.0, le=1.0)
    f1: dict[str, float]
    asked: float | None = None

    def worth(self, log_odds: Floats) -> npt.NDArray[np.bool_]:
        """Tell which pairs the step is asked of, by their log-odds in the step before."""
        return log_odds <= np.float32(np.inf if self.asked is None else self.asked)

    @property
    def any(self) -> bool:
        """Whether there is a bound at all."""
        return self.lower is not None or self.upper is not None

    def within(self, *, refuse: bool, accept: bool) -> Bounds:
        """Return the bounds without those that may not be used."""
        lower, upper = self.lower if refuse else None, self.upper if accept else None
        asked = self.asked if refuse else None  # what is worth its time was counted with the refusals
        return self.model_copy(update={"lower": lower, "upper": upper, "asked": asked})

    def clear(self, log_odds: Floats) -> npt.NDArray[np.bool_]:
        """Tell which pairs are clear, by their log-odds."""
        return clear(log_odds, self.lower, self.upper)


def clear(log_odds: Floats, lower: float | None, upper: float | None) -> npt.NDArray[np.bool_]:
    """Tell which pairs lie below a lower or above an upper bound."""
    found = np.zeros(len(log_odds), bool)
    if lower is not None:
        found |= log_odds < np.float32(lower)
    if upper is not None:
        found |= log_odds >= np.float32(upper)
    return found


class Step(Record):
    """A step before the cross-encoder: trees that foresee the decision, and from where on they are trusted.

    `trees` is LightGBM's text format. `bounds_with_decision` are for pairs that the corpus-aware decision
    judges afterwards, which mends much of what a step does not see.
    """

    trees: str
    bounds: Bounds
    bounds_with_decision: Bounds | None = None

    def bounded(self, *, decision: bool, refuse: bool, accept: bool) -> Self:
        """Return the step with the bounds that may be used, with or without a decision afterwards."""
        bounds = self.bounds_with_decision if decision and self.bounds_with_decision else self.bounds
        return self.model_copy(update={"bounds": bounds.within(refuse=refuse, accept=accept)})

    @cached_property
    def _booster(self) -> lightgbm.Booster:
        import lightgbm

        return lightgbm.Booster(model_str=self.trees)

    def _estimate(self, features: Floats) -> Floats:
        import torch  # which knows compute.threads

        said = self._booster.predict(features, raw_score=True, num_threads=torch.get_num_threads())
        return np.asarray(said, np.float32)


class Bands(Step):
    """The first step, which knows what stage 1 knows.

    `idf` is the rarity of each token of the cross-encoder's vocabulary, `kinds` are the tokens that are
    numbers, negations or question words.
    """

    features: tuple[str, ...]
    idf: tuple[float, ...]
    kinds: dict[str, tuple[int, ...]]

    def log_odds(self, tokens: TokenStore, pairs: CandidatePairs) -> Floats:
        """Return the log-odds of pairs, `(n_pairs,) float32`; `tokens` are the cross-encoder's."""
        evidence = self.evidence(tokens)
        return in_blocks(len(pairs), lambda block: self._estimate(evidence(pairs.where(block))))

    def evidence(self, tokens: TokenStore) -> Callable[[CandidatePairs], Floats]:
        """Return what tells the features of pairs, `(n_pairs, len(FEATURES)) float32`."""
        return partial(evidence, tokens, idf=np.array(self.idf, np.float32), kinds=self.kinds)


class StudentStep(Step):
    """The second step, which knows what the bands know and the logit of a student with these weights."""

    sha256: str

    def log_odds(self, bands: Bands, tokens: TokenStore, pairs: CandidatePairs, logit: Floats) -> Floats:
        """Return the log-odds of pairs, `(n_pairs,) float32`, to which the student gives `logit`."""
        evidence = bands.evidence(tokens)
        return in_blocks(
            len(pairs), lambda block: self._estimate(with_logit(evidence(pairs.where(block)), logit[block]))
        )


def with_logit(features: Floats, logit: Floats) -> Floats:
    """Return the evidence of pairs and what a student says of them, `(n_pairs, len(FEATURES) + 1)`."""
    return np.concatenate([features, logit[:, None]], axis=1)


def evidence(tokens: TokenStore, pairs: CandidatePairs, idf: Floats, kinds: Kinds) -> Floats:
    """Return the features of pairs, `(n_pairs, len(FEATURES)) float32`."""
    rows, at = np.unique(np.concatenate([pairs.left, pairs.right]), return_inverse=True)
    left, right = at.reshape(2, -1).astype(np.int64)
    near = CandidatePairs(left, right, pairs.cosine)
    return np.stack(list(_describe(tokens.take(rows), near, idf, kinds).values()), axis=1)


def _describe(tokens: TokenStore, pairs: CandidatePairs, idf: Floats, kinds: Kinds) -> Features:
    features: Features = {"cosine": pairs.cosine}
    features |= Wording(tokens, idf).describe(pairs)
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


def find_kinds(tokenizer: Tokenizer) -> dict[str, tuple[int, ...]]:
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


FILE = "cascade.json"


ANEW = "fit it anew with `dupmine calibrate --corpus`, or set rerank.bands: off and rerank.student: off"


class Shortcuts(Record):
    """What `dupmine calibrate --corpus` fitted beside the decision.

    It belongs to a bi-encoder and to a cross-encoder with its calibration (`cross_encoder`, see
    `decision.identity`), to candidates with a cosine of at least `floor`, and to a cross-encoder that
    accepts from a probability of `threshold`.
    """

    version: Literal[1] = 1
    bi_encoder: str
    cross_encoder: str
    floor: float
    threshold: float = Field(ge=0.0, le=1.0)
    candidates: int
    pairs: Fitted
    bands: Bands
    student: StudentStep | None

    def write(self, folder: Path) -> None:
        """Write `cascade.json` into a model's folder, whole or not at all."""
        write_fitted(self, folder / FILE)


def load_shortcuts(folder: Path) -> Shortcuts | None:
    """Return what lies beside a cross-encoder, None where there is none.

    Raises:
        ModelError: it cannot be read.
    """
    return read_fitted(Shortcuts, folder / FILE, ANEW)
