"""The bands: they see the pair alone, and decide it beyond their bounds."""

from __future__ import annotations

import numpy as np
import pytest

from dupmine.inference.tokens import tokenise
from dupmine.progress import SILENT
from dupmine.rerank.bands import FEATURES, Bounds, band_features, find_token_kinds
from dupmine.schema import CandidatePairs, Floats, TokenStore

from ..helpers.cascades import bands_by_cosine, bounds
from ..helpers.tiny_models import bert_tokenizer

TOKENIZER = bert_tokenizer().backend_tokenizer
TEXTS = [
    "how do i learn python in 2 day?",
    "how do i learn java in 3 day?",
    "how do i not learn python in 2 day?",
    "what is the best way to learn python?",
    "time",
    "",
    "how do i learn python",
]
KINDS = find_token_kinds(TOKENIZER)
IDF = np.ones(TOKENIZER.get_vocab_size(), np.float32)


@pytest.fixture(scope="module")
def tokens() -> TokenStore:
    return tokenise(TEXTS, TOKENIZER, max_tokens=64, progress=SILENT)


def pairs(*ends: tuple[int, int]) -> CandidatePairs:
    left, right = np.array(ends, np.int64).T
    return CandidatePairs(left, right, np.linspace(0.6, 0.9, len(left), dtype=np.float32))


def feature(table: Floats, name: str) -> list[float]:
    return [round(float(value), 3) for value in table[:, FEATURES.index(name)]]


def test_the_vocabulary_tells_numbers_negations_and_question_words() -> None:
    words = {kind: {TOKENIZER.id_to_token(i) for i in ids} for kind, ids in KINDS.items()}
    assert words["numbers"] == {*"0123456789", *(f"##{digit}" for digit in "0123456789")}
    assert words["negations"] == {"no", "not", "t", "##t"}
    assert words["questions"] == {"how", "what", "which", "who", "when", "where", "why"}


def test_what_the_bands_see(tokens: TokenStore) -> None:
    candidates = pairs((0, 1), (0, 2), (0, 3), (0, 6), (4, 5), (5, 5), (0, 0))
    table = band_features(tokens, candidates, IDF, KINDS)
    assert table.shape == (7, len(FEATURES))
    np.testing.assert_array_equal(table[:, FEATURES.index("cosine")], candidates.cosine)
    assert feature(table, "numbers_apart") == [2, 0, 1, 1, 0, 0, 0]
    assert feature(table, "negations_apart") == [0, 1, 0, 0, 0, 0, 0]
    assert feature(table, "questions_apart") == [0, 0, 2, 0, 0, 0, 0]
    assert feature(table, "prefix") == [4, 3, 0, 5, 0, 0, 9]
    assert feature(table, "suffix") == [2, 6, 1, 0, 0, 0, 9]
    assert feature(table, "prefix_share")[:4] == [round(4 / 9, 3), round(3 / 9, 3), 0, 1]
    assert feature(table, "tokens_low") == [9, 9, 9, 5, 0, 0, 9]


def test_a_pair_is_seen_alone_as_among_others(tokens: TokenStore) -> None:
    bands = bands_by_cosine(0.75, -2.0, 2.0, n_tokens=len(IDF))
    many = pairs((0, 1), (1, 3), (2, 4), (0, 6), (3, 6))
    together = bands.log_odds(tokens, many)
    for i in range(len(many)):
        alone = many.where(np.array([i]))
        np.testing.assert_array_equal(bands.log_odds(tokens, alone), together[i : i + 1])
        # In another corpus its rows have other numbers.
        ends = np.array([alone.left[0], alone.right[0]])
        moved = CandidatePairs(np.array([0]), np.array([1]), alone.cosine)
        np.testing.assert_array_equal(bands.log_odds(tokens.take(ends), moved), together[i : i + 1])
    assert np.all(np.diff(together) > 0)


def test_blocks_change_nothing(tokens: TokenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    bands, many = bands_by_cosine(0.75, None, None), pairs((0, 1), (1, 3), (2, 4), (0, 6), (3, 6))
    whole = bands.log_odds(tokens, many)
    monkeypatch.setattr("dupmine.rerank.trees._BLOCK", 2)
    np.testing.assert_array_equal(bands.log_odds(tokens, many), whole)


def test_what_the_bounds_decide() -> None:
    log_odds = np.array([-3, -2, 0, 2, 3], np.float32)
    cases: list[tuple[Bounds, list[int]]] = [
        (bounds(-2, 2), [1, 0, 0, 1, 1]),
        (bounds(-2, None), [1, 0, 0, 0, 0]),
        (bounds(None, 2), [0, 0, 0, 1, 1]),
        (bounds(None, None), [0] * 5),
    ]
    for bound, decided in cases:
        assert bound.decide(log_odds).astype(int).tolist() == decided
        assert bound.any == any(decided)
