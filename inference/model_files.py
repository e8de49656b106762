"""The files that dupmine adds to a model's own: their names, and what they change."""

from __future__ import annotations

CALIBRATION = "dupmine.json"  # by `dupmine calibrate`
DECISION = "decision.json"  # by `dupmine calibrate --corpus`, as is the next
CASCADE = "cascade.json"
EXPORT_RECORD = "onnx.json"  # by `dupmine export`, in the folder that it writes

NOT_SCORING = frozenset({DECISION, CASCADE})  # the model's own scores do not depend on them
FITTED = NOT_SCORING | {CALIBRATION}
