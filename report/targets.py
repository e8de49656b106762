"""The thresholds of target precisions, from what was fitted beside the model of a result."""

from __future__ import annotations

from pydantic import ValidationError

from ..disk.json_text import parse_json
from ..errors import ModelError
from ..inference.locate import fingerprint, locate_model
from ..inference.model_files import CALIBRATION, DECISION
from ..rerank.thresholds import Thresholds
from .source import Mined

TARGETS = (0.8, 0.85, 0.9, 0.95)
_NONE = "none"  # what a manifest says where no decision was used


def target_thresholds(mined: Mined) -> dict[float, float]:
    """Return the threshold of each target precision within reach; nothing where the model has changed."""
    models = mined.manifest.get("models", {})
    try:
        folder = locate_model(mined.settings.rerank.cross_encoder)
        if fingerprint(folder) != models.get("cross_encoder", {}).get("sha256"):
            return {}
        decided = models.get("decision", {}).get("sha256", _NONE) != _NONE
        content = parse_json((folder / (DECISION if decided else CALIBRATION)).read_bytes())
        fitted = Thresholds.model_validate(content["thresholds"])
    except (ModelError, OSError, ValueError, KeyError, ValidationError):
        return {}
    reached = {target: fitted.threshold_for(target) for target in TARGETS}
    return {target: threshold for target, threshold in reached.items() if threshold is not None}
