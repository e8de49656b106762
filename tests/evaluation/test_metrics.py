"""The metrics against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from dupmine.evaluation.metrics import cluster_metrics, f1_score, pair_metrics


def test_pair_metrics() -> None:
    predicted = np.array([True, True, True, False, False])
    actual = np.array([True, True, False, True, False])
    found = pair_metrics(predicted, actual)
    assert found == pytest.approx({"precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3})


def test_pair_metrics_without_positives() -> None:
    nothing, one = np.array([False, False]), np.array([True, False])
    assert pair_metrics(nothing, one) == {"precision": 0.0, "recall": 0.0, "f1": 0.0}
    assert pair_metrics(one, nothing) == {"precision": 0.0, "recall": 0.0, "f1": 0.0}


def test_f1_score() -> None:
    assert f1_score(0.5, 1.0) == pytest.approx(2 / 3)
    assert f1_score(0.0, 0.0) == 0.0


def test_cluster_metrics() -> None:
    # Predicted {a b c} {d e} {f}, gold {a b} {c d e} {f}.
    found = cluster_metrics(np.array([7, 7, 7, 2, 2, 0]), np.array([1, 1, 5, 5, 5, 3]))
    # Pairs: ab ac bc de against ab cd ce de; B-cubed of both: a 2/3 and 1, b 2/3 and 1, c 1/3, d and e 1
    # and 2/3, f 1. ARI: 2 shared pairs of 4 and 4 among 15, expected 16/15.
    bcubed = (2 / 3 + 2 / 3 + 1 / 3 + 1 + 1 + 1) / 6
    assert found == pytest.approx(
        {
            "pair_precision": 0.5,
            "pair_recall": 0.5,
            "pair_f1": 0.5,
            "bcubed_precision": bcubed,
            "bcubed_recall": (1 + 1 + 1 / 3 + 2 / 3 + 2 / 3 + 1) / 6,
            "bcubed_f1": bcubed,
            "adjusted_rand_index": (2 - 16 / 15) / (4 - 16 / 15),
        }
    )


def test_bcubed_precision_and_recall_are_not_swapped() -> None:
    # One cluster of all, gold {a b} {c}: precision (2/3 + 2/3 + 1/3) / 3, recall 1.
    found = cluster_metrics(np.array([0, 0, 0]), np.array([0, 0, 1]))
    assert found["bcubed_precision"] == pytest.approx(5 / 9)
    assert found["bcubed_recall"] == 1.0
    assert found["pair_precision"] == pytest.approx(1 / 3)
    assert found["pair_recall"] == 1.0
    assert found["adjusted_rand_index"] == 0.0


def test_equal_clusterings_are_perfect_whatever_their_numbers() -> None:
    assert set(cluster_metrics(np.array([4, 4, 9, 1]), np.array([0, 0, 1, 2])).values()) == {1.0}


def test_only_singletons_are_perfect() -> None:
    assert set(cluster_metrics(np.array([0, 1, 2]), np.array([5, 6, 7])).values()) == {1.0}
