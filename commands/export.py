"""`dupmine export`: a model as an ONNX graph, checked before it is kept."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .logs import set_level

if TYPE_CHECKING:
    from ..export.check import Check


class ExportFormat(StrEnum):
    """What a model can be exported to."""

    onnx = "onnx"


def export(  # noqa: PLR0913, PLR0917 - one parameter per flag
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Bi- or cross-encoder: built-in, folder or hub name.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="New folder for the exported model.")],
    pairs: Annotated[
        Path,
        typer.Option(
            metavar="PAIRS", help="Labelled pairs to check it on; int8 takes its ranges from 400 of them."
        ),
    ],
    split: Annotated[str | None, typer.Option(help="Only rows with this in the column split.")] = None,
    format_: Annotated[
        ExportFormat, typer.Option("--format", help="The only one so far.")
    ] = ExportFormat.onnx,
    int8: Annotated[
        bool, typer.Option("--int8", help="Linear layers in eight bits: several times faster on a CPU.")
    ] = False,
    max_loss: Annotated[
        float, typer.Option(min=0, max=1, help="Refuse an export whose F1 is lower by more than this.")
    ] = 0.005,
    sample: Annotated[int, typer.Option(min=1, help="Check on so many of the pairs.")] = 6000,
    config: options.Config = None,
    set_: options.Set = None,
    head: Annotated[
        str | None, typer.Option(help="How to read a cross-encoder: sigmoid, softmax, nli or score.")
    ] = None,
    text_columns: options.TextColumns = None,
    label_column: options.LabelColumn = None,
    label_max: options.LabelMax = None,
    threads: options.Threads = None,
    quiet: options.Quiet = False,
    log_level: options.LogLevel = "warning",
) -> None:
    """Write a model as an ONNX graph for other engines, after a check against the original."""
    set_level(log_level)
    from ..corpus.labelled import read_pairs
    from ..evaluation.model import EvaluateSettings
    from ..export.run import ExportPlan, export_model
    from ..progress import Progress

    flags = {
        "rerank.head": head,
        "pairs.text_columns": text_columns,
        "pairs.label_column": label_column,
        "pairs.label_max": label_max,
        "compute.threads": threads,
    }
    settings = options.build_settings(EvaluateSettings, config, set_, flags)
    labelled = read_pairs(pairs, settings.pairs, split=split)
    plan = ExportPlan(int8, max_loss, sample)
    check = export_model(model, labelled, out, plan, settings, Progress(options.bars(quiet, "text")))
    if not quiet:
        typer.echo("\n".join(check_lines(check, len(labelled))))
        typer.echo(f"\nwritten to {out}")


def check_lines(check: Check, n_pairs: int) -> Iterator[str]:
    """Yield the check as a table; `n_pairs` is how many pairs there were to draw from."""
    yield f"checked on {check.pairs:,} of {n_pairs:,} pairs, on the CPU"
    yield ""
    yield f"{'':>24}{'original':>12}{'exported':>12}"
    yield f"{check.measure:>24}{check.before:>12.4f}{check.after:>12.4f}"
    yield f"{'pairs per second':>24}{check.pairs_per_second[0]:>12,.0f}{check.pairs_per_second[1]:>12,.0f}"
    yield f"{f'greatest {check.scores} change':>24}{'':>12}{check.max_difference:>12.4f}"
    yield f"{f'mean {check.scores} change':>24}{'':>12}{check.mean_difference:>12.4f}"
