"""The cascade: who decides which pair, what is found beside a model, and what the audit says."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from dupmine.disk.work import Work
from dupmine.errors import ModelError
from dupmine.inference.device import DeviceConfig, resolve_device
from dupmine.inference.locate import fingerprint
from dupmine.inference.tokens import tokenise
from dupmine.progress import SILENT
from dupmine.rerank.bands import FILE, load_shortcuts
from dupmine.rerank.cascade import NO_CASCADE, Cascade, estimate, find_cascade
from dupmine.rerank.scorer import CrossEncoder, score_pairs
from dupmine.schema import (
    BANDS,
    CROSS_ENCODER,
    DECIDERS,
    STUDENT,
    CandidatePairs,
    TokenStore,
    probabilities,
)
from dupmine.settings import ComputeSettings, RerankSettings

from ..helpers.cascades import bands_by_cosine, shortcuts, student_by_logit
from ..helpers.cascades import with_cascade as put
from ..helpers.stores import POOL
from ..helpers.tiny_models import TinyModels

FLOOR = 0.6


@dataclass(frozen=True, slots=True)
class Kit:
    """A cross-encoder, another model in the place of its student, and pairs of texts with made-up cosines."""

    scorer: CrossEncoder
    student: CrossEncoder
    compute: DeviceConfig
    tokens: TokenStore
    pairs: CandidatePairs

    def cascade(self, *, student: bool = True) -> Cascade:
        """Return one whose bands refuse below 0.68 or so and accept above 0.82."""
        bands = bands_by_cosine(0.75, -1.5, 1.5, n_tokens=self.scorer.tokenizer.get_vocab_size())
        steps = (self.student, student_by_logit(-1.0, 1.0)) if student else (None, None)
        return Cascade(self.scorer, FLOOR, 0.5, bands, *steps)


@pytest.fixture(scope="module")
def kit(tiny: TinyModels) -> Kit:
    compute = resolve_device(ComputeSettings(device="cpu", precision="fp32", threads=1))
    scorer, student = (
        CrossEncoder(RerankSettings(cross_encoder=tiny[name]), compute) for name in ("sigmoid", "softmax")
    )
    tokens = tokenise(POOL, scorer.tokenizer, max_tokens=32, progress=SILENT)
    left, right = np.triu_indices(len(POOL), 1)
    cosine = np.random.default_rng(0).uniform(0.5, 1, len(left)).astype(np.float32)
    return Kit(scorer, student, compute, tokens, CandidatePairs(left, right, cosine))


def test_each_step_decides_what_is_clear_to_it(kit: Kit) -> None:
    cascade = kit.cascade()
    assert cascade.bands is not None
    assert cascade.student_step is not None
    found = cascade.score(kit.tokens, kit.pairs, SILENT)
    by = np.array(DECIDERS)[found.scored_by]
    np.testing.assert_array_equal(found.decided_by, found.scored_by)
    said = cascade.bands.log_odds(kit.tokens, kit.pairs)
    own, logit = (
        score_pairs(scorer, kit.tokens, kit.pairs, SILENT).logit for scorer in (kit.scorer, kit.student)
    )
    others = cascade.student_step.log_odds(cascade.bands, kit.tokens, kit.pairs, logit)
    near = kit.pairs.cosine >= FLOOR
    by_bands = near & ((said < -1.5) | (said >= 1.5))
    by_student = near & ~by_bands & ((others < -1) | (others >= 1))
    expected = np.where(by_bands, BANDS, np.where(by_student, STUDENT, CROSS_ENCODER))
    np.testing.assert_array_equal(by, expected)
    assert all((by == name).sum() > 50 for name in (BANDS, STUDENT, CROSS_ENCODER))
    logit = np.where(by_bands, said, np.where(by_student, others, own))
    np.testing.assert_array_equal(found.logit, logit)
    np.testing.assert_array_equal(found.pair_logit, logit)
    np.testing.assert_array_equal(found.probability, probabilities(found.logit))
    counts = [int((by == name).sum()) for name in (BANDS, STUDENT, CROSS_ENCODER)]
    assert list(cascade.count(found).values()) == counts
    assert list(cascade.count(found)) == ["pairs_by_bands", "pairs_by_student", "pairs_by_cross_encoder"]


def test_the_student_is_asked_where_it_is_worth_it(kit: Kit) -> None:
    cascade = kit.cascade()
    assert cascade.bands is not None
    assert cascade.student_step is not None
    everywhere = cascade.score(kit.tokens, kit.pairs, SILENT)
    some = cascade.student_step.bounds.model_copy(update={"asked": 0.2})
    step = cascade.student_step.model_copy(update={"bounds": some})
    found = replace(cascade, student_step=step).score(kit.tokens, kit.pairs, SILENT)
    likely = cascade.bands.log_odds(kit.tokens, kit.pairs) > np.float32(0.2)
    student = DECIDERS.index(STUDENT)
    assert (everywhere.scored_by[likely] == student).sum() > 50
    np.testing.assert_array_equal(found.scored_by == student, ~likely & (everywhere.scored_by == student))
    np.testing.assert_array_equal(found.logit[~likely], everywhere.logit[~likely])


def test_without_steps_it_is_the_cross_encoder(kit: Kit) -> None:
    alone = Cascade(kit.scorer)
    found = alone.score(kit.tokens, kit.pairs, SILENT)
    np.testing.assert_array_equal(found.logit, score_pairs(kit.scorer, kit.tokens, kit.pairs, SILENT).logit)
    assert (alone.sha256, alone.count(found)) == (NO_CASCADE, {})
    assert alone.audit(found, kit.tokens, 1000) == {}


def test_a_pair_goes_the_same_way_alone(kit: Kit) -> None:
    together = kit.cascade().score(kit.tokens, kit.pairs, SILENT)
    for i in range(0, len(kit.pairs), 97):
        alone = kit.cascade().score(kit.tokens, kit.pairs.where(np.array([i])), SILENT)
        assert (alone.logit[0], alone.scored_by[0]) == (together.logit[i], together.scored_by[i])


def test_shards_of_the_two_models_do_not_meet(kit: Kit, tmp_path: Path) -> None:
    cascade = kit.cascade()
    assert cascade.bands is not None
    bare = replace(cascade, bands=cascade.bands.bounded(decision=False, refuse=False, accept=False))
    expected = bare.score(kit.tokens, kit.pairs, SILENT)
    # No pair is clear to this student: its logits and those of the cross-encoder are of the same pairs.
    asked = replace(bare, student_step=student_by_logit(-99, None))
    work = Work(tmp_path)
    found = asked.score(kit.tokens, kit.pairs, SILENT, work)
    np.testing.assert_array_equal(found.logit, score_pairs(kit.scorer, kit.tokens, kit.pairs, SILENT).logit)
    assert (work.found, work.made) == (0, 2)
    again = Work(tmp_path)
    np.testing.assert_array_equal(asked.score(kit.tokens, kit.pairs, SILENT, again).logit, found.logit)
    assert (again.found, again.made) == (2, 0)
    np.testing.assert_array_equal(bare.score(kit.tokens, kit.pairs, SILENT, again).logit, expected.logit)


def test_the_audit_says_how_often_the_cross_encoder_differs(
    kit: Kit, caplog: pytest.LogCaptureFixture
) -> None:
    cascade = kit.cascade()
    found = cascade.score(kit.tokens, kit.pairs, SILENT)
    skipped = np.flatnonzero(found.scored_by != DECIDERS.index(CROSS_ENCODER))
    own = score_pairs(kit.scorer, kit.tokens, kit.pairs, SILENT).probability[skipped]
    share = float(np.mean((own >= 0.5) != (found.probability[skipped] >= 0.5)))
    assert 0.1 < share < 0.9  # random weights agree by chance
    audit = cascade.audit(found, kit.tokens, 1000)
    n = -(-len(skipped) // 10)
    assert (audit["pairs"], audit["share"]) == (n, audit["otherwise"] / n)
    assert audit["expected"] == pytest.approx(0.01)
    assert audit["interval"][0] < share < audit["interval"][1]
    assert "of the pairs it was spared otherwise" in caplog.text
    assert cascade.audit(found, kit.tokens, 7)["pairs"] == 7
    assert cascade.audit(found, kit.tokens, 7) == cascade.audit(found, kit.tokens, 7)
    assert cascade.audit(found, kit.tokens, 0) == {}


def test_the_interval_of_the_audit() -> None:
    assert estimate(0, 100)["interval"] == [0.0, pytest.approx(0.0362, abs=1e-4)]
    assert estimate(100, 100)["interval"] == [pytest.approx(0.9638, abs=1e-4), 1.0]
    assert estimate(5, 100)["interval"] == [pytest.approx(0.0164, abs=1e-4), pytest.approx(0.1128, abs=1e-4)]


@pytest.fixture
def model(tiny: TinyModels, tmp_path: Path) -> Path:
    """A cross-encoder with bands for the bi-encoder `static`, and no student."""
    found = shortcuts(bands_by_cosine(0.75, -1.5, 1.5), floor=FLOOR)
    return put(Path(tiny["sigmoid"]), Path(tiny["static"]), found, tmp_path / "model")


def find(
    model: Path, tiny: TinyModels, compute: DeviceConfig, bi_encoder: str = "static", **own: object
) -> Cascade:
    """Find the cascade of a model as a run does."""
    settings = RerankSettings.model_validate({"cross_encoder": str(model), **own})
    scorer = CrossEncoder(settings, compute)
    return find_cascade(settings, scorer, fingerprint(Path(tiny[bi_encoder])), None, compute)


def test_what_is_found_beside_a_model(
    model: Path, tiny: TinyModels, kit: Kit, caplog: pytest.LogCaptureFixture
) -> None:
    found = find(model, tiny, kit.compute)
    assert found.bands is not None
    assert (found.bands.bounds.lower, found.bands.bounds.upper, found.floor) == (-1.5, 1.5, FLOOR)
    assert found.student is None
    assert find(model, tiny, kit.compute, bands="off").sha256 == NO_CASCADE
    assert find(model, tiny, kit.compute, student="off").sha256 == found.sha256
    assert not caplog.records
    assert find(model, tiny, kit.compute, "bi-encoder").sha256 == NO_CASCADE
    assert "scores every pair" in caplog.text
    assert "fitted with another bi-encoder" in caplog.text


def test_only_the_bound_that_is_safe_is_used(
    model: Path, tiny: TinyModels, kit: Kit, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    at_fit = find(model, tiny, kit.compute)
    for threshold, edges, said in (
        (0.5, (-1.5, 1.5), ""),
        (0.7, (-1.5, None), "only clear refusals are decided before"),
        (0.3, (None, 1.5), "only clear duplicates are decided before"),
    ):
        caplog.clear()
        found = find(model, tiny, kit.compute, threshold=threshold)
        assert found.bands is not None
        assert (found.bands.bounds.lower, found.bands.bounds.upper) == edges
        assert said in caplog.text
        assert (found.sha256 == at_fit.sha256) == (not said)


def test_files_that_do_not_fit(
    model: Path, tiny: TinyModels, kit: Kit, caplog: pytest.LogCaptureFixture
) -> None:
    found = load_shortcuts(model)
    assert found is not None
    found.model_copy(update={"cross_encoder": "other"}).write(model)
    assert find(model, tiny, kit.compute).sha256 == NO_CASCADE
    assert "other weights or another calibration" in caplog.text
    old = found.bands.model_copy(update={"features": ("cosine",)})
    found.model_copy(update={"bands": old}).write(model)
    assert find(model, tiny, kit.compute).sha256 == NO_CASCADE
    assert "by another version of dupmine" in caplog.text
    found.model_copy(update={"student": student_by_logit(-1, 1)}).write(model)
    assert find(model, tiny, kit.compute).student is None
    assert "no student: " in caplog.text
    (model / FILE).write_text("{")
    with pytest.raises(ModelError, match=r"cascade\.json cannot be read .*dupmine calibrate --corpus"):
        find(model, tiny, kit.compute)
    assert find(model, tiny, kit.compute, bands="off", student="off").sha256 == NO_CASCADE
