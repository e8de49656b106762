"""A cascade's fitted file, `cascade.json` beside a cross-encoder: from where on a pair is clear."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from .bands import Bands, Record, StudentStep
from .calibration import Fitted
from .fitted import read_fitted, write_fitted

FILE = "cascade.json"
ANEW = "fit it anew with `dupmine calibrate --corpus`, or set rerank.bands: off and rerank.student: off"


class Shortcuts(Record):
    """What `dupmine calibrate --corpus` fitted beside the decision.

    It belongs to a bi-encoder and to a cross-encoder with its calibration (`cross_encoder`, see
    `decision.identity`), to candidates with a cosine of at least `floor`, and to a cross-encoder that
    accepts from a probability of `threshold`.
    """

    version: Literal[1] = 1
    bi_encoder: str
    cross_encoder: str
    floor: float
    threshold: float = Field(ge=0.0, le=1.0)
    candidates: int
    pairs: Fitted
    bands: Bands
    student: StudentStep | None

    def write(self, folder: Path) -> None:
        """Write `cascade.json` into a model's folder, whole or not at all."""
        write_fitted(self, folder / FILE)


def load_shortcuts(folder: Path) -> Shortcuts | None:
    """Return what lies beside a cross-encoder, None where there is none.

    Raises:
        ModelError: it cannot be read.
    """
    return read_fitted(Shortcuts, folder / FILE, ANEW)
