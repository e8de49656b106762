"""Counts at thresholds against brute force, and the threshold with the best F1."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dupmine.evaluation.metrics import pair_metrics
from dupmine.evaluation.thresholds import best_f1_threshold, count_accepted


@given(
    st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=30),
    st.lists(st.integers(-1, 11), min_size=1, max_size=8),
    st.integers(0, 3),
)
def test_counts_are_those_of_each_threshold(
    pairs: list[tuple[int, bool]], cuts: list[int], missed: int
) -> None:
    score = np.array([value for value, _ in pairs], np.float32)
    actual = np.array([label for _, label in pairs])
    duplicates = int(actual.sum()) + missed
    counts = count_accepted(actual, score, np.array(cuts, float), duplicates=duplicates)
    score_of_all = np.append(score, np.full(missed, -np.inf))
    actual_of_all = np.append(actual, np.ones(missed, bool))
    expected = [pair_metrics(score_of_all >= cut, actual_of_all) for cut in cuts]
    assert counts.recall.tolist() == pytest.approx([metrics["recall"] for metrics in expected])
    assert counts.f1.tolist() == pytest.approx([metrics["f1"] for metrics in expected])
    accepted = counts.hits + counts.misses > 0
    precision = np.array([metrics["precision"] for metrics in expected])
    assert counts.precision.tolist() == pytest.approx(np.where(accepted, precision, 1.0).tolist())
    assert counts.best() == int(np.argmax([metrics["f1"] for metrics in expected]))


def test_the_best_threshold_lies_between_two_scores() -> None:
    actual = np.array([True, True, False, False])
    assert best_f1_threshold(actual, np.array([0.9, 0.7, 0.3, 0.1], np.float32)) == pytest.approx(0.5)
    assert best_f1_threshold(~actual, np.array([0.9, 0.7, 0.3, 0.1], np.float32)) == pytest.approx(0.1)
    same = np.full(4, 0.4, np.float32)
    assert best_f1_threshold(actual, same) == pytest.approx(0.4)
    assert (same >= best_f1_threshold(actual, same)).all()
