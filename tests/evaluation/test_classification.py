"""Metrics against scikit-learn and scipy, and properties of their intervals."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import average_precision_score, f1_score, precision_recall_fscore_support, roc_auc_score

from dupmine.evaluation.bootstrap import Estimate, WeightedMetrics, bootstrap
from dupmine.evaluation.classification import CorrelationMetrics, Scores, evaluate_pairs, evaluate_scores
from dupmine.schema import Doubles, Flags, Floats, LabelledPairs, probabilities


def scored(value: Floats) -> Scores:
    return Scores("logit", value, probabilities(value), calibrated=False, seconds=1.0)


def draw(n: int, seed: int = 0, digits: int = 1) -> tuple[Flags, Floats]:
    """Return labels and logits, many of them equal."""
    generator = np.random.default_rng(seed)
    actual = generator.random(n) < 0.4
    return actual, np.round(generator.normal(np.where(actual, 1, -1), 1.5), digits).astype(np.float32)


def test_metrics_are_those_of_scikit_learn() -> None:
    actual, logit = draw(500)
    found = evaluate_scores(actual, scored(logit), 0.3)
    assert found.average_precision.value == pytest.approx(average_precision_score(actual, logit))
    assert found.roc_auc.value == pytest.approx(roc_auc_score(actual, logit))
    predicted = probabilities(logit) >= 0.3
    assert found.validated is not None
    validated = found.validated
    expected = precision_recall_fscore_support(actual, predicted, average="binary")[:3]
    assert (validated.precision.value, validated.recall.value, validated.f1.value) == pytest.approx(expected)
    assert validated.accuracy.value == pytest.approx(np.mean(actual == predicted))
    assert list(validated.confusion.values()) == [
        (actual & predicted).sum(),
        (~actual & predicted).sum(),
        (actual & ~predicted).sum(),
        (~actual & ~predicted).sum(),
    ]
    assert (found.pairs, found.duplicates) == (500, actual.sum())
    assert found.best.f1.value >= validated.f1.value
    assert found.shipped is None
    assert evaluate_scores(actual, replace(scored(logit), shipped=0.3), None).shipped == validated


def test_correlations_are_those_of_scipy() -> None:
    generator = np.random.default_rng(1)
    label = np.round(generator.random(300), 1).astype(np.float32)
    value = np.round(label + generator.normal(0, 0.3, 300), 1).astype(np.float32)
    texts = [f"text {i}" for i in range(600)]
    pairs = LabelledPairs(texts[:300], texts[300:], label)
    found = evaluate_pairs(pairs, scored(value), binary=False)
    assert isinstance(found, CorrelationMetrics)
    assert found.pearson.value == pytest.approx(pearsonr(label, value).statistic)
    assert found.spearman.value == pytest.approx(spearmanr(label, value).statistic)
    assert found.spearman.low < found.spearman.value < found.spearman.high
    found = evaluate_pairs(pairs, scored(np.ones(300, np.float32)), binary=False)
    assert isinstance(found, CorrelationMetrics)
    assert found.spearman == Estimate(0.0, 0.0, 0.0)


def test_calibration_error_by_hand() -> None:
    probability = np.array([0.0, 0.05, 0.5, 0.52, 1.0], np.float32)
    actual = np.array([False, True, True, True, False])
    found = evaluate_scores(actual, Scores("logit", probability, probability, False, 1.0), None)
    expected = (2 * abs(0.5 - 0.025) + 2 * abs(1 - 0.51) + 1) / 5
    assert found.calibration_error.value == pytest.approx(expected)


def test_an_interval_is_as_wide_as_the_binomial_one() -> None:
    """Accuracy of 0.8 on 400 pairs: the binomial interval is 0.8 -+ 0.039."""
    actual = np.tile([True, False], 200)
    value = np.where(np.arange(400) % 5 == 0, ~actual, actual).astype(np.float32) * 8 - 4
    found = evaluate_scores(actual, scored(value), 0.5)
    assert found.validated is not None
    accuracy = found.validated.accuracy
    assert accuracy.value == pytest.approx(0.8)
    assert [accuracy.low, accuracy.high] == pytest.approx([0.761, 0.839], abs=0.005)


def test_a_resample_is_drawn_with_replacement() -> None:
    seen: list[Doubles] = []

    def measure(weights: Doubles) -> dict[str, Doubles]:
        seen.append(weights)
        return {"n": weights.sum(axis=1)}

    bootstrap(50, [measure])
    weights = np.concatenate(seen[1:])
    assert weights.shape == (1000, 50)
    assert set(weights.sum(axis=1)) == {50.0}
    assert np.mean(weights == 0) == pytest.approx((1 - 1 / 50) ** 50, abs=0.01)
    assert not np.array_equal(weights[0], weights[1])


def test_groups_are_resampled_whole() -> None:
    """Ten copies of a pair tell as much as one: the interval is that of the pairs without copies."""
    rng = np.random.default_rng(0)
    value = rng.normal(0, 1, 200)

    def mean(values: Doubles) -> WeightedMetrics:
        return lambda weights: {"mean": 0.5 + 0.1 * (weights @ values) / weights.sum(axis=1)}

    copies, group = np.repeat(value, 10), np.repeat(3 * rng.permutation(200), 10)  # numbers with gaps
    [once], [whole], [apart] = (
        bootstrap(len(values), [mean(values)], group=by).values()
        for values, by in ((value, None), (copies, group), (copies, None))
    )
    assert whole.high - whole.low == pytest.approx(once.high - once.low, rel=0.1)
    assert whole.high - whole.low == pytest.approx(10**0.5 * (apart.high - apart.low), rel=0.1)
    few = bootstrap(len(copies), [mean(copies)], group=np.arange(len(copies)) % 29)["mean"]
    assert few == apart  # too few groups: single pairs are resampled


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.integers(4, 40))
def test_an_interval_holds_its_metric_and_the_best_threshold_is_best(seed: int, n: int) -> None:
    actual, logit = draw(n, seed)
    actual[:2] = True, False
    found = asdict(evaluate_scores(actual, scored(logit), 0.5))
    estimates = [found[name] for name in ("average_precision", "roc_auc", "calibration_error")]
    estimates += [found[at][name] for at in ("validated", "best") for name in ("accuracy", "precision", "f1")]
    for estimate in estimates:
        assert 0 <= estimate["low"] <= estimate["value"] <= estimate["high"] <= 1
    scores = np.unique(scored(logit).probability)
    best = max(f1_score(actual, scored(logit).probability >= at) for at in scores)
    assert found["best"]["f1"]["value"] == pytest.approx(best)
