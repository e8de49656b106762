"""Raw outputs to logits, on numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dupmine.rerank.heads import Head, find_head
from dupmine.schema import probabilities
from dupmine.settings import RerankSettings

THIRDS = np.log(np.array([[1.0, 1.0, 1.0], [8.0, 1.0, 1.0]], np.float32))


def test_sigmoid_is_the_output_itself() -> None:
    raw = np.array([[-2.5], [0.0], [7.0]], np.float32)
    assert Head("sigmoid", 0, 1.0, False).logits(raw).tolist() == [-2.5, 0.0, 7.0]


@pytest.mark.parametrize(("positive", "expected"), [(0, [1 / 3, 0.8]), (1, [1 / 3, 0.1]), (2, [1 / 3, 0.1])])
def test_nli_is_the_log_odds_of_its_label(positive: int, expected: list[float]) -> None:
    logits = Head("nli", positive, 1.0, False).logits(THIRDS)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(probabilities(logits), expected, rtol=1e-6)


def test_softmax_is_the_difference_of_the_two() -> None:
    raw = np.array([[1.0, 4.0], [2.0, -3.0], [1000.0, -1000.0]], np.float32)
    assert Head("softmax", 1, 1.0, False).logits(raw).tolist() == [3.0, -5.0, -2000.0]


def test_a_score_is_its_share_of_the_most() -> None:
    head = Head("score", 0, 5.0, False)
    logits = head.logits(np.array([[2.5], [4.0], [-1.0], [6.0]], np.float32))
    np.testing.assert_allclose(probabilities(logits), [0.5, 0.8, 1e-6, 1 - 1e-6], atol=1e-8)
    assert np.isfinite(logits).all()


def test_both_orders() -> None:
    there, back = np.array([1.0, -4.0], np.float32), np.array([3.0, 2.0], np.float32)
    assert Head("nli", 1, 1.0, False).combine(there, back).tolist() == [1.0, -4.0]
    assert Head("sigmoid", 0, 1.0, True).combine(there, back).tolist() == [2.0, -1.0]
    kinds = [("sigmoid", False), ("sigmoid", True), ("softmax", False), ("nli", False)]
    labels = {"sigmoid": 1, "softmax": 2, "nli": 3}
    config = {"id2label": {0: "entailment"}}
    heads = [
        find_head("m", config, labels[kind], RerankSettings(symmetric=symmetric)) for kind, symmetric in kinds
    ]
    assert [head.kind for head in heads] == ["sigmoid", "sigmoid", "softmax", "nli"]
    assert [head.both_orders for head in heads] == [False, True, False, True]


@pytest.mark.parametrize(
    ("labels", "positive"),
    [
        ({0: "LABEL_0", 1: "LABEL_1"}, 1),
        ({0: "not_duplicate", 1: "duplicate"}, 1),
        ({0: "entailment", 1: "not_entailment"}, 0),
        ({}, 1),
    ],
)
def test_the_label_whose_name_says_duplicate_counts(labels: dict[int, str], positive: int) -> None:
    assert find_head("m", {"id2label": labels}, 2, RerankSettings()).positive == positive


@given(st.lists(st.integers(-(2**40), 2**40), max_size=20))
def test_probabilities_are_the_logistic_function(logits: list[int]) -> None:
    thousandths = np.array(logits, np.float32) / 1000
    found = probabilities(thousandths)
    expected = [1 / (1 + math.exp(-x)) if x > -700 else 0.0 for x in thousandths.tolist()]
    np.testing.assert_allclose(found, expected, atol=1e-7)
    assert found.dtype == np.float32
