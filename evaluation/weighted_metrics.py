"""Metrics of scored pairs as functions of the pairs' weights: a bootstrap is then a few matrix products."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from ..schema import Doubles, Flags, Floats
from .bootstrap import WeightedMetrics

BINS = 15

_TINY = 1e-12


def measure_ranking(actual: Flags, score: Floats) -> WeightedMetrics:
    """Measure average precision (sum of precision times gain in recall, by falling score) and ROC AUC."""
    groups, _ = _grouped(-score)

    def measure(weights: Doubles) -> dict[str, Doubles]:
        hits, misses = groups @ (weights * actual).T, groups @ (weights * ~actual).T
        above = np.cumsum(hits, axis=0)
        seen = above + np.cumsum(misses, axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            gains = np.where(seen > 0, hits * above / np.maximum(seen, 1), 0).sum(axis=0)
            ordered = (misses * (above - hits / 2)).sum(axis=0)
            return {
                "average_precision": gains / hits.sum(axis=0),
                "roc_auc": ordered / (hits.sum(axis=0) * misses.sum(axis=0)),
            }

    return measure


def measure_calibration(actual: Flags, probability: Floats) -> WeightedMetrics:
    """Measure the expected calibration error (Guo et al., 2017) of probabilities.

    `ECE = sum over bins b of n_b / n * |share of duplicates in b - mean probability in b|`, 15 bins of equal
    width from 0 to 1.
    """
    n = len(probability)
    wide = probability.astype(np.float64)
    bin_of = np.minimum((wide * BINS).astype(np.int64), BINS - 1)
    bins = csr_array((np.ones(n), (bin_of, np.arange(n))), shape=(BINS, n))
    excess: Doubles = actual - wide

    def measure(weights: Doubles) -> dict[str, Doubles]:
        gaps = np.abs(np.asarray(bins @ (weights * excess).T)).sum(axis=0)
        return {"calibration_error": gaps / weights.sum(axis=1)}

    return measure


def calibration_error(actual: Flags, probability: Floats, weight: Doubles | None = None) -> float:
    """Return the expected calibration error of pairs, as `measure_calibration` defines it."""
    weights = np.ones(len(actual)) if weight is None else weight
    return float(measure_calibration(actual, probability)(weights[None])["calibration_error"][0])


def measure_decision(actual: Flags, predicted: Flags, name: str) -> WeightedMetrics:
    """Measure accuracy, and precision, recall and F1 of duplicates; 0 where nothing is predicted."""
    columns = np.stack([actual & predicted, predicted, actual, actual == predicted], axis=1).astype(float)

    def measure(weights: Doubles) -> dict[str, Doubles]:
        hits, accepted, duplicates, correct = (weights @ columns).T
        return {
            f"{name} accuracy": correct / weights.sum(axis=1),
            f"{name} precision": hits / np.maximum(accepted, 1),
            f"{name} recall": hits / np.maximum(duplicates, 1),
            f"{name} f1": 2 * hits / np.maximum(accepted + duplicates, 1),
        }

    return measure


def measure_correlation(label: Floats, score: Floats) -> WeightedMetrics:
    """Measure Pearson's correlation and Spearman's, that of the ranks, where equal values share one.

    Both are 0 where all labels, or all scores, are equal.
    """
    columns = [column.astype(np.float64) for column in (label, score)]
    grouped = [_grouped(column) for column in columns]

    def ranks(groups: csr_array, group: npt.NDArray[np.int64], weights: Doubles) -> Doubles:
        sizes = groups @ weights.T
        return np.asarray((np.cumsum(sizes, axis=0) - sizes / 2)[group].T)

    def measure(weights: Doubles) -> dict[str, Doubles]:
        return {
            "pearson": _weighted_correlation(weights, *(np.atleast_2d(column) for column in columns)),
            "spearman": _weighted_correlation(weights, *(ranks(*side, weights) for side in grouped)),
        }

    return measure


def _weighted_correlation(weights: Doubles, x: Doubles, y: Doubles) -> Doubles:
    total = weights.sum(axis=1, keepdims=True)
    x = x - (weights * x).sum(axis=1, keepdims=True) / total
    y = y - (weights * y).sum(axis=1, keepdims=True) / total
    spread = np.sqrt((weights * x * x).sum(axis=1) * (weights * y * y).sum(axis=1))
    return np.asarray((weights * x * y).sum(axis=1) / np.maximum(spread, _TINY))


def _grouped(values: npt.NDArray[np.floating[Any]]) -> tuple[csr_array, npt.NDArray[np.int64]]:
    """Return a matrix that sums pairs of equal value, `(n_values, n_pairs)`, and the row of each pair."""
    distinct, group = np.unique(values, return_inverse=True)
    n = len(group)
    return csr_array((np.ones(n), (group, np.arange(n))), shape=(len(distinct), n)), group
