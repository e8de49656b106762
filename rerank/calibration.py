"""A calibration, `dupmine.json` beside a model: probabilities that hold, and thresholds to go with them."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Annotated, Literal, Protocol, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..errors import ModelError, SettingsError
from ..inference.model_files import CALIBRATION
from ..schema import Doubles, Floats, probabilities
from ..settings import HeadKind, RerankSettings
from .heads import Head
from .records import read_record, write_record

log = logging.getLogger(__name__)

UNCALIBRATED_THRESHOLD = 0.5

_OUTSIDE = 0.1  # slope of an isotonic curve beyond its knots
_FIT_AGAIN = "calibrate the model again with `dupmine calibrate`, or set rerank.calibrate: false"
_ROUNDING = 1e-9


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Platt(_Record):
    """Log-odds `slope * logit + intercept` (Platt, 1999)."""

    method: Literal["platt"] = "platt"
    slope: float = Field(gt=0.0)
    intercept: float

    def log_odds(self, logit: Doubles) -> Doubles:
        """Return the calibrated log-odds of logits, strictly increasing."""
        return self.slope * logit + self.intercept


class Beta(_Record):
    """Log-odds `a * ln p - b * ln(1 - p) + c` of p, the logit's logistic (Kull et al., 2017)."""

    method: Literal["beta"] = "beta"
    a: float = Field(gt=0.0)
    b: float = Field(gt=0.0)
    c: float

    def log_odds(self, logit: Doubles) -> Doubles:
        """Return the calibrated log-odds of logits, strictly increasing."""
        return self.a * -np.logaddexp(0.0, -logit) + self.b * np.logaddexp(0.0, logit) + self.c


class Isotonic(_Record):
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


class FittedOn(_Record):
    """What a calibration was fitted on: so many labelled pairs, whose texts and labels have a SHA-256."""

    n: int
    duplicates: int
    sha256: str


class OperatingPoint(_Record):
    """A threshold and what it does on the calibration pairs, with 95 % intervals."""

    threshold: float
    precision: float
    precision_interval: tuple[float, float]
    recall: float
    recall_interval: tuple[float, float]
    f1: float
    f1_interval: tuple[float, float]


class Thresholds(_Record):
    """The threshold with the best F1, and those that reach a precision.

    `target_precision` is null where a target is out of reach. `reach` are (precision, threshold), both
    increasing: the lowest threshold at which other pairs have at least that precision in 95 cases of 100.
    """

    best_f1: OperatingPoint
    target_precision: dict[str, OperatingPoint | None]
    reach: tuple[tuple[float, float], ...]

    @property
    def highest_precision(self) -> float:
        """The highest precision within reach, 0 where none is."""
        return self.reach[-1][0] if self.reach else 0.0

    def threshold_for(self, precision: float) -> float | None:
        """Return the threshold from which pairs have at least this precision, None where none has."""
        fit = (threshold for reached, threshold in self.reach if reached >= precision - _ROUNDING)
        return next(fit, None)


class HasThresholds(Protocol):
    """What was fitted to labelled pairs: a calibration, or a decision."""

    @property
    def thresholds(self) -> Thresholds:
        """The thresholds of its probabilities."""


class Calibration(_Record):
    """What `dupmine calibrate` found out about a model.

    It belongs to the weights with `weights_sha256`, read through the head. Its probabilities hold where a
    share `base_rate` of the pairs are duplicates; `shift` is what that adds to the curve's log-odds.
    `log_loss` (by method, cross-validated) and `ece` (calibration error, before and after) are nats and
    shares of 1.
    """

    version: Literal[1] = 1
    weights_sha256: str
    head: HeadKind
    score_max: float
    both_orders: bool
    pairs: FittedOn
    base_rate: float = Field(gt=0.0, lt=1.0)
    shift: float
    curve: Curve
    log_loss: dict[str, float]
    ece: dict[str, float]
    thresholds: Thresholds

    def logits(self, logit: Floats) -> Floats:
        """Return calibrated logits in the same order, `(n_pairs,) float32`."""
        return apply_curve(logit, self.curve, self.shift)

    def probabilities(self, logit: Floats) -> Floats:
        """Return calibrated probabilities of a model's own logits, `(n_pairs,) float32`."""
        return probabilities(self.logits(logit))

    def write(self, folder: Path) -> None:
        """Write `dupmine.json` into a model's folder, whole or not at all."""
        write_record(self, folder / CALIBRATION, indent=2)


