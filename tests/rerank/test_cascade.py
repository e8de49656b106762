"""The cascade: which step decides a pair, what is found beside a model, and the audit."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from dupmine.disk.work import Work
from dupmine.errors import ModelError
from dupmine.inference.device import resolve_device
from dupmine.inference.locate import fingerprint
from dupmine.inference.model_files import CASCADE
from dupmine.inference.tokens import tokenise
from dupmine.progress import SILENT
from dupmine.rerank.bands import Bands
from dupmine.rerank.cascade import NO_CASCADE, Cascade, FittedCascade, estimate_share, find_cascade
from dupmine.rerank.scorer import CrossEncoder, score_pairs
from dupmine.schema import (
    BANDS,
    CROSS_ENCODER,
    DECIDERS,
    CandidatePairs,
    TokenStore,
    probabilities,
)
from dupmine.settings import ComputeSettings, RerankSettings

from ..helpers.cascades import bands_by_cosine, fitted_cascade
from ..helpers.cascades import with_cascade as put
from ..helpers.stores import POOL
from ..helpers.tiny_models import TinyModels

FLOOR = 0.6


@dataclass(frozen=True, slots=True)
class Kit:
    """A cross-encoder, and pairs of texts with made-up cosines."""

    scorer: CrossEncoder
    tokens: TokenStore
    pairs: CandidatePairs

    @property
    def bands(self) -> Bands:
        """Bands that refuse below a cosine of 0.68 or so and accept above 0.82."""
        return bands_by_cosine(0.75, -1.5, 1.5, n_tokens=self.scorer.tokenizer.get_vocab_size())

    @property
    def cascade(self) -> Cascade:
        """These bands and the cross-encoder."""
        return Cascade(self.scorer, self.bands, FLOOR)


@pytest.fixture(scope="module")
def kit(tiny: TinyModels) -> Kit:
    compute = resolve_device(ComputeSettings(device="cpu", precision="fp32", threads=1))
    scorer = CrossEncoder(RerankSettings(cross_encoder=tiny["sigmoid"]), compute)
    tokens = tokenise(POOL, scorer.tokenizer, max_tokens=32, progress=SILENT)
    left, right = np.triu_indices(len(POOL), 1)
    cosine = np.random.default_rng(0).uniform(0.5, 1, len(left)).astype(np.float32)
    return Kit(scorer, tokens, CandidatePairs(left, right, cosine))


def test_the_bands_decide_and_the_cross_encoder_reads_the_rest(kit: Kit) -> None:
    pairs = kit.cascade.score(kit.tokens, kit.pairs, SILENT)
    np.testing.assert_array_equal(pairs.decided_by, pairs.scored_by)
    by_bands = kit.bands.log_odds(kit.tokens, kit.pairs)
    by_cross_encoder = score_pairs(kit.scorer, kit.tokens, kit.pairs, SILENT).logit
    decided = (kit.pairs.cosine >= FLOOR) & ((by_bands < -1.5) | (by_bands >= 1.5))
    expected = np.where(decided, BANDS, CROSS_ENCODER)
    np.testing.assert_array_equal(np.array(DECIDERS)[pairs.scored_by], expected)
    counts = [int(decided.sum()), int((~decided).sum())]
    assert min(counts) > 50
    expected_counts = {"pairs_by_bands": counts[0], "pairs_by_cross_encoder": counts[1], "pairs_unread": 0}
    assert kit.cascade.count(pairs) == expected_counts
    logit = np.where(decided, by_bands, by_cross_encoder)
    np.testing.assert_array_equal(pairs.logit, logit)
    np.testing.assert_array_equal(pairs.pair_logit, logit)
    np.testing.assert_array_equal(pairs.probability, probabilities(logit))


def test_without_steps_it_is_the_cross_encoder(kit: Kit) -> None:
    alone = Cascade(kit.scorer)
    pairs = alone.score(kit.tokens, kit.pairs, SILENT)
    np.testing.assert_array_equal(pairs.logit, score_pairs(kit.scorer, kit.tokens, kit.pairs, SILENT).logit)
    assert (alone.sha256, alone.count(pairs)) == (NO_CASCADE, {"pairs_unread": 0})
    assert alone.audit(pairs, kit.tokens, 1000) == {}


def test_a_pair_goes_the_same_way_alone(kit: Kit) -> None:
    together = kit.cascade.score(kit.tokens, kit.pairs, SILENT)
    for i in range(0, len(kit.pairs), 97):
        alone = kit.cascade.score(kit.tokens, kit.pairs.where(np.array([i])), SILENT)
        assert (alone.logit[0], alone.scored_by[0]) == (together.logit[i], together.scored_by[i])


def test_shards_are_found_again(kit: Kit, tmp_path: Path) -> None:
    expected = kit.cascade.score(kit.tokens, kit.pairs, SILENT).logit
    first = Work(tmp_path)
    np.testing.assert_array_equal(kit.cascade.score(kit.tokens, kit.pairs, SILENT, first).logit, expected)
    again = Work(tmp_path)
    np.testing.assert_array_equal(kit.cascade.score(kit.tokens, kit.pairs, SILENT, again).logit, expected)
    assert (first.found, first.made, again.found, again.made) == (0, 1, 1, 0)


def test_the_audit_says_how_often_the_cross_encoder_differs(
    kit: Kit, caplog: pytest.LogCaptureFixture
) -> None:
    cascade = kit.cascade
    pairs = cascade.score(kit.tokens, kit.pairs, SILENT)
    skipped = np.flatnonzero(pairs.scored_by != DECIDERS.index(CROSS_ENCODER))
    own = score_pairs(kit.scorer, kit.tokens, kit.pairs, SILENT).probability[skipped]
    share = float(np.mean((own >= 0.5) != (pairs.probability[skipped] >= 0.5)))
    assert 0.1 < share < 0.9  # random weights agree by chance
    audit = cascade.audit(pairs, kit.tokens, 1000)
    n = -(-len(skipped) // 10)
    assert (audit["pairs"], audit["share"]) == (n, audit["otherwise"] / n)
    assert audit["expected"] == pytest.approx(0.01)
    assert audit["interval"][0] < share < audit["interval"][1]
    assert "of the skipped pairs otherwise" in caplog.text
    assert cascade.audit(pairs, kit.tokens, 7)["pairs"] == 7
    assert cascade.audit(pairs, kit.tokens, 7) == cascade.audit(pairs, kit.tokens, 7)
    assert cascade.audit(pairs, kit.tokens, 0) == {}


def test_the_interval_of_the_audit() -> None:
    assert estimate_share(0, 100)["interval"] == [0.0, pytest.approx(0.0362, abs=1e-4)]
    assert estimate_share(100, 100)["interval"] == [pytest.approx(0.9638, abs=1e-4), 1.0]
    assert estimate_share(5, 100)["interval"] == [
        pytest.approx(0.0164, abs=1e-4),
        pytest.approx(0.1128, abs=1e-4),
    ]


@pytest.fixture
def model(tiny: TinyModels, tmp_path: Path) -> Path:
    """A cross-encoder with bands for the bi-encoder `static`."""
    cascade = fitted_cascade(bands_by_cosine(0.75, -1.5, 1.5), floor=FLOOR)
    return put(Path(tiny["sigmoid"]), Path(tiny["static"]), cascade, tmp_path / "model")


def find(model: Path, tiny: TinyModels, bi_encoder: str = "static", **own: object) -> Cascade:
    """Find the cascade of a model as a run does."""
    settings = RerankSettings.model_validate({"cross_encoder": str(model), **own})
    compute = resolve_device(ComputeSettings(device="cpu", precision="fp32", threads=1))
    scorer = CrossEncoder(settings, compute)
    return find_cascade(settings, scorer, fingerprint(Path(tiny[bi_encoder])), None)


def test_what_is_found_beside_a_model(
    model: Path, tiny: TinyModels, caplog: pytest.LogCaptureFixture
) -> None:
    cascade = find(model, tiny)
    assert cascade.bands is not None
    assert (cascade.bands.bounds.lower, cascade.bands.bounds.upper, cascade.floor) == (-1.5, 1.5, FLOOR)
    assert find(model, tiny, bands="off").sha256 == NO_CASCADE
    assert not caplog.records
    assert find(model, tiny, "bi-encoder").sha256 == NO_CASCADE
    assert "scores every pair" in caplog.text
    assert "fitted with another bi-encoder" in caplog.text


def test_only_the_bound_that_is_safe_is_used(
    model: Path, tiny: TinyModels, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    at_fit = find(model, tiny)
    for threshold, edges, message in (
        (0.5, (-1.5, 1.5), ""),
        (0.7, (-1.5, None), "the bands refuse only"),
        (0.3, (None, 1.5), "the bands accept only"),
    ):
        caplog.clear()
        cascade = find(model, tiny, threshold=threshold)
        assert cascade.bands is not None
        assert (cascade.bands.bounds.lower, cascade.bands.bounds.upper) == edges
        assert message in caplog.text
        assert (cascade.sha256 == at_fit.sha256) == (not message)


def test_files_that_do_not_fit(model: Path, tiny: TinyModels, caplog: pytest.LogCaptureFixture) -> None:
    cascade = FittedCascade.load(model)
    assert cascade is not None
    cascade.model_copy(update={"cross_encoder": "other"}).write(model)
    assert find(model, tiny).sha256 == NO_CASCADE
    assert "other weights or another calibration" in caplog.text
    old = cascade.bands.model_copy(update={"features": cascade.bands.features[::-1]})
    cascade.model_copy(update={"bands": old}).write(model)
    assert find(model, tiny).sha256 == NO_CASCADE
    assert "by another version of dupmine" in caplog.text
    content = json.loads((model / CASCADE).read_text()) | {"version": 1, "student": None}
    del content["sha256"]
    (model / CASCADE).write_text(json.dumps(content))
    with pytest.raises(ModelError, match=r"another version of dupmine wrote it\): fit it again with"):
        find(model, tiny)
    (model / CASCADE).write_text("{")
    with pytest.raises(ModelError, match=r"cascade\.json cannot be read .*dupmine calibrate --corpus"):
        find(model, tiny)
    assert find(model, tiny, bands="off").sha256 == NO_CASCADE
