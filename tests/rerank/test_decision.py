"""The corpus-aware decision: what it needs, what it decides, and how it explains a pair."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dupmine.errors import ModelError, SettingsError
from dupmine.inference.model_files import DECISION
from dupmine.progress import SILENT
from dupmine.rerank.decision import FEATURES, Decision, find_decision
from dupmine.schema import CORPUS, DECIDERS, ScoredPairs, TokenStore, probabilities
from dupmine.settings import RerankSettings

from ..helpers.decisions import feature, fitted_to

N = 40


@pytest.fixture(scope="module")
def tokens() -> TokenStore:
    generator = np.random.default_rng(3)
    lengths = generator.integers(2, 8, N)
    ids = generator.integers(0, 30, int(lengths.sum())).astype(np.int32)
    return TokenStore(ids, np.concatenate([[0], np.cumsum(lengths)]), 0)


@pytest.fixture(scope="module")
def pairs() -> ScoredPairs:
    generator = np.random.default_rng(4)
    left, right = np.triu_indices(N, 1)
    cosine = generator.uniform(0.5, 1, len(left)).astype(np.float32)
    return ScoredPairs.from_logits(
        left, right, cosine, generator.normal(-2.5, 2, len(left)).astype(np.float32)
    )


@pytest.fixture(scope="module")
def decision() -> Decision:
    """Trees that take a pair where its best supporter is sure, whatever the cross-encoder says."""
    return fitted_to(lambda table: feature(table, "best_support_low") > 0.5, n_tokens=30, floor=0.6)


def test_it_decides_by_the_neighbours_and_keeps_the_cross_encoders_logit(
    decision: Decision, pairs: ScoredPairs, tokens: TokenStore
) -> None:
    decided = decision.decide(pairs, tokens, SILENT)
    np.testing.assert_array_equal(decided.pair_logit, pairs.logit)
    np.testing.assert_array_equal(decided.probability, probabilities(decided.logit))
    assert {DECIDERS[i] for i in decided.decided_by} == {CORPUS}
    support = supports(pairs)
    taken = decided.probability > 0.5
    assert 50 < taken.sum() < len(pairs) - 50
    assert (support[taken] > 0.45).all()
    assert (support[~taken] < 0.55).all()


def supports(pairs: ScoredPairs) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return `best_support_low` of every pair, the slow way."""
    sure = np.zeros((N, N))
    near = pairs.cosine >= 0.6
    for a, b, p in zip(pairs.left[near], pairs.right[near], pairs.probability[near], strict=True):
        sure[a, b] = sure[b, a] = p
    closeness = np.zeros((N, N))
    for a, b, c in zip(pairs.left[near], pairs.right[near], pairs.cosine[near], strict=True):
        closeness[a, b] = closeness[b, a] = c
    best = []
    for a, b in zip(pairs.left, pairs.right, strict=True):
        sides = []
        for one, other in ((a, b), (b, a)):
            nearest = [k for k in np.argsort(-closeness[one], kind="stable")[:20] if closeness[one, k] > 0]
            sides.append(max((min(sure[one, k], sure[k, other]) for k in nearest if k != other), default=0.0))
        best.append(min(sides))
    return np.array(best)


def test_blocks_and_further_pairs_below_the_floor_change_nothing(
    decision: Decision, pairs: ScoredPairs, tokens: TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = decision.decide(pairs, tokens, SILENT)
    monkeypatch.setattr("dupmine.rerank.trees._BLOCK", 7)
    np.testing.assert_array_equal(decision.decide(pairs, tokens, SILENT).logit, whole.logit)
    above = pairs.cosine >= 0.6
    np.testing.assert_array_equal(
        decision.decide(pairs.where(above), tokens, SILENT).logit, whole.logit[above]
    )


def test_the_contributions_add_up_to_the_log_odds(
    decision: Decision, pairs: ScoredPairs, tokens: TokenStore
) -> None:
    decided = decision.decide(pairs, tokens, SILENT)
    for at in (0, 17, 333):
        ends = np.array([pairs.left[at], pairs.right[at]])
        added = decision.contributions(pairs, N, at, tokens.take(ends))
        assert list(added) == [*FEATURES, "base"]
        log_odds = sum(contribution for _, contribution in added.values())
        assert 2 * log_odds + 0.5 == pytest.approx(float(decided.logit[at]), abs=1e-4)
        assert added["logit"][0] == pytest.approx(float(pairs.logit[at]))
        # The pairs of a finished run have the decision's logits, and are explained by those before it.
        assert decision.contributions(decided, N, at, tokens.take(ends)) == added


def test_which_decision_is_found(
    decision: Decision, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    auto, corpus, pair = (RerankSettings(decision=kind) for kind in ("auto", "corpus", "pair"))
    assert find_decision(auto, tmp_path, "b", "c", 30) is None
    assert not caplog.records
    with pytest.raises(SettingsError, match="needs a fitted decision, and model quora-minilm-l6 has none"):
        find_decision(corpus, tmp_path, "b", "c", 30)
    fitting = decision.model_copy(update={"bi_encoder": "b", "cross_encoder": "c"})
    fitting.write(tmp_path)
    assert (
        find_decision(auto, tmp_path, "b", "c", 30)
        == find_decision(corpus, tmp_path, "b", "c", 30)
        == fitting
    )
    assert find_decision(pair, tmp_path, "b", "c", 30) is None
    with pytest.raises(SettingsError, match="was fitted with another bi-encoder"):
        find_decision(corpus, tmp_path, "other", "c", 30)
    assert find_decision(auto, tmp_path, "other", "c", 30) is None
    assert "each pair is decided on its own" in caplog.text
    with pytest.raises(SettingsError, match="was fitted with other weights or another calibration"):
        find_decision(corpus, tmp_path, "b", "other", 30)
    with pytest.raises(SettingsError, match="has the idf of 30 tokens, and the cross-encoder reads 31"):
        find_decision(corpus, tmp_path, "b", "c", 31)
    fitting.model_copy(update={"features": FEATURES[::-1]}).write(tmp_path)
    with pytest.raises(SettingsError, match="by another version of dupmine"):
        find_decision(corpus, tmp_path, "b", "c", 30)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"version": 2}', b"\xff"])
def test_a_broken_file_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / DECISION).write_bytes(content)
    with pytest.raises(ModelError, match=r"decision\.json cannot be read"):
        Decision.load(tmp_path)


def test_no_pairs_no_decision(decision: Decision, tokens: TokenStore) -> None:
    assert len(decision.decide(ScoredPairs.none(), tokens, SILENT)) == 0


def test_pairs_keep_who_decided_when_they_are_joined(pairs: ScoredPairs) -> None:
    some, others = pairs.where(np.arange(3)), pairs.where(np.arange(3, 6))
    joined = ScoredPairs.concatenate(others, some.decided(some.logit + 1))
    assert [DECIDERS[i] for i in joined.decided_by] == ["corpus"] * 3 + ["cross-encoder"] * 3
    np.testing.assert_array_equal(joined.pair_logit, pairs.logit[:6])
    assert replace(joined).probability[0] == probabilities(pairs.logit[:1] + 1)
