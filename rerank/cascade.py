"""Stage 2 in steps: what is clear is decided by cheaper means, and the cross-encoder reads the rest.

First the bands over what stage 1 knows of a pair, then the student with that, then the cross-encoder itself.
Each step sees nothing but the pair, so a store decides it as a run does. `dupmine calibrate --corpus` finds
from where on a pair is clear and puts that beside the cross-encoder.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import betaincinv

from ..disk.work import Work
from ..inference.device import DeviceConfig
from ..progress import SILENT, Progress
from ..schema import (
    BANDS,
    CROSS_ENCODER,
    DECIDERS,
    STUDENT,
    CandidatePairs,
    Floats,
    ScoredPairs,
    TokenStore,
    probabilities,
)
from ..settings import RerankSettings
from .bands import ANEW, FEATURES, FILE, Bands, Bounds, Shortcuts, Step, StudentStep, load_shortcuts
from .calibration import HasThresholds, choose_threshold, reference_threshold
from .decision import Decision, identity
from .scorer import CrossEncoder, PairScorer, score_pairs
from .student import FOLDER, load_student, student_sha256

log = logging.getLogger(__name__)

NO_CASCADE = "none"  # in the place of a fingerprint

_AUDITED = 10  # of so many skipped pairs one is audited at most
_EDGE = 1e-9
_INTERVAL = (0.025, 0.975)


@dataclass(frozen=True, slots=True)
class Cascade:
    """The steps of stage 2; without bands and student the cross-encoder scores every pair.

    Pairs with a cosine below `floor`, which only clustering asks for, are the cross-encoder's.
    """

    scorer: PairScorer
    floor: float = -1.0
    threshold: float = 0.5
    bands: Bands | None = None
    student: PairScorer | None = None
    student_step: StudentStep | None = None

    def score(
        self, tokens: TokenStore, candidates: CandidatePairs, progress: Progress, work: Work | None = None
    ) -> ScoredPairs:
        """Score every candidate once, in the orientation (left, right); with `work` shard by shard."""
        logit = np.empty(len(candidates), np.float32)
        by = np.full(len(candidates), DECIDERS.index(CROSS_ENCODER), np.int8)
        last = np.full(len(candidates), -np.inf, np.float32)  # what the step before said
        unclear = np.flatnonzero(candidates.cosine >= np.float32(self.floor))
        for name, bounds, log_odds in self._steps(tokens, progress, work):
            asked = unclear[bounds.worth(last[unclear])]
            last[asked] = said = log_odds(candidates.where(asked))
            clear = bounds.clear(said)
            logit[asked[clear]], by[asked[clear]] = said[clear], DECIDERS.index(name)
            unclear = asked[~clear]
        rest = np.flatnonzero(by == DECIDERS.index(CROSS_ENCODER))
        logit[rest] = score_pairs(self.scorer, tokens, candidates.where(rest), progress, work).logit
        return ScoredPairs.from_logits(candidates.left, candidates.right, candidates.cosine, logit, by)

    def _steps(
        self, tokens: TokenStore, progress: Progress, work: Work | None
    ) -> Iterator[tuple[str, Bounds, Callable[[CandidatePairs], Floats]]]:
        bands, student, step = self.bands, self.student, self.student_step
        if bands is None:
            return
        if bands.bounds.any:
            yield BANDS, bands.bounds, lambda pairs: bands.log_odds(tokens, pairs)
        if student is not None and step is not None:
            apart = None if work is None else work.with_prefix(STUDENT)

            def by_student(pairs: CandidatePairs) -> Floats:
                logit = score_pairs(student, tokens, pairs, progress, apart).logit
                return step.log_odds(bands, tokens, pairs, logit)

            yield STUDENT, step.bounds, by_student

    @property
    def _used(self) -> dict[str, Step]:
        steps: dict[str, Step | None] = {BANDS: self.bands, STUDENT: self.student_step}
        return {name: step for name, step in steps.items() if step is not None and step.bounds.any}

    @property
    def sha256(self) -> str:
        """The SHA-256 of what decides before the cross-encoder."""
        if not self._used:
            return NO_CASCADE
        parts = [None if of is None else of.model_dump_json() for of in (self.bands, self.student_step)]
        return hashlib.sha256(f"{self.floor} {parts}".encode()).hexdigest()

    @property
    def promised(self) -> float:
        """The share of skipped pairs that the cross-encoder decides otherwise, by the fit."""
        used = [step.bounds for step in self._used.values()]
        skipped = sum(bounds.decided for bounds in used)
        return sum(bounds.decided * bounds.otherwise for bounds in used) / max(skipped, _EDGE)

    def count(self, pairs: ScoredPairs) -> dict[str, int]:
        """Count the pairs that each step scored; nothing where there is but one."""
        if not self._used:
            return {}
        return {
            f"pairs_by_{name.replace('-', '_')}": int((pairs.scored_by == DECIDERS.index(name)).sum())
            for name in (*self._used, CROSS_ENCODER)
        }

    def audit(
        self, pairs: ScoredPairs, tokens: TokenStore, most: int, progress: Progress = SILENT
    ) -> dict[str, Any]:
        """Have the cross-encoder score a sample of what it was spared, and return what that says.

        At most `most` pairs, and a tenth of them, are drawn by a seed that follows from their texts. What
        `otherwise` says of is the verdict at the threshold of the fit.
        """
        skipped = np.flatnonzero(pairs.scored_by != DECIDERS.index(CROSS_ENCODER))
        n = min(most, -(-len(skipped) // _AUDITED))
        if not n:
            return {}
        seed = int.from_bytes(hashlib.sha256(tokens.ids.tobytes()).digest()[:8], "little")
        drawn = np.sort(np.random.default_rng(seed).choice(skipped, n, replace=False))
        own = score_pairs(self.scorer, tokens, pairs.where(drawn), progress).logit
        verdicts = (probabilities(of) >= np.float32(self.threshold) for of in (own, pairs.pair_logit[drawn]))
        found = estimate(int(np.not_equal(*verdicts).sum()), n)
        if found["interval"][0] > self.promised:
            log.warning(
                "the cross-encoder decides %.2f%% (%.2f%% to %.2f%%) of the pairs it was spared otherwise, "
                "and %.2f%% were expected: these texts differ from those of the fit; %s",
                *(100 * value for value in (found["share"], *found["interval"], self.promised)),
                ANEW,
            )
        return {"pairs": n, **found, "expected": self.promised}


def estimate(hits: int, n: int) -> dict[str, Any]:
    """Return a share and its 95 % interval (Clopper and Pearson, 1934)."""
    low = float(betaincinv(hits, n - hits + 1, _INTERVAL[0])) if hits else 0.0
    high = float(betaincinv(hits + 1, n - hits, _INTERVAL[1])) if hits < n else 1.0
    return {"otherwise": hits, "share": hits / n, "interval": [low, high]}


def find_cascade(
    settings: RerankSettings,
    scorer: CrossEncoder,
    bi_encoder: str,
    fitted: HasThresholds | None,
    compute: DeviceConfig,
) -> Cascade:
    """Return the steps to take with a cross-encoder and a bi-encoder by its fingerprint.

    `fitted` has the thresholds in force: those of the decision, or of the calibration. Where nothing fitting
    lies beside the cross-encoder, it scores all pairs.

    Raises:
        ModelError: what is there cannot be read.
    """
    found = _fitting(settings, scorer, bi_encoder)
    if found is None:
        return Cascade(scorer)
    threshold, _ = choose_threshold(settings, fitted)
    reference = reference_threshold(fitted)
    safe = {"refuse": threshold >= reference - _EDGE, "accept": threshold <= reference + _EDGE}
    if not all(safe.values()):
        log.info("a threshold of %g instead of %g: only clear %s are decided before the cross-encoder",
                 threshold, reference, "refusals" if safe["refuse"] else "duplicates")  # fmt: skip
    usable = safe | {"decision": isinstance(fitted, Decision)}
    bands = found.bands.bounded(**usable)
    step = _student_step(settings, scorer.folder, found)
    if step is not None and not (step := step.bounded(**usable)).bounds.any:
        step = None
    return Cascade(
        scorer,
        found.floor,
        found.threshold,
        bands if settings.bands == "auto" else bands.bounded(decision=False, refuse=False, accept=False),
        None if step is None else load_student(scorer.folder / FOLDER, scorer.folder, compute),
        step,
    )


def _fitting(settings: RerankSettings, scorer: CrossEncoder, bi_encoder: str) -> Shortcuts | None:
    if settings.bands == settings.student == "off":
        return None
    found, path = load_shortcuts(scorer.folder), scorer.folder / FILE
    if found is None:
        return None
    if found.bands.features != FEATURES:
        problem = f"{path} was fitted by another version of dupmine"
    elif found.bi_encoder != bi_encoder:
        problem = f"{path} was fitted with another bi-encoder"
    elif found.cross_encoder != identity(scorer.folder, scorer.calibration):
        problem = f"{path} was fitted with other weights or another calibration"
    else:
        return found
    log.warning("the cross-encoder scores every pair: %s: %s", problem, ANEW)
    return None


def _student_step(settings: RerankSettings, folder: Path, found: Shortcuts) -> StudentStep | None:
    if settings.student == "off" or found.student is None:
        return None
    if student_sha256(folder / FOLDER) != found.student.sha256:
        log.warning("no student: %s was fitted with another one than lies beside it: %s", folder / FILE, ANEW)
        return None
    return found.student
