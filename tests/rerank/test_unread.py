"""Pairs of different texts that are the same to the models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from dupmine import Miner
from dupmine.inference.locate import locate_model
from dupmine.inference.tokens import tokenise
from dupmine.progress import SILENT
from dupmine.rerank.unread import find_unread
from dupmine.schema import DECIDERS, UNREAD, CandidatePairs, ScoredPairs
from dupmine.settings import BUILTIN_CROSS_ENCODER

TOKENIZER = Tokenizer.from_file(str(Path(locate_model(BUILTIN_CROSS_ENCODER)) / "tokenizer.json"))
MAX_TOKENS = 16
WORDS = st.lists(st.sampled_from(["how", "is", "the", "cat", "caf\u00e9", "10", "?"]), min_size=1, max_size=8)


def unread(left: str, right: str, max_tokens: int = MAX_TOKENS) -> bool:
    """Tell whether a pair is refused, in both orders."""
    tokens = tokenise([left, right], TOKENIZER, max_tokens=max_tokens, progress=SILENT)
    ends = np.array([0, 1]), np.array([1, 0])
    found = find_unread(TOKENIZER, max_tokens, tokens, CandidatePairs(*ends, np.ones(2, np.float32)))
    assert found[0] == found[1]
    return bool(found[0])


@pytest.mark.parametrize(
    ("left", "right", "refused"),
    [
        ("Is \U0001f436 or \U0001f431 better?", "Is \U0001f697 or \U0001f6b2 better?", True),
        ("\u12a0\u121b\u122d\u129b?", "\u12ad\u1265\u12f0\u1275 \u12a5?", True),  # Amharic
        ("\u304c\u304f", "\u304b\u304f", True),  # Japanese: voiced or not is a mark
        ("How big is 10\u2076?", "How big is 106?", True),
        ("What is x\u00b2 + 1?", "What is x2 + 1?", True),
        ("What is H\u2082O?", "What is H2O?", True),
        ("What is x\u00b2 + 1?", "What is y\u00b2 + 1?", False),
        ("Where is a caf\u00e9?", "Where is a cafe?", False),
        ("How big is 106?", "How big is 107?", False),
        ("Is \U0001f436 a cat?", "How big is the cat?", False),  # one unknown word
    ],
)
def test_what_the_models_cannot_tell_apart_is_refused(left: str, right: str, refused: bool) -> None:
    assert unread(left, right) == refused


def test_a_run_and_scores_refuse_them_too() -> None:
    start = "Please read the rules of the library before you answer. " * 12
    groups = (
        ["Is \U0001f436 or \U0001f431 better?", "Is \U0001f697 or \U0001f6b2 better?"],
        ["How big is 10\u2076?", "How big is 106?"],
        [f"{start}How do I renew a card?", f"{start}When does it open on Sunday?"],
        ["\u12a0\u121b\u122d\u129b?", "\u12ad\u1265\u12f0\u1275 \u12a5?"],
    )
    miner = Miner(progress=False, threshold=0.001)
    result = miner.mine([text for group in groups for text in group])
    assert result.clusters.empty
    assert result.manifest["counts"]["pairs_unread"] == 3  # the other pair is no candidate
    assert (miner.score_pairs([(a, b) for a, b in groups]) == 0).all()


@given(WORDS, st.sampled_from("\U0001f436\u2615\u12a5"), st.sampled_from("\U0001f697\U0001f355\u12ad"))
def test_other_unknown_words_are_never_the_same(words: list[str], first: str, second: str) -> None:
    assert unread(" ".join([*words, first]), " ".join([*words, second]), max_tokens=128)


@given(WORDS, WORDS)
def test_texts_alike_up_to_the_limit_are_never_the_same(first: list[str], second: list[str]) -> None:
    start = "the cat " * (MAX_TOKENS // 2)
    assert unread(start + " ".join(first), start + " ".join(second))


@given(WORDS, WORDS)
def test_known_words_are_left_to_the_models(first: list[str], second: list[str]) -> None:
    assert not unread(" ".join(first), " ".join(second), max_tokens=128)


@given(WORDS, st.sampled_from("\u00b2\u00b3\u2076\u2082"))
def test_a_raised_digit_is_never_one_in_line(words: list[str], raised: str) -> None:
    text = " ".join(words)
    level = {"\u00b2": "2", "\u00b3": "3", "\u2076": "6", "\u2082": "2"}[raised]
    assert unread(f"{text} x{raised}", f"{text} x{level}", max_tokens=128)


def test_other_texts_of_the_corpus_do_not_matter() -> None:
    texts = ["Is 35k enough ?", "Is 35k enough?", "What is x\u00b2 ?", "What is x\u00b2?", "What is x2?"]
    tokens = tokenise(texts, TOKENIZER, max_tokens=MAX_TOKENS, progress=SILENT)
    pairs = CandidatePairs(np.array([0, 2, 2, 3]), np.array([1, 3, 4, 4]), np.ones(4, np.float32))
    assert find_unread(TOKENIZER, MAX_TOKENS, tokens, pairs).tolist() == [False, False, True, True]


def test_the_decision_leaves_them_refused() -> None:
    ends, by = (np.array([0, 0]), np.array([1, 2])), np.array([DECIDERS.index(UNREAD), 1], np.int8)
    pairs = ScoredPairs.from_logits(*ends, np.ones(2, np.float32), np.array([-30, 0], np.float32), by)
    decided = pairs.decided(np.array([5, 5], np.float32))
    assert decided.logit.tolist() == [-30, 5]
    assert [DECIDERS[step] for step in decided.decided_by] == ["unread", "corpus"]
    assert decided.probability[0] < 1e-9
