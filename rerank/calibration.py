"""A calibration, `dupmine.json` beside a model: what makes probabilities of logits, and their thresholds."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Literal

from pydantic import Field

from ..errors import ModelError, SettingsError
from ..inference.locate import digest_files
from ..inference.model_files import CALIBRATION
from ..schema import Floats, probabilities
from ..settings import HeadKind
from .curves import Curve, apply_curve
from .heads import Head
from .records import FittedOn, ModelRecord
from .thresholds import Thresholds

log = logging.getLogger(__name__)


class Calibration(ModelRecord):
    """What `dupmine calibrate` fitted to a model.

    It belongs to the weights with `weights_sha256`, read through the head. Its probabilities hold where a
    share `base_rate` of the pairs are duplicates, which adds `shift` to the log-odds of the curve. `log_loss`
    is in nats, by method, cross-validated; `ece` is the calibration error before and after.
    """

    file = CALIBRATION
    advice = "calibrate the model again with `dupmine calibrate`, or set rerank.calibrate: false"
    indent = 2

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


def load_calibration(folder: Path) -> Calibration | None:
    """Return the calibration of the model in a folder, None where it has none.

    Raises:
        ModelError: it cannot be read, or belongs to other weights.
    """
    calibration = Calibration.load(folder)
    if calibration is not None and weights_sha256(folder) not in (None, calibration.weights_sha256):
        raise ModelError(
            f"{folder / CALIBRATION} belongs to other weights than those beside it: {calibration.advice}"
        )
    return calibration


def find_calibration(folder: Path, head: Head) -> Calibration | None:
    """Return the calibration of a model that is read through `head`, None where it has none.

    Raises:
        ModelError: it cannot be read, or belongs to other weights.
        SettingsError: it was fitted with another head.
    """
    calibration, path = load_calibration(folder), folder / CALIBRATION
    if calibration is None:
        return None
    if (calibration.head, calibration.score_max) != (head.kind, head.score_max):
        raise SettingsError(
            f"setting rerank.head: {path} is for the head {calibration.head} with score_max "
            f"{calibration.score_max:g}, not {head.kind} with {head.score_max:g}: {calibration.advice}"
        )
    if calibration.both_orders != head.both_orders:
        orders = "both orders" if calibration.both_orders else "one order"
        log.warning("%s was fitted with %s of each pair: %s", path, orders, calibration.advice)
    return calibration


def weights_sha256(folder: Path) -> str | None:
    """Return a SHA-256 over a model's safetensors files, None where there are none (as in ONNX)."""
    paths = sorted(folder.glob("*.safetensors"))
    return digest_files(folder, paths) if paths else None


def fingerprint_logits(folder: Path, calibration: Calibration | None) -> str:
    """Return a SHA-256 over what a cross-encoder's logits depend on: its weights and the curve over them."""
    curve = "none" if calibration is None else f"{calibration.curve.model_dump_json()}{calibration.shift}"
    return hashlib.sha256(f"{weights_sha256(folder)} {curve}".encode()).hexdigest()
