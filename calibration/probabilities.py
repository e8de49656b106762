"""Fit a cross-encoder's calibration to labelled pairs, and write it beside the model or into a copy."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import Field

from ..corpus.labelled import pairs_sha256
from ..corpus.questions import question_components
from ..disk.files import output_errors
from ..disk.folder import check_target, replacing
from ..errors import InputError, OutputError
from ..evaluation.model import score_with_loaded
from ..evaluation.weighted_metrics import calibration_error
from ..inference.device import resolve_device
from ..inference.locate import locate_model, quiet_loading
from ..progress import Progress
from ..rerank.calibration import Calibration, weights_sha256
from ..rerank.cascade import FittedCascade
from ..rerank.curves import apply_curve
from ..rerank.decision import Decision
from ..rerank.records import FittedOn
from ..rerank.scorer import CrossEncoder
from ..schema import Floats, LabelledPairs, probabilities
from ..settings import (
    BUILTIN_BI_ENCODER,
    BUILTIN_CROSS_ENCODER,
    ComputeSettings,
    CorpusSettings,
    PairSettings,
    RerankSettings,
    RetrievalSettings,
)
from ..staged import Stage, StagedSettings
from .curves import fit_best
from .thresholds import find_thresholds

_LEAST = 20  # pairs of each label


class CalibrationSettings(Stage):
    """How a calibration is fitted."""

    base_rate: float | None = Field(default=None, gt=0.0, lt=1.0)
    """share of duplicates among the pairs that will be mined; by default that of the labelled pairs"""
    folds: int = Field(default=5, ge=2, le=20)
    """parts for cross-validation, which share no question"""
    seed: int = Field(default=42, ge=0)
    """seed of the folds and of the intervals"""


class CalibrateSettings(StagedSettings):
    """The settings of `calibrate`: the pairs, the model `rerank.cross_encoder`, and how it is calibrated."""

    pairs: PairSettings = PairSettings()
    corpus: CorpusSettings = CorpusSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    rerank: RerankSettings = RerankSettings()
    compute: ComputeSettings = ComputeSettings()
    calibration: CalibrationSettings = CalibrationSettings()


def calibrate_model(
    settings: CalibrateSettings, pairs: LabelledPairs, progress: Progress, *, out: Path | None = None
) -> tuple[Calibration, Path]:
    """Calibrate a cross-encoder on labelled pairs; return the calibration and the folder that holds it.

    It is written beside the model or, with `out`, into a copy of the model.

    Raises:
        InputError: the pairs are too few, of one kind, or have labels other than 0 and 1.
        ModelError: the model cannot be found or loaded, or is not a cross-encoder.
        OutputError: the model's folder, or `out`, cannot be written.
    """
    folder = locate_writable(settings.rerank.cross_encoder, out)
    require_pairs(pairs, settings.calibration.folds)
    compute = resolve_device(settings.compute)
    with quiet_loading():
        model = CrossEncoder(settings.rerank.model_copy(update={"calibrate": False}), compute)
    scores = score_with_loaded(model, pairs, settings.corpus.max_tokens, progress)
    calibration = fit_calibration(scores.value, pairs, settings.calibration, model)
    return calibration, write_beside([calibration], folder, out)


def fit_calibration(
    logit: Floats, pairs: LabelledPairs, settings: CalibrationSettings, model: CrossEncoder
) -> Calibration:
    """Fit a calibration to a model's uncalibrated logits of pairs, `(n_pairs,)`.

    A base rate other than that of the pairs shifts the curve by the difference in log-odds (Saerens, Latinne
    and Decaestecker, 2002).
    """
    group = question_components(pairs)
    actual = pairs.label > 0.5
    share = float(actual.mean())
    base_rate = settings.base_rate or share
    shift = float(np.log(base_rate / (1 - base_rate)) - np.log(share / (1 - share)))
    fit = fit_best(logit, actual, group, folds=settings.folds, seed=settings.seed)
    weight = np.where(actual, base_rate / share, (1 - base_rate) / (1 - share))
    before = calibration_error(actual, probabilities(logit), weight)
    after = calibration_error(actual, probabilities(fit.held_out + shift), weight)
    probability = probabilities(apply_curve(logit, fit.curve, shift))
    return Calibration(
        weights_sha256=weights_sha256(model.folder) or "",
        head=model.head.kind,
        score_max=model.head.score_max,
        both_orders=model.head.both_orders,
        pairs=fitted_on(pairs),
        base_rate=base_rate,
        shift=shift,
        curve=fit.curve,
        log_loss=fit.log_loss,
        ece={"before": before, "after": after},
        thresholds=find_thresholds(probability, actual, group, base_rate=base_rate, seed=settings.seed),
    )


def fitted_on(pairs: LabelledPairs) -> FittedOn:
    """Return the record of labelled pairs that something is fitted on."""
    return FittedOn(n=len(pairs), duplicates=int((pairs.label > 0.5).sum()), sha256=pairs_sha256(pairs))


def require_pairs(pairs: LabelledPairs, folds: int) -> None:
    """Check that pairs suffice for calibration.

    Raises:
        InputError: they are too few, of one kind, have labels other than 0 and 1, or fewer connected groups
            than folds.
    """
    if not pairs.is_binary:
        other = pairs.label[~np.isin(pairs.label, (0.0, 1.0))][0]
        raise InputError(
            f"{pairs.source}: calibration needs labels 0 and 1, and one is {other:g} (1 is the highest); "
            "give pairs that are duplicates or not"
        )
    duplicates = int(pairs.label.sum())
    others = len(pairs) - duplicates
    if min(duplicates, others) < _LEAST:
        raise InputError(
            f"{pairs.source}: calibration needs at least {_LEAST} duplicates and as many other pairs, and "
            f"there are {duplicates:,} and {others:,}"
        )
    groups = len(np.unique(question_components(pairs)))
    if groups < folds:
        raise InputError(
            f"{pairs.source}: the questions of the pairs form {groups} connected groups, and {folds} are "
            "needed for cross-validation; give more pairs, or fewer calibration.folds"
        )


def locate_writable(name: str, out: Path | None) -> Path:
    """Return a model's folder after checking, before the work, that its result can be written.

    Raises:
        ModelError: the model cannot be found.
        OutputError: the result cannot be written.
    """
    folder = locate_model(name)
    if out is not None:
        check_target(out, (), overwrite=False)
        return folder
    own = name not in (BUILTIN_BI_ENCODER, BUILTIN_CROSS_ENCODER) and Path(name).expanduser().is_dir()
    if not own or not os.access(folder, os.W_OK):
        reason = "cannot be written: no write access" if own else "is not a local folder"
        raise OutputError(f"model {name} {reason}; give --out FOLDER for a copy of it with its calibration")
    return folder


def write_beside(
    fitted: Sequence[Calibration | Decision | FittedCascade], folder: Path, out: Path | None
) -> Path:
    """Write what was fitted into a model's folder or, with `out`, into a copy; return the folder."""
    if out is None:
        with output_errors(folder):
            for part in fitted:
                part.write(folder)
        return folder
    out = out.expanduser().absolute()
    with replacing(out, (), overwrite=False) as staging:
        shutil.copytree(folder, staging, dirs_exist_ok=True)
        for part in fitted:
            part.write(staging)
    return out
