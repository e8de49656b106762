"""Calibration curves against their definitions, and what must hold for any pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import isotonic_regression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, log_loss

from dupmine.calibration import curves as calibrators
from dupmine.calibration.curves import METHODS, fit_best, fit_beta, fit_isotonic, fit_platt
from dupmine.evaluation.weighted_metrics import calibration_error
from dupmine.rerank.curves import Isotonic
from dupmine.schema import Flags, Floats, probabilities

N = 4000


def labelled(slope: float, intercept: float, n: int = N, seed: int = 0) -> tuple[Floats, Flags]:
    """Return logits, and labels that are drawn with the log-odds `slope * logit + intercept`."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(0, 2, n).astype(np.float32)
    return logit, rng.random(n) < probabilities(slope * logit + intercept)


def wide(logit: Floats) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return logit.astype(np.float64)


def test_platt_is_a_logistic_regression() -> None:
    logit, actual = labelled(0.5, -1.0)
    curve = fit_platt(wide(logit), actual)
    plain = LogisticRegression(C=np.inf).fit(logit[:, None], actual)
    assert curve.slope == pytest.approx(plain.coef_[0, 0], abs=2e-3)
    assert curve.intercept == pytest.approx(plain.intercept_[0], abs=2e-3)
    assert (curve.slope, curve.intercept) == pytest.approx((0.5, -1.0), abs=0.15)


def test_beta_finds_the_curve_the_labels_come_from() -> None:
    logit, _ = labelled(1, 0, n=40_000)
    p = probabilities(logit).astype(float)
    log_odds = 1.5 * np.log(p) - 0.4 * np.log(1 - p) + 0.7
    actual = np.random.default_rng(1).random(len(p)) < probabilities(log_odds)
    curve = fit_beta(wide(logit), actual)
    assert (curve.a, curve.b, curve.c) == pytest.approx((1.5, 0.4, 0.7), abs=0.1)
    np.testing.assert_allclose(
        curve.log_odds(wide(logit)), curve.a * np.log(p) - curve.b * np.log(1 - p) + curve.c, atol=1e-4
    )


def test_isotonic_has_the_shares_of_the_blocks_at_their_centres() -> None:
    logit = np.array([-3, -2, -1, 0, 1, 2, 3, 4], np.float64)
    actual = np.array([0, 0, 1, 0, 1, 1, 0, 1], bool)
    # With a duplicate at -3 and one that is none at 4 the blocks are -3..-2, -1..0 and 1..4.
    curve = fit_isotonic(logit, actual)
    shares = [1 / 3, 1 / 2, 3 / 5]
    assert curve.at_logit == pytest.approx(((-3 - 3 - 2) / 3, -0.5, (1 + 2 + 3 + 4 + 4) / 5))
    assert curve.is_log_odds == pytest.approx([np.log(share / (1 - share)) for share in shares])
    # Averaging the duplicate and the other at 4 first is the same as taking both.
    plain = isotonic_regression([0.5, 0, 1, 0, 1, 1, 0, 0.5], sample_weight=[2, 1, 1, 1, 1, 1, 1, 2])
    assert sorted(set(np.round(plain, 9))) == pytest.approx(shares)


def test_isotonic_lies_on_lines_between_its_knots() -> None:
    curve = Isotonic(at_logit=(-1.0, 1.0, 2.0), is_log_odds=(-2.0, 0.0, 4.0))
    at = np.array([-11.0, -1.0, 0.0, 1.5, 2.0, 4.0])
    assert curve.log_odds(at).tolist() == pytest.approx([-3.0, -2.0, -1.0, 2.0, 4.0, 4.2])


@pytest.mark.parametrize("method", METHODS)
def test_every_method_repairs_overconfidence(method: str) -> None:
    logit, actual = labelled(0.3, -0.5)
    other, unseen = labelled(0.3, -0.5, seed=1)
    log_odds = METHODS[method](wide(logit), actual).log_odds(wide(other))
    assert calibration_error(unseen, probabilities(other)) > 0.15
    assert calibration_error(unseen, probabilities(log_odds)) < 0.03
    assert calibrators.log_loss(log_odds, unseen) == pytest.approx(
        log_loss(unseen, probabilities(log_odds)), abs=1e-6
    )


@pytest.mark.parametrize("method", METHODS)
@given(
    labels=st.lists(st.tuples(st.floats(-14, 14, width=32), st.booleans()), min_size=2, max_size=60),
)
@settings(max_examples=40)
def test_every_curve_keeps_the_order(method: str, labels: list[tuple[float, bool]]) -> None:
    logit = np.array([value for value, _ in labels])
    curve = METHODS[method](logit, np.array([label for _, label in labels]))
    at = np.sort(np.concatenate([logit, np.linspace(-20, 20, 400)]))
    log_odds = curve.log_odds(at)
    assert np.isfinite(log_odds).all()
    apart = np.diff(at) > 1e-3
    assert (np.diff(log_odds)[apart] > 0).all()
    assert (np.diff(log_odds) >= -1e-12).all()


def test_separable_labels_have_an_answer() -> None:
    logit = np.array([-2.0, -1.0, 1.0, 2.0])
    for fit in METHODS.values():
        p = probabilities(fit(logit, logit > 0).log_odds(logit))
        assert p[0] < 0.4
        assert p[-1] > 0.6
        assert p.min() > 0.01
        assert p.max() < 0.99


def test_the_best_has_the_least_loss_on_held_out_groups() -> None:
    rng = np.random.default_rng(3)
    logit = rng.normal(0, 2, N).astype(np.float32)
    steps = np.where(logit < -1, 0.05, np.where(logit < 1.5, 0.4, 0.95))
    actual = rng.random(N) < steps
    group = np.arange(N) // 2
    fit = fit_best(logit, actual, group, folds=5, seed=0)
    assert fit.curve.method == "isotonic"
    assert list(fit.log_loss) == ["none", "platt", "beta", "isotonic"]
    assert fit.log_loss["isotonic"] == min(fit.log_loss.values())
    assert calibrators.log_loss(fit.held_out, actual) == pytest.approx(fit.log_loss["isotonic"])
    assert average_precision_score(actual, fit.curve.log_odds(wide(logit))) == pytest.approx(
        average_precision_score(actual, logit), abs=1e-12
    )


def test_groups_are_held_out_whole() -> None:
    """Equal logits get equal log-odds where they are held out together, from one curve."""
    logit, actual = labelled(1, 0, n=600)
    logit = np.repeat(logit[:60], 10)
    for group, torn in ((np.arange(600) // 10, False), (np.arange(600), True)):
        held_out = fit_best(logit, actual, group, folds=5, seed=0).held_out.reshape(60, 10)
        assert (np.ptp(held_out, axis=1) > 0).any() == torn


def test_calibration_error_is_weighted() -> None:
    log_odds = np.array([-9.0, 0.1, 0.1, 0.2, 9.0])
    actual = np.array([False, True, True, False, True])
    low, middle, _, upper, high = probabilities(log_odds).astype(float)
    by_hand = (low + 2 * (1 - middle) + upper + (1 - high)) / 5  # 0.1 and 0.2 are in two bins
    assert calibration_error(actual, probabilities(log_odds)) == pytest.approx(by_hand)
    twice = np.array([0, 1, 1, 2, 3, 4, 4])
    weight = np.array([1, 2, 1, 1, 2.0])
    assert calibration_error(actual, probabilities(log_odds), weight) == pytest.approx(
        calibration_error(actual[twice], probabilities(log_odds[twice]))
    )
