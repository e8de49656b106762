"""Thresholds of the probability from which a pair is a duplicate, and which of them a run uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import SettingsError
from ..settings import RerankSettings
from .records import Record

if TYPE_CHECKING:
    from .calibration import Calibration
    from .decision import Decision

UNCALIBRATED_THRESHOLD = 0.5

_ROUNDING = 1e-9


class OperatingPoint(Record):
    """A threshold and what it does on the calibration pairs, with 95 % intervals."""

    threshold: float
    precision: float
    precision_interval: tuple[float, float]
    recall: float
    recall_interval: tuple[float, float]
    f1: float
    f1_interval: tuple[float, float]


class Thresholds(Record):
    """The threshold with the best F1, and those that reach a precision.

    `target_precision` is null where a target is out of reach. `reach` holds (precision, threshold), both
    increasing: from the threshold on, other pairs have at least that precision with 95 % confidence.
    """

    best_f1: OperatingPoint
    target_precision: dict[str, OperatingPoint | None]
    reach: tuple[tuple[float, float], ...]

    @property
    def highest_precision(self) -> float:
        """The highest precision within reach, 0 where none is."""
        return self.reach[-1][0] if self.reach else 0.0

    def threshold_for(self, precision: float) -> float | None:
        """Return the lowest threshold that reaches a precision, None where it is out of reach."""
        thresholds = (threshold for reached, threshold in self.reach if reached >= precision - _ROUNDING)
        return next(thresholds, None)


def choose_threshold(settings: RerankSettings, fitted: Calibration | Decision | None) -> tuple[float, str]:
    """Return the probability from which a pair is a duplicate, and where it comes from.

    Raises:
        SettingsError: a target precision that the model is not known to reach.
    """
    if settings.threshold is not None:
        return settings.threshold, "rerank.threshold"
    if settings.target_precision is not None:
        threshold = _threshold_for_target(settings, settings.target_precision, fitted)
        return threshold, f"rerank.target_precision {settings.target_precision:g}"
    by = "default" if fitted is None else "best F1 on the calibration pairs"
    return reference_threshold(fitted), by


def reference_threshold(fitted: Calibration | Decision | None) -> float:
    """Return the threshold with the best F1, 0.5 where nothing was fitted."""
    return UNCALIBRATED_THRESHOLD if fitted is None else fitted.thresholds.best_f1.threshold


def _threshold_for_target(
    settings: RerankSettings, target: float, fitted: Calibration | Decision | None
) -> float:
    setting, name = f"setting rerank.target_precision: {target:g}", settings.cross_encoder
    if not settings.calibrate:
        raise SettingsError(f"{setting} needs the calibration that rerank.calibrate: false leaves out")
    if fitted is None:
        raise SettingsError(
            f"{setting} needs a calibration, and model {name} has none: make one with "
            f"`dupmine calibrate {name} PAIRS`, or give a threshold"
        )
    threshold = fitted.thresholds.threshold_for(target)
    if threshold is None:
        raise SettingsError(
            f"{setting} is out of reach of model {name}: its calibration pairs support at most "
            f"{fitted.thresholds.highest_precision:g}; ask for less, or calibrate it with more pairs"
        )
    return threshold
