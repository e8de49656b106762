"""The calibration beside a model: what it does to logits, how it is read, which threshold follows from it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dupmine.errors import ModelError, SettingsError
from dupmine.inference.device import DeviceConfig
from dupmine.inference.locate import fingerprint
from dupmine.inference.model_files import CALIBRATION
from dupmine.inference.tokens import tokenise
from dupmine.progress import SILENT
from dupmine.rerank.calibration import Calibration, load_calibration, weights_sha256
from dupmine.rerank.curves import Beta, Isotonic, Platt
from dupmine.rerank.records import FittedOn
from dupmine.rerank.scorer import CrossEncoder
from dupmine.rerank.thresholds import OperatingPoint, Thresholds, choose_threshold
from dupmine.schema import Floats, probabilities
from dupmine.settings import RerankSettings

from ..helpers.sentences import QUESTIONS
from ..helpers.tiny_models import TinyModels

FP32 = DeviceConfig(torch.device("cpu"), torch.float32, 1024)
TEXTS = [text for text in QUESTIONS if len(text) < 25][:12]
NOWHERE = OperatingPoint(
    threshold=0.4,
    precision=0.8,
    precision_interval=(0.7, 0.9),
    recall=0.7,
    recall_interval=(0.6, 0.8),
    f1=0.75,
    f1_interval=(0.7, 0.8),
)
AGAIN = "calibrate the model again with `dupmine calibrate`, or set rerank.calibrate: false"


def calibration(folder: Path | None = None, **changes: Any) -> Calibration:
    """Return a calibration of the weights in a folder."""
    values: dict[str, Any] = {
        "weights_sha256": (folder and weights_sha256(folder)) or "0" * 64,
        "head": "sigmoid",
        "score_max": 1.0,
        "both_orders": False,
        "pairs": FittedOn(n=100, duplicates=40, sha256="0" * 64),
        "base_rate": 0.4,
        "shift": 0.0,
        "curve": Platt(slope=0.5, intercept=-1.0),
        "log_loss": {"none": 0.5, "platt": 0.4},
        "ece": {"before": 0.1, "after": 0.01},
        "thresholds": Thresholds(
            best_f1=NOWHERE,
            target_precision={"0.90": NOWHERE, "0.95": None, "0.99": None},
            reach=((0.5, 0.2), (0.9, 0.6), (0.905, 0.7), (0.93, 0.8)),
        ),
    }
    return Calibration.model_validate(values | changes)


@pytest.fixture
def model(tiny: TinyModels, tmp_path: Path) -> Path:
    return shutil.copytree(tiny["sigmoid"], tmp_path / "model")


def load(name: Path, **values: object) -> CrossEncoder:
    return CrossEncoder(RerankSettings.model_validate({"cross_encoder": str(name), **values}), FP32)


def score(scorer: CrossEncoder) -> Floats:
    tokens = tokenise(TEXTS, scorer.tokenizer, max_tokens=128, progress=SILENT)
    rows = np.arange(len(TEXTS))
    return scorer.score(tokens, rows, (rows + 1) % len(rows), SILENT)


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        (Platt(slope=0.5, intercept=-1.0), [-2.5, -1.0, 0.0]),
        (Beta(a=1.0, b=1.0, c=0.5), [-2.5, 0.5, 2.5]),
        (Isotonic(at_logit=(-1.0, 1.0), is_log_odds=(0.0, 4.0)), [-0.2, 2.0, 4.1]),
    ],
)
def test_curves(curve: Platt | Beta | Isotonic, expected: list[float]) -> None:
    found = calibration(curve=curve).logits(np.array([-3, 0, 2], np.float32))
    assert str(found.dtype) == "float32"
    assert found.tolist() == pytest.approx(expected)


def test_beta_by_its_formula() -> None:
    p = np.array([0.01, 0.3, 0.9])
    logit = np.log(p / (1 - p)).astype(np.float32)
    found = calibration(curve=Beta(a=2.0, b=0.5, c=0.25)).probabilities(logit)
    odds = np.exp(0.25) * p**2 / (1 - p) ** 0.5
    np.testing.assert_allclose(found, odds / (1 + odds), rtol=1e-5)


def test_the_shift_multiplies_the_odds() -> None:
    logit = np.array([-2, 0.5], np.float32)
    plain, shifted = (calibration(shift=shift).probabilities(logit) for shift in (0.0, np.log(0.25)))
    np.testing.assert_allclose(shifted / (1 - shifted), 0.25 * plain / (1 - plain), rtol=1e-5)


def test_it_is_read_as_it_was_written(model: Path) -> None:
    curves = (
        Platt(slope=0.1, intercept=3),
        Beta(a=1 / 3, b=2.5, c=-1),
        Isotonic(at_logit=(1.5,), is_log_odds=(2,)),
    )
    for curve in curves:
        written = calibration(model, curve=curve)
        written.write(model)
        assert load_calibration(model) == written
    assert json.loads((model / CALIBRATION).read_text())["curve"]["method"] == "isotonic"
    assert not list(model.glob(".*"))


def test_a_model_without_one(model: Path) -> None:
    assert load_calibration(model) is None
    assert load(model).calibration is None


def test_the_scorer_calibrates(model: Path) -> None:
    before, bare = score(load(model)), fingerprint(model)
    calibration(model, curve=Platt(slope=0.5, intercept=-1.0)).write(model)
    scorer = load(model)
    np.testing.assert_allclose(score(scorer), 0.5 * before - 1, rtol=1e-6)
    assert scorer.sha256 != bare
    assert score(load(model, calibrate=False)).tolist() == before.tolist()


def test_both_orders_are_combined_first(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = score(load(model, symmetric=True))
    curve = Isotonic(at_logit=(-1.0, 0.0, 1.0), is_log_odds=(-3.0, 0.0, 0.5))
    calibration(model, curve=curve, both_orders=True).write(model)
    after = score(load(model, symmetric=True))
    np.testing.assert_allclose(after, curve.log_odds(before.astype(float)), rtol=1e-5)
    assert caplog.messages == []
    load(model)
    assert caplog.messages == [f"{model / CALIBRATION} was fitted with both orders of each pair: {AGAIN}"]


def test_other_weights_are_noticed(model: Path, tiny: TinyModels) -> None:
    calibration(Path(tiny["roberta"])).write(model)
    with pytest.raises(ModelError) as caught:
        load(model)
    assert (
        str(caught.value) == f"{model / CALIBRATION} belongs to other weights than those beside it: {AGAIN}"
    )
    assert load(model, calibrate=False).calibration is None
    for path in model.glob("*.safetensors"):
        path.unlink()
    assert load_calibration(model) is not None  # as a model in ONNX


@pytest.mark.parametrize(
    ("changes", "settings", "found"),
    [
        ({"head": "score"}, {}, "score with score_max 1, not sigmoid with 1"),
        ({"head": "score", "score_max": 5.0}, {"head": "score"}, "score with score_max 5, not score with 1"),
    ],
)
def test_another_head_is_noticed(
    model: Path, changes: dict[str, Any], settings: dict[str, Any], found: str
) -> None:
    calibration(model, **changes).write(model)
    with pytest.raises(SettingsError) as caught:
        load(model, **settings)
    assert str(caught.value) == f"setting rerank.head: {model / CALIBRATION} is for the head {found}: {AGAIN}"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"version": 2}, "another version of dupmine wrote it"),
        ({"base_rate": 1.5}, "base_rate: Input should be less than 1"),
        ({"colour": "red"}, "colour: Extra inputs are not permitted"),
        ({"curve": {"method": "magic"}}, "curve: Input tag 'magic' found using 'method' does not "),
        ({"curve": {"method": "platt", "slope": -1, "intercept": 0}}, "curve.platt.slope: Input should "),
        (
            {"curve": {"method": "isotonic", "at_logit": [1, 1], "is_log_odds": [0, 1]}},
            "curve.isotonic: the knots must increase",
        ),
        (
            {"curve": {"method": "isotonic", "at_logit": [1, 2], "is_log_odds": [0]}},
            "curve.isotonic: every knot needs a logit and its log-odds",
        ),
        (None, "Invalid JSON: EOF while parsing"),
    ],
)  # fmt: skip
def test_a_file_that_is_none(model: Path, changes: dict[str, Any] | None, problem: str) -> None:
    values = calibration(model).model_dump() | (changes or {})
    (model / CALIBRATION).write_text(json.dumps(values) if changes else "{")
    with pytest.raises(ModelError) as caught:
        load(model)
    assert str(caught.value).startswith(f"{model / CALIBRATION} cannot be read ({problem}")
    assert str(caught.value).endswith(f"): {AGAIN}")
    assert "\n" not in str(caught.value)


def chosen(found: Calibration | None, **settings: object) -> tuple[float, str]:
    return choose_threshold(RerankSettings.model_validate({"cross_encoder": "my-model", **settings}), found)


def test_the_threshold_that_is_chosen() -> None:
    found = calibration()
    assert chosen(found) == (0.4, "best F1 on the calibration pairs")
    assert chosen(None) == (0.5, "default")
    assert chosen(found, threshold=0.8) == (0.8, "rerank.threshold")
    assert chosen(found, target_precision=0.9) == (0.6, "rerank.target_precision 0.9")
    assert chosen(found, target_precision=0.901)[0] == 0.7
    assert chosen(found, target_precision=0.906)[0] == 0.8
    assert chosen(found, target_precision=0.93)[0] == 0.8


def problem(found: Calibration | None, **settings: object) -> str:
    with pytest.raises(SettingsError) as caught:
        chosen(found, **settings)
    return str(caught.value)


def test_precisions_out_of_reach() -> None:
    assert problem(calibration(), target_precision=0.95) == (
        "setting rerank.target_precision: 0.95 is out of reach of model my-model: its calibration pairs "
        "support at most 0.93; ask for less, or calibrate it with more pairs"
    )
    assert problem(None, target_precision=0.9) == (
        "setting rerank.target_precision: 0.9 needs a calibration, and model my-model has none: make one "
        "with `dupmine calibrate my-model PAIRS`, or give a threshold"
    )
    assert problem(None, target_precision=0.9, calibrate=False) == (
        "setting rerank.target_precision: 0.9 needs the calibration that rerank.calibrate: false leaves out"
    )


def test_probability_stays_the_logistic_of_the_logit(model: Path) -> None:
    calibration(model).write(model)
    logit = score(load(model))
    own = score(load(model, calibrate=False))
    found = load_calibration(model)
    assert found is not None
    assert probabilities(logit).tolist() == found.probabilities(own).tolist()
