"""Features from the tokens of a pair, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from dupmine.rerank.lexical import LexicalFeatures, compute_idf
from dupmine.schema import CandidatePairs, Floats, TokenStore


def store(*texts: list[int]) -> TokenStore:
    lengths = [len(text) for text in texts]
    ids = np.array([i for text in texts for i in text], np.int32)
    return TokenStore(ids, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), 0)


def pair(left: int = 0, right: int = 1) -> CandidatePairs:
    return CandidatePairs(np.array([left]), np.array([right]), np.ones(1, np.float32))


def compute(tokens: TokenStore, idf: Floats) -> dict[str, float]:
    return {name: float(value[0]) for name, value in LexicalFeatures(tokens, idf).compute(pair()).items()}


IDF = np.array([0.5, 1.0, 2.0, 3.0, 4.0, 0.0], np.float32)


def test_shares_and_what_is_alone() -> None:
    features = compute(store([1, 2, 2, 3], [1, 2, 4, 0, 5]), IDF)
    assert features["overlap"] == pytest.approx(2 / 6)  # {1, 2} of {0, 1, 2, 3, 4, 5}
    assert features["rare_overlap"] == pytest.approx(3 / 10.5)
    assert features["covered_high"] == pytest.approx(3 / 6)  # of 1 + 2 + 3
    assert features["covered_low"] == pytest.approx(3 / 7.5)
    assert (features["rarest_alone_low"], features["rarest_alone_high"]) == (3.0, 4.0)
    assert (features["tokens_low"], features["tokens_high"]) == (4, 5)
    assert features["same_start"] == 1
    assert features["order"] == pytest.approx(1 / 6)  # 1-2 of 1-2, 2-2, 2-3 and 1-2, 2-4, 4-0, 0-5


def test_the_same_words_in_another_order() -> None:
    features = compute(store([1, 2, 3], [3, 1, 2]), IDF)
    assert features["overlap"] == features["rare_overlap"] == features["covered_low"] == 1
    assert features["rarest_alone_high"] == 0
    assert features["order"] == pytest.approx(1 / 3)
    assert features["same_start"] == 0


def test_texts_without_a_token_share_nothing() -> None:
    features = compute(store([], [1]), IDF)
    assert features["overlap"] == features["covered_high"] == features["order"] == 0
    assert features["tokens_low"] == 0


def test_idf_counts_texts_not_tokens() -> None:
    idf = compute_idf(store([0, 0, 1], [0, 2], [0]), 4)
    np.testing.assert_allclose(idf, np.round(np.log([4 / 4, 4 / 2, 4 / 2, 4 / 1]), 2), rtol=1e-6)
