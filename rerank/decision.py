"""The corpus-aware decision: a pair is decided with its neighbours in the corpus.

Gradient-boosted trees over the cross-encoder's logit, the cosine, the words both texts share and the
neighbourhood of both. `dupmine calibrate --corpus` fits them and puts them beside the cross-encoder.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from ..errors import SettingsError
from ..inference.model_files import DECISION
from ..progress import Progress
from ..schema import Floats, ScoredPairs, TokenStore
from ..settings import RerankSettings
from .calibration import Calibration, Curve, FittedOn, Thresholds, weights_sha256
from .lexical import LexicalFeatures
from .neighbours import NeighbourFeatures
from .records import read_record, write_record
from .trees import predict_pairs

if TYPE_CHECKING:
    import lightgbm

log = logging.getLogger(__name__)

NO_DECISION = "none"  # in the place of a fingerprint

_FIT_AGAIN = "fit it again with `dupmine calibrate --corpus`, or set rerank.decision: pair"


class Decision(BaseModel):
    """What `dupmine calibrate --corpus` fitted.

    It belongs to a bi-encoder and to a cross-encoder with its calibration (`cross_encoder`, see
    `fingerprint_logits`), and to pairs with a cosine of at least `floor`. `trees` is LightGBM's text format,
    `idf` the inverse document frequency of each token of the cross-encoder's vocabulary; `curve` calibrates
    the log-odds of the trees.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    version: Literal[1] = 1
    bi_encoder: str
    cross_encoder: str
    floor: float
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

    @cached_property
    def _booster(self) -> lightgbm.Booster:
        import lightgbm

        return lightgbm.Booster(model_str=self.trees)

    def decide(self, pairs: ScoredPairs, tokens: TokenStore, progress: Progress) -> ScoredPairs:
        """Return the pairs with the decision's logits; `tokens` are the cross-encoder's, of all rows."""
        evidence = self._evidence(pairs, tokens)
        with progress.bar("decide", len(pairs), "pairs") as bar:
            raw = predict_pairs(
                self._booster, len(pairs), lambda block: evidence.matrix(pairs.where(block)), bar
            )
        return pairs.decided(self.curve.log_odds(raw).astype(np.float32))

    def shares(
        self, pairs: ScoredPairs, n_rows: int, at: int, tokens: TokenStore
    ) -> dict[str, tuple[float | None, float]]:
        """Return each feature's value and its share of the log-odds of the pair at a position.

        A value is None where a text has no such neighbour. `tokens` are those of its two texts. The shares
        are SHAP values (Lundberg et al., 2020) before calibration; with that of `base`, what an average pair
        has, they sum up to what the trees say.
        """
        pair, near = pairs.where(np.array([at])), pairs.where(pairs.cosine >= self.floor)
        first, second = np.array([0]), np.array([1])
        wording = LexicalFeatures(tokens, np.array(self.idf, np.float32))
        features = _own(pair) | NeighbourFeatures(n_rows, near).compute(pair, pair.pair_logit)
        features |= wording.compute(replace(pair, left=first, right=second))
        row = np.stack(list(features.values()), axis=1)
        said = np.asarray(self._booster.predict(row, pred_contrib=True))[0]
        return {
            name: (None if np.isnan(value) else float(value), float(share))
            for name, value, share in zip([*FEATURES, "base"], [*row[0], 1.0], said, strict=True)
        }

    def _evidence(self, pairs: ScoredPairs, tokens: TokenStore) -> PairFeatures:
        return PairFeatures(pairs, tokens, self.floor, np.array(self.idf, np.float32))

    def write(self, folder: Path) -> None:
        """Write `decision.json` into a model's folder, whole or not at all."""
        write_record(self, folder / DECISION)


class PairFeatures:
    """Features of pairs among all scored pairs of a corpus."""

    def __init__(self, pairs: ScoredPairs, tokens: TokenStore, floor: float, idf: Floats) -> None:
        """Take all scored pairs, sorted, the cross-encoder's tokens of all rows and its vocabulary's idf.

        Pairs with a cosine below `floor` make no neighbours.
        """
        near = pairs.cosine >= floor
        self._neighbours = NeighbourFeatures(len(tokens.lengths), pairs if near.all() else pairs.where(near))
        self._lexical = LexicalFeatures(tokens, idf)

    def compute(self, pairs: ScoredPairs) -> dict[str, Floats]:
        """Return the features of some pairs by name, each `(n_pairs,) float32`."""
        return _own(pairs) | self._neighbours.compute(pairs, pairs.pair_logit) | self._lexical.compute(pairs)

    def matrix(self, pairs: ScoredPairs) -> Floats:
        """Return the features of some pairs, `(n_pairs, len(FEATURES)) float32`."""
        return np.stack(list(self.compute(pairs).values()), axis=1)


def _own(pairs: ScoredPairs) -> dict[str, Floats]:
    return {"logit": pairs.pair_logit, "cosine": pairs.cosine}


def _names() -> tuple[str, ...]:
    nothing = TokenStore(np.empty(0, np.int32), np.zeros(1, np.int64), 0)
    return tuple(
        PairFeatures(ScoredPairs.none(), nothing, 0.0, np.zeros(1, np.float32)).compute(ScoredPairs.none())
    )


FEATURES = _names()


def find_decision(
    settings: RerankSettings, folder: Path, bi_encoder: str, calibration: Calibration | None
) -> Decision | None:
    """Return the decision to take with a cross-encoder in `folder` and a bi-encoder by its fingerprint.

    Raises:
        ModelError: the decision cannot be read.
        SettingsError: `rerank.decision: corpus` asks for one, and there is none for these models.
    """
    if settings.decision == "pair":
        return None
    found = load_decision(folder)
    if found is None:
        problem = f"model {settings.cross_encoder} has none"
    elif found.features != FEATURES:
        problem = f"{folder / DECISION} was fitted by another version of dupmine"
    elif found.bi_encoder != bi_encoder:
        problem = f"{folder / DECISION} was fitted with another bi-encoder"
    elif found.cross_encoder != fingerprint_logits(folder, calibration):
        problem = f"{folder / DECISION} was fitted with other weights or another calibration"
    else:
        return found
    if settings.decision == "corpus":
        raise SettingsError(
            f"setting rerank.decision: corpus needs a fitted decision, and {problem}: {_FIT_AGAIN}"
        )
    if found is not None:
        log.warning("each pair is decided on its own: %s: %s", problem, _FIT_AGAIN)
    return None


def fingerprint_logits(folder: Path, calibration: Calibration | None) -> str:
    """Return what the logits of a cross-encoder follow from: its weights and the curve over them."""
    curve = "none" if calibration is None else f"{calibration.curve.model_dump_json()}{calibration.shift}"
    return hashlib.sha256(f"{weights_sha256(folder)} {curve}".encode()).hexdigest()


def load_decision(folder: Path) -> Decision | None:
    """Return the decision beside a cross-encoder, None where there is none.

    Raises:
        ModelError: it cannot be read.
    """
    return read_record(Decision, folder / DECISION, _FIT_AGAIN)
