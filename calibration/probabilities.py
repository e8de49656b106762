"""From a cross-encoder and labelled pairs to its calibration, beside the model or in a copy of it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Protocol

import numpy as np
from pydantic import Field

from ..corpus.labelled import pairs_sha256
from ..corpus.questions import distinct_texts, question_components
from ..disk.files import output_errors
from ..disk.folder import check_target, replacing
from ..errors import InputError, OutputError
from ..evaluation.weighted_metrics import calibration_error
from ..inference.device import resolve_device
from ..inference.locate import locate_model, quiet_loading
from ..inference.tokens import tokenise
from ..progress import Progress
from ..rerank.calibration import Calibration, weights_sha256
from ..rerank.curves import apply_curve
from ..rerank.heads import Head
from ..rerank.records import FittedOn
from ..rerank.scorer import CrossEncoder
from ..schema import Floats, LabelledPairs, Rows, probabilities
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


class Writes(Protocol):
    """What can be put into a model's folder."""

    def write(self, folder: Path) -> None:
        """Write it there, whole or not at all."""


class CalibrationSettings(Stage):
    """How a calibration is fitted."""

    base_rate: float | None = Field(
        default=None,
        gt=0.0,
        lt=1.0,
        description="share of duplicates among the pairs that will be mined; by default that of the labelled "
        "pairs",
    )
    folds: int = Field(
        default=5, ge=2, le=20, description="parts for cross-validation, which share no question"
    )
    seed: int = Field(default=42, ge=0, description="seed of the folds and of the intervals")


class CalibrateSettings(StagedSettings):
    """How pairs are read, the model `rerank.cross_encoder` scores them and is calibrated."""

    pairs: PairSettings = PairSettings()
    corpus: CorpusSettings = CorpusSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    rerank: RerankSettings = RerankSettings()
    compute: ComputeSettings = ComputeSettings()
    calibration: CalibrationSettings = CalibrationSettings()


def calibrate_model(
    settings: CalibrateSettings, pairs: LabelledPairs, progress: Progress, *, out: Path | None = None
) -> tuple[Calibration, Path]:
    """Calibrate a cross-encoder on labelled pairs; return what was found and the folder that holds it now.

    It is written beside the model or, with `out`, into a copy of the model.

    Raises:
        InputError: the pairs do not do: too few, of one kind, or with labels other than 0 and 1.
        ModelError: the model cannot be found or loaded, or is not a cross-encoder.
        OutputError: there is no writing to the model's folder, or to `out`.
    """
    name = settings.rerank.cross_encoder
    folder = locate_model(name)
    require_place(name, folder, out)
    group = question_components(pairs)
    require_pairs(pairs, int(np.unique(group).size), settings.calibration.folds)
    model, logit = _score(settings, pairs, progress)
    calibration = fit_calibration(logit, pairs, group, settings.calibration, _identity(model))
    return calibration, write_beside(calibration, folder, out)


def fit_calibration(
    logit: Floats,
    pairs: LabelledPairs,
    group: Rows,
    settings: CalibrationSettings,
    model: tuple[str, Head],
) -> Calibration:
    """Calibrate logits of pairs that are connected in groups, each `(n_pairs,)`.

    `model` is the SHA-256 of its weights and the head. The curve is fitted to the pairs as they are; a base
    rate other than theirs shifts it by the difference in log-odds (Saerens, Latinne and Decaestecker, 2002).
    """
    actual = pairs.label > 0.5
    share = float(actual.mean())
    base_rate = settings.base_rate or share
    shift = float(np.log(base_rate / (1 - base_rate)) - np.log(share / (1 - share)))
    fit = fit_best(logit, actual, group, folds=settings.folds, seed=settings.seed)
    weight = np.where(actual, base_rate / share, (1 - base_rate) / (1 - share))
    before = calibration_error(actual, probabilities(logit), weight)
    after = calibration_error(actual, probabilities(fit.held_out + shift), weight)
    sha256, head = model
    probability = probabilities(apply_curve(logit, fit.curve, shift))
    return Calibration(
        weights_sha256=sha256,
        head=head.kind,
        score_max=head.score_max,
        both_orders=head.both_orders,
        pairs=fitted_on(pairs),
        base_rate=base_rate,
        shift=shift,
        curve=fit.curve,
        log_loss=fit.log_loss,
        ece={"before": before, "after": after},
        thresholds=find_thresholds(probability, actual, group, base_rate=base_rate, seed=settings.seed),
    )


def fitted_on(pairs: LabelledPairs) -> FittedOn:
    """Return what is noted of labelled pairs that something is fitted on."""
    return FittedOn(n=len(pairs), duplicates=int((pairs.label > 0.5).sum()), sha256=pairs_sha256(pairs))


def _identity(model: CrossEncoder) -> tuple[str, Head]:
    return weights_sha256(model.folder) or "", model.head


def _score(
    settings: CalibrateSettings, pairs: LabelledPairs, progress: Progress
) -> tuple[CrossEncoder, Floats]:
    """Return the model and its own logits of the pairs; every distinct text is tokenised once."""
    compute = resolve_device(settings.compute)
    with quiet_loading():
        model = CrossEncoder(settings.rerank.model_copy(update={"calibrate": False}), compute)
    texts, left, right = distinct_texts(pairs)
    tokens = tokenise(texts, model.tokenizer, max_tokens=settings.corpus.max_tokens, progress=progress)
    return model, model.score(tokens, left, right, progress)


def require_pairs(pairs: LabelledPairs, groups: int, folds: int) -> None:
    """Refuse pairs that are too few, of one kind, of other labels than 0 and 1, or that are all connected."""
    if not pairs.is_binary:
        strange = pairs.label[~np.isin(pairs.label, (0.0, 1.0))][0]
        raise InputError(
            f"{pairs.source}: calibration needs labels 0 and 1, and there is one of {strange:g} (1 is the "
            "highest); give pairs that are duplicates or not"
        )
    duplicates = int(pairs.label.sum())
    others = len(pairs) - duplicates
    if min(duplicates, others) < _LEAST:
        raise InputError(
            f"{pairs.source}: calibration needs at least {_LEAST} duplicates and as many other pairs, and "
            f"there are {duplicates:,} and {others:,}"
        )
    if groups < folds:
        raise InputError(
            f"{pairs.source}: the pairs are connected by their questions in {groups} groups, and {folds} are "
            "needed for cross-validation; give more pairs, or fewer calibration.folds"
        )


def require_place(name: str, folder: Path, out: Path | None) -> None:
    """Find out before the work whether its result can be written."""
    if out is not None:
        check_target(out, (), overwrite=False)
        return
    own = name not in (BUILTIN_BI_ENCODER, BUILTIN_CROSS_ENCODER) and Path(name).expanduser().is_dir()
    if not own or not os.access(folder, os.W_OK):
        reason = "cannot be written: no write access" if own else "is not a local folder"
        raise OutputError(f"model {name} {reason}; give --out FOLDER for a copy of it with its calibration")


def write_beside(fitted: Writes, folder: Path, out: Path | None) -> Path:
    """Write what was fitted into a model's folder or, with `out`, into a copy of it; return which."""
    if out is None:
        with output_errors(folder):
            fitted.write(folder)
        return folder
    out = out.expanduser().absolute()
    with replacing(out, (), overwrite=False) as staging:
        shutil.copytree(folder, staging, dirs_exist_ok=True)
        fitted.write(staging)
    return out
