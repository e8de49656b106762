"""Stage 2 in two steps: the bands decide the pairs they are sure of, and the cross-encoder reads the rest.

Both see nothing but the pair, so a store decides it as a run does. `dupmine calibrate --corpus` finds the
bounds of the bands and writes them beside the cross-encoder.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import Field
from scipy.special import betaincinv

from ..disk.work import Work
from ..inference.layout import LONGEST_INPUT
from ..inference.model_files import CASCADE
from ..progress import SILENT, Progress
from ..schema import (
    BANDS,
    CROSS_ENCODER,
    DECIDERS,
    UNREAD,
    CandidatePairs,
    Flags,
    ScoredPairs,
    TokenStore,
    probabilities,
)
from ..settings import RerankSettings
from .bands import FEATURES, Bands
from .calibration import Calibration
from .decision import Decision
from .records import FittedOn, FittedToModels
from .scorer import CrossEncoder, score_pairs
from .thresholds import choose_threshold, reference_threshold
from .unread import REFUSED, find_unread

log = logging.getLogger(__name__)

NO_CASCADE = "none"  # in the place of a fingerprint

_BY_BANDS, _BY_CROSS_ENCODER, _UNREAD = map(DECIDERS.index, (BANDS, CROSS_ENCODER, UNREAD))
_AUDITED = 10  # at most one of so many skipped pairs is audited
_EDGE = 1e-9
_INTERVAL = (0.025, 0.975)


class FittedCascade(FittedToModels):
    """What `dupmine calibrate --corpus` fitted beside the decision.

    It belongs to a cross-encoder that accepts from a probability of `threshold`.
    """

    file = CASCADE
    advice = "fit it again with `dupmine calibrate --corpus`, or set rerank.bands: off"

    version: Literal[2] = 2
    threshold: float = Field(ge=0.0, le=1.0)
    candidates: int
    pairs: FittedOn
    bands: Bands


@dataclass(frozen=True, slots=True)
class Cascade:
    """The two steps of stage 2; without bands the cross-encoder scores every pair.

    The bands have at least one bound. Pairs with a cosine below `floor`, which only clustering asks for, are
    left to the cross-encoder; `threshold` is its own of the fit. Pairs that the models cannot tell apart are
    refused by both; of each text they read `max_tokens` tokens.
    """

    scorer: CrossEncoder
    bands: Bands | None = None
    floor: float = -1.0
    threshold: float = 0.5
    max_tokens: int = LONGEST_INPUT

    def score(
        self, tokens: TokenStore, candidates: CandidatePairs, progress: Progress, work: Work | None = None
    ) -> ScoredPairs:
        """Score every candidate once, in the orientation (left, right); with `work` shard by shard."""
        logit = np.empty(len(candidates), np.float32)
        scored_by = np.full(len(candidates), _BY_CROSS_ENCODER, np.int8)
        if self.bands is not None:
            near = np.flatnonzero(candidates.cosine >= np.float32(self.floor))
            log_odds = self.bands.log_odds(tokens, candidates.where(near))
            decided = self.bands.bounds.decide(log_odds)
            logit[near[decided]], scored_by[near[decided]] = log_odds[decided], _BY_BANDS
        unread = self.find_unread(tokens, candidates)
        logit[unread], scored_by[unread] = REFUSED, _UNREAD
        rest = np.flatnonzero(scored_by == _BY_CROSS_ENCODER)
        logit[rest] = score_pairs(self.scorer, tokens, candidates.where(rest), progress, work).logit
        return ScoredPairs.from_logits(candidates.left, candidates.right, candidates.cosine, logit, scored_by)

    def find_unread(self, tokens: TokenStore, pairs: CandidatePairs) -> Flags:
        """Return which pairs the models cannot tell apart, `(n_pairs,) bool`."""
        return find_unread(self.scorer.tokenizer, self.max_tokens, tokens, pairs)

    @property
    def sha256(self) -> str:
        """The SHA-256 of what decides before the cross-encoder."""
        if self.bands is None:
            return NO_CASCADE
        return hashlib.sha256(f"{self.floor} {self.bands.model_dump_json()}".encode()).hexdigest()

    def count(self, pairs: ScoredPairs) -> dict[str, int]:
        """Count the pairs that each step scored, and those that the models cannot tell apart."""
        steps = (_UNREAD,) if self.bands is None else (_BY_BANDS, _BY_CROSS_ENCODER, _UNREAD)
        names = {step: f"pairs_by_{DECIDERS[step].replace('-', '_')}" for step in steps}
        names[_UNREAD] = "pairs_unread"
        return {name: int((pairs.scored_by == step).sum()) for step, name in names.items()}

    def audit(
        self, pairs: ScoredPairs, tokens: TokenStore, most: int, progress: Progress = SILENT
    ) -> dict[str, Any]:
        """Score a sample of the skipped pairs with the cross-encoder, and return how often it disagrees.

        At most `most` pairs, and a tenth of the skipped ones, are drawn by a seed that follows from the
        texts. The verdicts are those at the threshold of the fit.
        """
        skipped = np.flatnonzero(pairs.scored_by == _BY_BANDS)
        n = min(most, -(-len(skipped) // _AUDITED))
        if self.bands is None or not n:
            return {}
        seed = int.from_bytes(hashlib.sha256(tokens.ids.tobytes()).digest()[:8], "little")
        drawn = np.sort(np.random.default_rng(seed).choice(skipped, n, replace=False))
        logits = (
            score_pairs(self.scorer, tokens, pairs.where(drawn), progress).logit,
            pairs.pair_logit[drawn],
        )
        verdicts = (probabilities(logit) >= np.float32(self.threshold) for logit in logits)
        estimate = estimate_share(int(np.not_equal(*verdicts).sum()), n)
        expected = self.bands.bounds.otherwise
        if estimate["interval"][0] > expected:
            log.warning(
                "the cross-encoder decides %.2f%% (%.2f%% to %.2f%%) of the skipped pairs otherwise, and "
                "%.2f%% were expected: these texts differ from those of the fit; %s",
                *(100 * value for value in (estimate["share"], *estimate["interval"], expected)),
                FittedCascade.advice,
            )
        return {"pairs": n, **estimate, "expected": expected}


def estimate_share(hits: int, n: int) -> dict[str, Any]:
    """Return a share and its 95 % interval (Clopper and Pearson, 1934)."""
    low = float(betaincinv(hits, n - hits + 1, _INTERVAL[0])) if hits else 0.0
    high = float(betaincinv(hits + 1, n - hits, _INTERVAL[1])) if hits < n else 1.0
    return {"otherwise": hits, "share": hits / n, "interval": [low, high]}


def find_cascade(
    settings: RerankSettings, scorer: CrossEncoder, bi_encoder: str, fitted: Calibration | Decision | None
) -> Cascade:
    """Return the steps for a cross-encoder and a bi-encoder with this fingerprint.

    `fitted` has the thresholds in force: those of the decision, or of the calibration. Without a cascade that
    was fitted to these models the cross-encoder scores all pairs.

    Raises:
        ModelError: the cascade cannot be read.
    """
    cascade = _find_fitted(settings, scorer, bi_encoder)
    if cascade is None:
        return Cascade(scorer)
    threshold, _ = choose_threshold(settings, fitted)
    reference = reference_threshold(fitted)
    safe = {"refuse": threshold >= reference - _EDGE, "accept": threshold <= reference + _EDGE}
    if not all(safe.values()):
        log.info("a threshold of %g instead of %g: the bands %s only",
                 threshold, reference, "refuse" if safe["refuse"] else "accept")  # fmt: skip
    bands = cascade.bands.restrict(decision=isinstance(fitted, Decision), **safe)
    return Cascade(scorer, bands, cascade.floor, cascade.threshold) if bands.bounds.any else Cascade(scorer)


def _find_fitted(settings: RerankSettings, scorer: CrossEncoder, bi_encoder: str) -> FittedCascade | None:
    cascade = None if settings.bands == "off" else FittedCascade.load(scorer.folder)
    if cascade is None:
        return None
    problem = cascade.find_mismatch(
        cascade.bands,
        scorer.folder,
        features=FEATURES,
        bi_encoder=bi_encoder,
        cross_encoder=scorer.logits_sha256,
        n_tokens=scorer.tokenizer.get_vocab_size(),
    )
    if problem is not None:
        log.warning("the cross-encoder scores every pair: %s: %s", problem, cascade.advice)
        return None
    return cascade
