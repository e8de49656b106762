"""The corpus-aware decision: each pair is decided with the neighbours of its texts.

Gradient-boosted trees over the cross-encoder's logit, the cosine, lexical features and features of the
neighbours. `dupmine calibrate --corpus` fits them and writes them beside the cross-encoder.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from pydantic import model_validator

from ..errors import SettingsError
from ..inference.model_files import DECISION
from ..progress import Progress
from ..schema import Floats, Rows, ScoredPairs, TokenStore
from ..settings import RerankSettings
from .curves import Curve
from .lexical import LexicalFeatures
from .neighbours import NeighbourFeatures
from .records import FittedOn, FittedToModels
from .thresholds import Thresholds
from .tree_text import check_trees
from .trees import Features, load_trees, predict_log_odds, stack_features

if TYPE_CHECKING:
    import lightgbm

log = logging.getLogger(__name__)

NO_DECISION = "none"  # in the place of a fingerprint


class Decision(FittedToModels):
    """What `dupmine calibrate --corpus` fitted.

    `trees` is LightGBM's text format, `idf` the inverse document frequency of each token of the
    cross-encoder's vocabulary; `curve` calibrates the log-odds of the trees.
    """

    file = DECISION
    advice = "fit it again with `dupmine calibrate --corpus`, or set rerank.decision: pair"

    version: Literal[1] = 1
    corpus_texts: int
    pairs: FittedOn
    features: tuple[str, ...]
    curve: Curve
    ece: dict[str, float]
    average_precision: dict[str, float]
    thresholds: Thresholds
    idf: tuple[float, ...]
    trees: str

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of all that decides."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @property
    def _booster(self) -> lightgbm.Booster:
        return load_trees(self.trees, len(self.features))

    @model_validator(mode="after")
    def _has_trees(self) -> Self:
        check_trees(self.trees, len(self.features))
        return self

    def decide(self, pairs: ScoredPairs, tokens: TokenStore, progress: Progress) -> ScoredPairs:
        """Return the pairs with the decision's logits; `tokens` are the cross-encoder's, of all rows."""
        features = PairFeatures(pairs, tokens, self.floor, np.array(self.idf, np.float32))

        def table(block: Rows) -> Floats:
            return features.table(pairs.where(block))

        with progress.bar("decide", len(pairs), "pairs") as bar:
            log_odds = predict_log_odds(self._booster, len(pairs), table, bar)
        return pairs.decided(self.curve.log_odds(log_odds).astype(np.float32))

    def contributions(
        self, pairs: ScoredPairs, n_rows: int, at: int, tokens: TokenStore
    ) -> dict[str, tuple[float | None, float]]:
        """Return the value of each feature of the pair at a position, and what it adds to the log-odds.

        A value is None where a text has no such neighbour. `tokens` are those of its two texts. The
        contributions are SHAP values (Lundberg et al., 2020), before calibration; with `base`, the log-odds
        of an average pair, they add up to those of the trees.
        """
        pair, near = pairs.where(np.array([at])), pairs.where(pairs.cosine >= self.floor)
        lexical = LexicalFeatures(tokens, np.array(self.idf, np.float32))
        features = _own_features(pair) | NeighbourFeatures(n_rows, near).compute(pair)
        features |= lexical.compute(replace(pair, left=np.array([0]), right=np.array([1])))
        table = stack_features(features)
        added = np.asarray(self._booster.predict(table, pred_contrib=True))[0]
        return {
            name: (None if np.isnan(value) else float(value), float(contribution))
            for name, value, contribution in zip([*FEATURES, "base"], [*table[0], 1.0], added, strict=True)
        }


class PairFeatures:
    """Features of pairs among all scored pairs of a corpus."""

    def __init__(self, pairs: ScoredPairs, tokens: TokenStore, floor: float, idf: Floats) -> None:
        """Take all scored pairs, sorted, the cross-encoder's tokens of all rows and its vocabulary's idf.

        Pairs with a cosine below `floor` make no neighbours.
        """
        near = pairs.cosine >= floor
        self._neighbours = NeighbourFeatures(len(tokens.lengths), pairs if near.all() else pairs.where(near))
        self._lexical = LexicalFeatures(tokens, idf)

    def compute(self, pairs: ScoredPairs) -> Features:
        """Return the features of some pairs."""
        return _own_features(pairs) | self._neighbours.compute(pairs) | self._lexical.compute(pairs)

    def table(self, pairs: ScoredPairs) -> Floats:
        """Return the features of some pairs, `(n_pairs, len(FEATURES)) float32`."""
        return stack_features(self.compute(pairs))


def _own_features(pairs: ScoredPairs) -> Features:
    return {"logit": pairs.pair_logit, "cosine": pairs.cosine}


def _feature_names() -> tuple[str, ...]:
    no_tokens, no_pairs = TokenStore(np.empty(0, np.int32), np.zeros(1, np.int64), 0), ScoredPairs.none()
    return tuple(PairFeatures(no_pairs, no_tokens, 0.0, np.zeros(1, np.float32)).compute(no_pairs))


FEATURES = _feature_names()


def find_decision(
    settings: RerankSettings, folder: Path, bi_encoder: str, cross_encoder: str, n_tokens: int
) -> Decision | None:
    """Return the decision for a cross-encoder in `folder` and a bi-encoder, None to decide pair by pair.

    `bi_encoder` is its fingerprint, `cross_encoder` that of the cross-encoder's logits, and
    `n_tokens` the size of its vocabulary.

    Raises:
        ModelError: the decision cannot be read.
        SettingsError: `rerank.decision: corpus` needs one, and there is none for these models.
    """
    if settings.decision == "pair":
        return None
    decision = Decision.load(folder)
    problem: str | None = f"model {settings.cross_encoder} has none"
    if decision is not None:
        problem = decision.find_mismatch(
            decision,
            folder,
            features=FEATURES,
            bi_encoder=bi_encoder,
            cross_encoder=cross_encoder,
            n_tokens=n_tokens,
        )
        if problem is None:
            return decision
    if settings.decision == "corpus":
        raise SettingsError(
            f"setting rerank.decision: corpus needs a fitted decision, and {problem}: {Decision.advice}"
        )
    if decision is not None:
        log.warning("each pair is decided on its own: %s: %s", problem, decision.advice)
    return None
