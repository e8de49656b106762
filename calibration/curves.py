"""Fit the curves from logits to log-odds to labels, and choose the one with the least held-out loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression
from sklearn.model_selection import StratifiedGroupKFold

from ..rerank.curves import Beta, Isotonic, Platt
from ..schema import Doubles, Flags, Floats, Rows, probabilities

_FLATTEST = 1e-3  # slope of a curve, which keeps the order of the pairs


@dataclass(frozen=True, slots=True)
class Fit:
    """The best curve, fitted on all pairs.

    `held_out`, `(n_pairs,)`, are the log-odds by curves of its method that were not fitted on the pair;
    `log_loss` is by method, cross-validated, in nats.
    """

    curve: Platt | Beta | Isotonic
    held_out: Doubles
    log_loss: dict[str, float]


def fit_platt(logit: Doubles, actual: Flags) -> Platt:
    """Fit a straight line by maximum likelihood (Platt, 1999)."""
    slope, intercept = _fit_logistic(logit[:, None], actual)
    return Platt(slope=slope, intercept=intercept)


def fit_beta(logit: Doubles, actual: Flags) -> Beta:
    """Fit a beta calibration by maximum likelihood (Kull, Silva Filho and Flach, 2017)."""
    features = np.stack([-np.logaddexp(0, -logit), np.logaddexp(0, logit)], axis=1)
    a, b, c = _fit_logistic(features, actual)
    return Beta(a=a, b=b, c=c)


def fit_isotonic(logit: Doubles, actual: Flags) -> Isotonic:
    """Fit an isotonic regression with one more pair at each end, so that no probability is 0 or 1.

    The lowest logit gets a duplicate, the highest a pair that is not one.
    """
    at = np.round(np.concatenate([[logit.min()], logit, [logit.max()]]), 6)  # closer logits count as equal
    label = np.concatenate([[1.0], actual, [0.0]])
    fitted = IsotonicRegression().fit_transform(at, label)
    share, block = np.unique(np.round(fitted, 12), return_inverse=True)
    centre = np.bincount(block, weights=at) / np.bincount(block)
    return Isotonic(at_logit=tuple(centre.tolist()), is_log_odds=tuple(np.log(share / (1 - share)).tolist()))


METHODS: dict[str, Callable[[Doubles, Flags], Platt | Beta | Isotonic]] = {
    "platt": fit_platt,
    "beta": fit_beta,
    "isotonic": fit_isotonic,
}


def fit_best(logit: Floats, actual: Flags, group: Rows, *, folds: int, seed: int) -> Fit:
    """Fit the curve with the least log loss, cross-validated over folds that share no group.

    `logit`, `actual` and `group` are `(n_pairs,)`.
    """
    wide = logit.astype(np.float64)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    splits = list(splitter.split(wide, actual, group))
    held_out = {name: np.empty_like(wide) for name in METHODS}
    for fitted, held in splits:
        for name, fit in METHODS.items():
            held_out[name][held] = fit(wide[fitted], actual[fitted]).log_odds(wide[held])
    losses = {"none": log_loss(wide, actual)}
    losses |= {name: log_loss(log_odds, actual) for name, log_odds in held_out.items()}
    best = min(METHODS, key=losses.__getitem__)
    return Fit(METHODS[best](wide, actual), held_out[best], losses)


def log_loss(log_odds: Doubles, actual: Flags) -> float:
    """Return the mean negative log-likelihood of the labels, in nats."""
    return float(np.mean(np.logaddexp(0, log_odds) - actual * log_odds))


def _fit_logistic(features: Doubles, actual: Flags) -> list[float]:
    """Return the slopes, all positive, and the intercept of a logistic regression.

    As in Platt, 1999, targets are not quite 0 and 1, so that separable labels have a solution too.
    """
    duplicates = int(actual.sum())
    target = np.where(actual, (duplicates + 1) / (duplicates + 2), 1 / (len(actual) - duplicates + 2))
    table = np.column_stack([features, np.ones(len(actual))])

    def loss(weights: Doubles) -> tuple[float, Doubles]:
        log_odds = table @ weights
        value = np.mean(np.logaddexp(0, log_odds) - target * log_odds)
        return float(value), table.T @ (probabilities(log_odds) - target) / len(target)

    n = features.shape[1]
    bounds = [(_FLATTEST, None)] * n + [(None, None)]
    start = np.array([1.0] * n + [0.0])
    result = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-12})
    return [float(weight) for weight in result.x]
