"""The cross-encoder: a logit for every pair of texts."""

from __future__ import annotations

import logging
import time
from functools import cached_property, partial

import numpy as np

from ..disk.work import Work, shard_name
from ..errors import ModelError
from ..inference.batches import Batch
from ..inference.device import DeviceConfig
from ..inference.int8.quantise import apply_precision
from ..inference.locate import fingerprint, locate_model
from ..inference.runner import BatchRunner
from ..progress import Bar, Progress
from ..schema import CandidatePairs, Floats, Rows, ScoredPairs, TokenStore
from ..settings import RerankSettings
from .calibration import find_calibration, fingerprint_logits
from .classifier import Classifier
from .heads import find_head

log = logging.getLogger(__name__)

SHARD = 8_192  # pairs on a CPU
_LONG_RUN = 5  # minutes


class CrossEncoder:
    """Any Hugging Face sequence classifier over pairs, read through its head."""

    def __init__(self, settings: RerankSettings, device: DeviceConfig) -> None:
        """Load the model.

        Raises:
            ModelError: it cannot be found or loaded, has no trained classification head, or its calibration
                cannot be used.
            SettingsError: its labels or its calibration do not fit `rerank.head`, or it cannot run in int8.
        """
        name = self.name = settings.cross_encoder
        self.folder = locate_model(name)
        self.model = Classifier(name, self.folder, device)
        self.sha256 = fingerprint(self.folder)
        self.precision = apply_precision(name, self.model, self.sha256, device)
        self.head = find_head(name, self.model.config, self.model.dim, settings)
        self.calibration = find_calibration(self.folder, self.head) if settings.calibrate else None
        self.orders = 2 if self.head.both_orders else 1  # forward passes per pair
        self.tokenizer = self.model.tokenizer
        self.runner = BatchRunner(self.model, self.precision, device)
        self.max_tokens = self.runner.max_tokens

    @cached_property
    def logits_sha256(self) -> str:
        """The fingerprint of its logits; see `fingerprint_logits`."""
        return fingerprint_logits(self.folder, self.calibration)

    @property
    def shard(self) -> int:
        """Pairs that are scored, and written to disk, at a time."""
        return SHARD * self.runner.batch_factor

    def score(
        self, tokens: TokenStore, left: Rows, right: Rows, progress: Progress, *, fill: bool = True
    ) -> Floats:
        """Return the logit of each pair, `(n_pairs,) float32`; with two orders, both combined.

        It is calibrated if the model is, so that its logistic is the probability. Without `fill` small
        batches take less time, and the last bits of a logit depend on the size of its batch.

        Raises:
            ModelError: a logit is not a number.
        """
        with progress.bar("score", self.orders * len(left), "pairs") as bar:
            logit = self._one_order(tokens, (left, right), bar, fill)
            if self.orders == 2:
                logit = self.head.combine(logit, self._one_order(tokens, (right, left), bar, fill))
        if n_bad := int(np.isnan(logit).sum()):
            raise ModelError(
                f"model {self.name} gives no number (NaN) for {n_bad:,} of {len(logit):,} pairs: take "
                "another model, or compute.precision=fp32"
            )
        return logit if self.calibration is None else self.calibration.logits(logit)

    def _one_order(self, tokens: TokenStore, pair: tuple[Rows, Rows], bar: Bar, fill: bool) -> Floats:
        logits = np.empty(len(pair[0]), np.float32)

        def put(batch: Batch, outputs: Floats) -> None:
            logits[batch] = self.head.logits(outputs)

        for done in self.runner.run(tokens, pair, put, fill=fill):
            bar.update(done)
        return logits


def score_pairs(
    scorer: CrossEncoder,
    tokens: TokenStore,
    candidates: CandidatePairs,
    progress: Progress,
    work: Work | None = None,
) -> ScoredPairs:
    """Score every candidate once, in the orientation (left, right); with `work` shard by shard."""
    ends = candidates.left, candidates.right
    logit = (
        scorer.score(tokens, *ends, progress)
        if work is None
        else _score_shards(scorer, tokens, ends, progress, work)
    )
    return ScoredPairs.from_logits(*ends, candidates.cosine, logit)


def _warn_of_long_run(n: int, seconds: float, share: float) -> None:
    """Say how long `n` pairs will take, if that is long, after a share of their tokens took some seconds."""
    minutes = seconds / max(share, 1e-9) / 60
    if minutes >= _LONG_RUN:
        log.warning(
            "%d pairs to score, about %.0f minutes; a higher retrieval.floor makes them fewer", n, minutes
        )


def _score_shards(
    scorer: CrossEncoder, tokens: TokenStore, ends: tuple[Rows, Rows], progress: Progress, work: Work
) -> Floats:
    """Return the logit of each pair; pairs of similar length share a shard."""
    lengths = tokens.lengths[ends[0]] + tokens.lengths[ends[1]]
    order = np.argsort(-lengths, kind="stable")
    logit = np.empty(len(order), np.float32)
    started, found = time.perf_counter(), work.found
    with progress.bar("score", scorer.orders * len(order), "pairs") as bar:
        for start in range(0, len(order), scorer.shard):
            at = order[start : start + scorer.shard]
            pair = ends[0][at], ends[1][at]
            texts = tokens.take(np.concatenate(pair))
            score = partial(scorer.score, tokens, *pair, progress.within(bar))
            logit[at] = work.array(shard_name("scores", texts.offsets, texts.ids), score)
            bar.update(scorer.orders * (start + len(at)) - bar.n)
            if start == 0 and work.found == found:
                share = lengths[at].sum() / max(lengths.sum(), 1)
                _warn_of_long_run(len(order), time.perf_counter() - started, share)
    return logit
