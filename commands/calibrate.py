"""`dupmine calibrate`: probabilities and thresholds that hold, stored beside a model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..inference.model_files import CALIBRATION, CASCADE, DECISION
from ..messages import escape
from . import options

if TYPE_CHECKING:
    from ..rerank.bands import Bounds
    from ..rerank.calibration import Calibration
    from ..rerank.cascade import FittedCascade
    from ..rerank.decision import Decision
    from ..rerank.thresholds import OperatingPoint, Thresholds


def calibrate(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Cross-encoder: built-in, folder or hub name.")
    ],
    pairs: options.Pairs,
    *,
    out: Annotated[
        Path | None,
        options.output_option("--out", "-o", help="New folder for a copy of the model; by default MODEL."),
    ] = None,
    split: options.Split = None,
    reading: options.PairOptions,
    corpus: Annotated[
        Path | None,
        options.input_option(
            metavar="RUN",
            help="Fit the corpus-aware decision and the cascade instead, on this corpus: the folder of a run "
            "with the model, or a file, which is mined first.",
        ),
    ] = None,
    base_rate: Annotated[
        float | None,
        options.model_option(
            help="Share of duplicates among the pairs to be mined; by default that of PAIRS."
        ),
    ] = None,
    symmetric: options.Symmetric = None,
    config: options.ConfigOptions,
    compute: options.ComputeOptions,
    log: options.LogOptions,
) -> None:
    """Calibrate a cross-encoder and find its thresholds.

    The labelled pairs are pairs it was not trained on. Writes dupmine.json beside the model; mine then has
    its probabilities and --target-precision. With --corpus it writes decision.json and cascade.json: mine
    then uses the neighbours of a pair too, and the cross-encoder skips the pairs that cosine and lexical
    features decide.
    """
    from ..calibration.probabilities import CalibrateSettings, calibrate_model
    from ..corpus.labelled import read_pairs

    settings = config.build(
        CalibrateSettings,
        {"rerank.cross_encoder": model, "calibration.base_rate": base_rate, "rerank.symmetric": symmetric},
        reading,
        compute,
    )
    labelled = read_pairs(pairs, settings.pairs, split=split)
    if corpus is not None:
        from ..calibration.corpus import calibrate_to_corpus

        decision, cascade, folder = calibrate_to_corpus(settings, labelled, corpus, log.progress, out=out)
        lines = [*decision_lines(decision), *cascade_lines(cascade)]
        log.report([*lines, "", f"written to {escape(str(folder / DECISION))} and {CASCADE}"])
        return
    calibration, folder = calibrate_model(settings, labelled, log.progress, out=out)
    log.report([*calibration_lines(calibration), "", f"written to {escape(str(folder / CALIBRATION))}"])


def calibration_lines(calibration: Calibration) -> Iterator[str]:
    """Yield the lines about a calibration."""
    shown = (
        f"{calibration.pairs.n:,} pairs, {calibration.pairs.duplicates / calibration.pairs.n:.1%} duplicates"
    )
    yield f"{shown}; probabilities for a base rate of {calibration.base_rate:.1%}"
    losses = ", ".join(f"{name} {value:.4f}" for name, value in calibration.log_loss.items())
    yield f"log loss on held-out folds: {losses}; chosen: {calibration.curve.method}"
    yield f"calibration error: {calibration.ece['before']:.4f} before, {calibration.ece['after']:.4f} after"
    yield from _threshold_lines(calibration.thresholds)


def decision_lines(decision: Decision) -> Iterator[str]:
    """Yield the lines about a fitted decision."""
    pairs = decision.pairs
    yield f"{pairs.n:,} pairs, {pairs.duplicates:,} duplicates, among {decision.corpus_texts:,} texts"
    for name, values in (
        ("average precision", decision.average_precision),
        ("calibration error", decision.ece),
    ):
        alone, with_corpus = values["cross_encoder"], values["decision"]
        yield f"{name}: cross-encoder alone {alone:.4f}, decision on held-out folds {with_corpus:.4f}"
    yield from _threshold_lines(decision.thresholds)


def cascade_lines(cascade: FittedCascade) -> Iterator[str]:
    """Yield the lines about the bounds of a fitted cascade."""
    yield ""
    bands: dict[str, Bounds | None] = {
        "bands": cascade.bands.bounds,
        "bands before the decision": cascade.bands.bounds_with_decision,
    }
    for name, bounds in bands.items():
        if bounds is None:
            continue
        edges = " and ".join(
            "none" if edge is None else f"{edge:.2f}" for edge in (bounds.lower, bounds.upper)
        )
        yield (
            f"{name}: log-odds {edges} decide {bounds.decided:.1%} of {cascade.candidates:,} candidates, "
            f"{bounds.otherwise:.2%} of them differently from the cross-encoder; F1 "
            f"{bounds.f1['before']:.4f} before, {bounds.f1['after']:.4f} after"
        )


def _threshold_lines(thresholds: Thresholds) -> Iterator[str]:
    yield ""
    yield f"{'':>16}  threshold  {'precision':^23}  {'recall':^23}  {'F1':^23}"
    yield _line("best F1", thresholds.best_f1)
    for target, point in thresholds.target_precision.items():
        yield _line(f"precision {target}", point)
    yield f"highest precision within reach: {thresholds.highest_precision:g}"


def _line(name: str, point: OperatingPoint | None) -> str:
    if point is None:
        return f"{name:>16}  out of reach"
    cells = (
        f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"
        for value, interval in (
            (point.precision, point.precision_interval),
            (point.recall, point.recall_interval),
            (point.f1, point.f1_interval),
        )
    )
    return f"{name:>16}  {point.threshold:>9.3f}  {'  '.join(f'{cell:^23}' for cell in cells)}"
