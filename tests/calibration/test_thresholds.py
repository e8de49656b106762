"""Thresholds against brute force, and promises that hold on other pairs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from dupmine.calibration.thresholds import find_thresholds
from dupmine.evaluation.metrics import pair_metrics
from dupmine.rerank.thresholds import OperatingPoint
from dupmine.schema import Flags, Floats

N = 3000
GRID = [i / 1000 for i in range(1, 1000)]


def drawn(n: int = N, seed: int = 0) -> tuple[Floats, Flags]:
    """Return probabilities and labels that have them."""
    rng = np.random.default_rng(seed)
    probability = rng.beta(0.7, 1.0, n).astype(np.float32)
    return probability, rng.random(n) < probability


def at(threshold: float, probability: Floats, actual: Flags) -> dict[str, float]:
    return pair_metrics(probability >= threshold, actual)


def point(
    name: str, probability: Floats, actual: Flags, base_rate: float | None = None
) -> OperatingPoint | None:
    rate = float(actual.mean()) if base_rate is None else base_rate
    group = np.arange(len(actual)) % 500  # what hangs together by chance alone is independent
    thresholds = find_thresholds(probability, actual, group, base_rate=rate, seed=0)
    return thresholds.best_f1 if name == "best_f1" else thresholds.target_precision[name]


def test_the_best_f1_of_the_grid() -> None:
    probability, actual = drawn()
    chosen = point("best_f1", probability, actual)
    assert chosen is not None
    scores = [at(threshold, probability, actual)["f1"] for threshold in GRID]
    assert chosen.threshold == GRID[int(np.argmax(scores))]
    ours = {"precision": chosen.precision, "recall": chosen.recall, "f1": chosen.f1}
    assert ours == pytest.approx(at(chosen.threshold, probability, actual))


def test_a_probability_on_the_threshold_is_accepted() -> None:
    probability = np.repeat([np.float32(0.2), np.float32(0.7), np.float32(0.701)], 40)
    actual = np.repeat([False, True, True], 40)
    chosen = point("best_f1", probability, actual)
    assert chosen is not None
    assert (chosen.threshold, chosen.precision, chosen.recall) == (0.201, 1.0, 1.0)
    actual = np.repeat([False, False, True], 40)
    chosen = point("best_f1", probability, actual)
    assert chosen is not None
    assert (chosen.threshold, chosen.f1) == (0.701, 1.0)


def test_intervals_are_those_of_independent_pairs() -> None:
    probability, actual = drawn()
    chosen = point("0.90", probability, actual)
    assert chosen is not None
    accepted = probability >= chosen.threshold
    error = np.sqrt(chosen.precision * (1 - chosen.precision) / accepted.sum())
    low, high = chosen.precision_interval
    assert (low, high) == pytest.approx(
        (chosen.precision - 1.96 * error, chosen.precision + 1.96 * error), abs=0.005
    )
    error = np.sqrt(chosen.recall * (1 - chosen.recall) / actual.sum())
    assert np.ptp(chosen.recall_interval) == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_pairs_that_hang_together_widen_the_intervals() -> None:
    once, labels = drawn(800)
    probability, actual = np.repeat(once, 5), np.repeat(labels, 5)
    rate = float(actual.mean())
    apart = find_thresholds(probability, actual, np.arange(4000), base_rate=rate, seed=0)
    together = find_thresholds(probability, actual, np.arange(4000) // 5, base_rate=rate, seed=0)
    assert apart.best_f1.threshold == together.best_f1.threshold
    ratio = np.ptp(together.best_f1.precision_interval) / np.ptp(apart.best_f1.precision_interval)
    assert ratio == pytest.approx(np.sqrt(5), rel=0.15)
    (_, lax), (_, strict) = (
        (p, thresholds.threshold_for(0.9)) for p, thresholds in ((0, apart), (1, together))
    )
    assert lax is not None
    assert strict is not None
    assert strict > lax


def test_the_promise_is_kept_on_other_pairs() -> None:
    kept = []
    for seed in range(16):
        probability, actual = drawn(1200, seed)
        rate, group = float(actual.mean()), np.arange(1200) // 3
        threshold = find_thresholds(probability, actual, group, base_rate=rate, seed=0).threshold_for(0.8)
        assert threshold is not None
        kept.append(at(threshold, *drawn(50_000, 1000 + seed))["precision"] >= 0.8)
    assert sum(kept) >= 13
    assert binom.cdf(12, 16, 0.95) < 0.01  # of promises that hold with 95 % confidence


def test_a_few_lucky_pairs_reach_no_precision() -> None:
    probability = np.concatenate([np.full(100, 0.2), np.full(100, 0.6), np.full(20, 0.95)]).astype(np.float32)
    actual = np.concatenate([np.arange(100) < 20, np.arange(100) < 60, np.ones(20, bool)])
    thresholds = find_thresholds(probability, actual, np.arange(220), base_rate=float(actual.mean()), seed=0)
    assert thresholds.target_precision == {"0.90": None, "0.95": None, "0.99": None}
    least = 0.05 ** (1 / 20)  # where all 20 of 20 are duplicates
    assert thresholds.highest_precision == np.floor(1000 * (1 - np.sqrt(2) * (1 - least))) / 1000
    assert thresholds.threshold_for(0.8) == 0.601
    assert thresholds.threshold_for(0.81) is None


def test_reach_only_rises() -> None:
    probability, actual = drawn()
    thresholds = find_thresholds(probability, actual, np.arange(N), base_rate=float(actual.mean()), seed=0)
    precisions, ascending = zip(*thresholds.reach, strict=True)
    assert list(precisions) == sorted(set(precisions))
    assert list(ascending) == sorted(ascending)
    assert precisions[0] == 0.5
    assert thresholds.threshold_for(0.93) == dict(thresholds.reach)[0.93]
    assert thresholds.threshold_for(0.932) == dict(thresholds.reach)[0.935]
    assert thresholds.threshold_for(thresholds.highest_precision) == ascending[-1]


def test_another_base_rate_is_that_of_pairs_drawn_anew() -> None:
    """A third of the duplicates taken out by chance has the effect of the base rate that is left."""
    probability, actual = drawn(40_000)
    stay = ~actual | (np.random.default_rng(1).random(len(actual)) < 1 / 3)
    rate = float(actual[stay].mean())
    moved, fresh = (
        point("best_f1", *labelled, base_rate=rate)
        for labelled in ((probability, actual), (probability[stay], actual[stay]))
    )
    assert moved is not None
    assert fresh is not None
    assert moved.f1 == pytest.approx(fresh.f1, abs=0.01)
    there = at(moved.threshold, probability[stay], actual[stay])
    assert (moved.precision, moved.recall) == pytest.approx((there["precision"], there["recall"]), abs=0.015)


def test_the_same_seed_finds_the_same() -> None:
    probability, actual = drawn(500)
    group = np.arange(500) // 2
    first, second = (find_thresholds(probability, actual, group, base_rate=0.3, seed=seed) for seed in (1, 1))
    assert first == second


def test_other_pairs_have_the_precision_that_was_asked_for() -> None:
    kept = 0
    for seed in range(60):
        probability, actual = drawn(seed=seed)
        thresholds = find_thresholds(
            probability, actual, np.arange(N), base_rate=float(actual.mean()), seed=0
        )
        threshold = thresholds.threshold_for(0.8)
        assert threshold is not None
        others, truth = drawn(seed=1000 + seed)
        kept += truth[others >= threshold].mean() >= 0.8
    assert 54 <= kept < 60