def load_calibration(folder: Path) -> Calibration | None:
    """Return the calibration of the model in a folder, None where it has none.

    Raises:
        ModelError: it cannot be read, or belongs to other weights.
    """
    found = read_record(Calibration, folder / CALIBRATION, _FIT_AGAIN)
    if found is not None and weights_sha256(folder) not in (None, found.weights_sha256):
        raise ModelError(
            f"{folder / CALIBRATION} belongs to other weights than those beside it: {_FIT_AGAIN}"
        )
    return found


def find_calibration(folder: Path, head: Head) -> Calibration | None:
    """Return the calibration of a model that is read through `head`, None where it has none.

    Raises:
        ModelError: it cannot be read, or belongs to other weights.
        SettingsError: it was fitted with another head.
    """
    found = load_calibration(folder)
    if found is None:
        return None
    if (found.head, found.score_max) != (head.kind, head.score_max):
        raise SettingsError(
            f"setting rerank.head: {folder / CALIBRATION} is for the head {found.head} with score_max "
            f"{found.score_max:g}, not {head.kind} with {head.score_max:g}: {_FIT_AGAIN}"
        )
    if found.both_orders != head.both_orders:
        fitted = "both orders" if found.both_orders else "one order"
        log.warning("%s was fitted with %s of each pair: %s", folder / CALIBRATION, fitted, _FIT_AGAIN)
    return found


def weights_sha256(folder: Path) -> str | None:
    """Return a SHA-256 over a model's safetensors files, None where it has none (as one in ONNX)."""
    total = hashlib.sha256()
    paths = sorted(folder.glob("*.safetensors"))
    for path in paths:
        with path.open("rb") as file:
            total.update(path.name.encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest() if paths else None


def choose_threshold(settings: RerankSettings, fitted: HasThresholds | None) -> tuple[float, str]:
    """Return the probability from which a pair is a duplicate, and what it goes by.

    Raises:
        SettingsError: a target precision that the model is not known to reach.
    """
    if settings.threshold is not None:
        return settings.threshold, "rerank.threshold"
    if settings.target_precision is not None:
        threshold = _reaching(settings, settings.target_precision, fitted)
        return threshold, f"rerank.target_precision {settings.target_precision:g}"
    by = "default" if fitted is None else "best F1 on the calibration pairs"
    return reference_threshold(fitted), by


def reference_threshold(fitted: HasThresholds | None) -> float:
    """Return the threshold with the best F1, 0.5 where nothing was fitted."""
    return UNCALIBRATED_THRESHOLD if fitted is None else fitted.thresholds.best_f1.threshold


def _reaching(settings: RerankSettings, target: float, fitted: HasThresholds | None) -> float:
    asked, name = f"setting rerank.target_precision: {target:g}", settings.cross_encoder
    if not settings.calibrate:
        raise SettingsError(f"{asked} needs the calibration that rerank.calibrate: false leaves out")
    if fitted is None:
        raise SettingsError(
            f"{asked} needs a calibration, and model {name} has none: make one with "
            f"`dupmine calibrate {name} PAIRS`, or give a threshold"
        )
    threshold = fitted.thresholds.threshold_for(target)
    if threshold is None:
        raise SettingsError(
            f"{asked} is out of reach of model {name}: its calibration pairs support at most "
            f"{fitted.thresholds.highest_precision:g}; ask for less, or calibrate it with more pairs"
        )
    return threshold
