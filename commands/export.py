"""`dupmine export`: a model as an ONNX graph, checked before it is kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from ..errors import needs_extra
from ..messages import escape
from . import options

if TYPE_CHECKING:
    from ..export.check import ExportCheck


def export(
    model: options.Model,
    *,
    out: Annotated[Path, options.output_option("--out", "-o", help="New folder for the exported model.")],
    pairs: Annotated[
        Path,
        options.input_option(
            metavar="PAIRS", help="Labelled pairs to check it on; int8 takes its ranges from 400 of them."
        ),
    ],
    format_: Annotated[
        Literal["onnx"], options.output_option("--format", help="The only one so far.")
    ] = "onnx",
    int8: Annotated[
        bool,
        options.output_option("--int8", help="Linear layers in eight bits: several times faster on a CPU."),
    ] = False,
    max_loss: Annotated[
        float,
        options.output_option(min=0, max=1, help="Refuse an export whose F1 is lower by more than this."),
    ] = 0.005,
    sample: Annotated[int, options.input_option(min=1, help="Pairs to check on.")] = 6000,
    split: options.Split = None,
    reading: options.PairOptions,
    head: options.Head = None,
    config: options.ConfigOptions,
    threads: options.Threads = None,
    log: options.LogOptions,
) -> None:
    """Write a model as an ONNX graph for other engines.

    The export is refused if its F1 is lower than the original's by more than --max-loss.
    """
    from ..corpus.labelled import read_pairs
    from ..evaluation.model import EvaluateSettings

    with needs_extra("an export", "onnx"):
        from ..export.model import ExportOptions, export_model
    settings = config.build(EvaluateSettings, reading, {"rerank.head": head, "compute.threads": threads})
    labelled = read_pairs(pairs, settings.pairs, split=split)
    plan = ExportOptions(int8, max_loss, sample)
    check = export_model(model, labelled, out, plan, settings, log.progress)
    log.report([*check_lines(check, len(labelled)), "", f"written to {escape(str(out))}"])


def check_lines(check: ExportCheck, n_pairs: int) -> Iterator[str]:
    """Yield the check as a table; `n_pairs` is how many pairs there were to draw from."""
    yield f"checked on {check.pairs:,} of {n_pairs:,} pairs, on the CPU"
    yield ""
    yield f"{'':>24}{'original':>12}{'exported':>12}"
    yield f"{check.measure:>24}{check.original:>12.4f}{check.exported:>12.4f}"
    yield f"{'pairs per second':>24}{check.pairs_per_second[0]:>12,.0f}{check.pairs_per_second[1]:>12,.0f}"
    yield f"{f'greatest {check.scores} change':>24}{'':>12}{check.max_difference:>12.4f}"
    yield f"{f'mean {check.scores} change':>24}{'':>12}{check.mean_difference:>12.4f}"
