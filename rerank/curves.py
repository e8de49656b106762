"""Curves that turn a cross-encoder's logits into calibrated log-odds."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from ..schema import Doubles, Floats
from .records import Record

_OUTSIDE = 0.1  # slope of an isotonic curve beyond its knots


class Platt(Record):
    """Log-odds `slope * logit + intercept` (Platt, 1999)."""

    method: Literal["platt"] = "platt"
    slope: float = Field(gt=0.0)
    intercept: float

    def log_odds(self, logit: Doubles) -> Doubles:
        """Return the calibrated log-odds of logits, strictly increasing."""
        return self.slope * logit + self.intercept


class Beta(Record):
    """Log-odds `a * ln p - b * ln(1 - p) + c` of p, the logit's logistic (Kull et al., 2017)."""

    method: Literal["beta"] = "beta"
    a: float = Field(gt=0.0)
    b: float = Field(gt=0.0)
    c: float

    def log_odds(self, logit: Doubles) -> Doubles:
        """Return the calibrated log-odds of logits, strictly increasing."""
        return self.a * -np.logaddexp(0.0, -logit) + self.b * np.logaddexp(0.0, logit) + self.c


class Isotonic(Record):
    """Log-odds at knots, straight lines between them, and a slope of 0.1 beyond.

    The knots are the centres of the blocks of equal probability that isotonic regression finds; the lines
    between them keep the order of all pairs.
    """

    method: Literal["isotonic"] = "isotonic"
    at_logit: tuple[float, ...] = Field(min_length=1)
    is_log_odds: tuple[float, ...]

    @model_validator(mode="after")
    def _increases(self) -> Self:
        if len(self.at_logit) != len(self.is_log_odds):
            raise ValueError("every knot needs a logit and its log-odds")
        if min(np.diff(self.at_logit).min(initial=1), np.diff(self.is_log_odds).min(initial=1)) <= 0:
            raise ValueError("the knots must increase")
        return self

    def log_odds(self, logit: Doubles) -> Doubles:
        """Return the calibrated log-odds of logits, strictly increasing."""
        inside = np.clip(logit, self.at_logit[0], self.at_logit[-1])
        between: Doubles = np.interp(inside, self.at_logit, self.is_log_odds)
        return between + _OUTSIDE * (logit - inside)


Curve = Annotated[Platt | Beta | Isotonic, Field(discriminator="method")]


def apply_curve(logit: Floats, curve: Platt | Beta | Isotonic, shift: float) -> Floats:
    """Return the log-odds of logits by a curve, shifted to another base rate, `(n_pairs,) float32`."""
    return np.asarray(curve.log_odds(logit.astype(np.float64)) + shift, np.float32)
