"""Precision, recall and F1 of pairs, B-cubed and adjusted Rand index of clusters."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import adjusted_rand_score
from sklearn.metrics.cluster import contingency_matrix, pair_confusion_matrix

from ..schema import Flags, Rows


def f1_score(precision: float, recall: float) -> float:
    """Return the harmonic mean, 0 where both are 0."""
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def pair_metrics(predicted: Flags, actual: Flags) -> dict[str, float]:
    """Return precision, recall and F1 of predictions about labelled pairs, each `(n_pairs,)` bool."""
    hits = float((predicted & actual).sum())
    precision = hits / max(float(predicted.sum()), 1.0)
    recall = hits / max(float(actual.sum()), 1.0)
    return {"precision": precision, "recall": recall, "f1": f1_score(precision, recall)}


def cluster_metrics(predicted: Rows, gold: Rows) -> dict[str, float]:
    """Compare two clusterings of the same documents, each `(n_documents,)`.

    Pairs: over all pairs of documents that share a cluster. B-cubed: Bagga and Baldwin, 1998. ARI: Hubert
    and Arabie, 1985.
    """
    confusion = pair_confusion_matrix(gold, predicted).astype(np.float64)
    hits, false, missed = confusion[1, 1], confusion[0, 1], confusion[1, 0]
    precision = float(hits / (hits + false)) if hits + false else 1.0
    recall = float(hits / (hits + missed)) if hits + missed else 1.0
    bcubed_precision, bcubed_recall = _bcubed(predicted, gold)
    return {
        "pair_precision": precision,
        "pair_recall": recall,
        "pair_f1": f1_score(precision, recall),
        "bcubed_precision": bcubed_precision,
        "bcubed_recall": bcubed_recall,
        "bcubed_f1": f1_score(bcubed_precision, bcubed_recall),
        "adjusted_rand_index": float(adjusted_rand_score(gold, predicted)),
    }


def _bcubed(predicted: Rows, gold: Rows) -> tuple[float, float]:
    shared = contingency_matrix(gold, predicted, sparse=True).astype(np.float64)
    squared = shared.multiply(shared)
    by_gold, by_predicted = np.asarray(shared.sum(1)).ravel(), np.asarray(shared.sum(0)).ravel()
    precision = float((np.asarray(squared.sum(0)).ravel() / by_predicted).sum() / len(gold))
    recall = float((np.asarray(squared.sum(1)).ravel() / by_gold).sum() / len(gold))
    return precision, recall
