"""`dupmine mine`: find duplicate clusters in question files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..formats import PACKED_ENDINGS, TITLES
from ..settings import MiningSettings
from . import options
from .logs import set_level


def mine(  # noqa: PLR0913, PLR0917 - one parameter per flag
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT",
            help=f"Files, folders or globs: {TITLES}; text formats also with {PACKED_ENDINGS}; "
            "- is standard input.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for the result.")] = None,
    config: options.Config = None,
    set_: options.Set = None,
    text_column: options.TextColumn = None,
    id_column: options.IdColumn = None,
    format_: options.Format = None,
    encoding_errors: options.EncodingErrors = None,
    bi_encoder: Annotated[str | None, typer.Option(help="Model of stage 1: built-in, folder or hub.")] = None,
    cross_encoder: Annotated[
        str | None, typer.Option(help="Model of stage 2: built-in, folder or hub name.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Probability from which a pair is a duplicate.")
    ] = None,
    target_precision: Annotated[
        float | None,
        typer.Option(help="Instead: the threshold that gives accepted pairs this precision, as 0.95."),
    ] = None,
    floor: Annotated[float | None, typer.Option(help="Pairs below this cosine are not scored.")] = None,
    keep: Annotated[
        str | None, typer.Option(help="Representative: medoid, first, longest, or COLUMN:asc|desc.")
    ] = None,
    device: options.Device = None,
    threads: options.Threads = None,
    singletons: Annotated[
        bool | None, typer.Option("--singletons", help="List documents without a duplicate too.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier run in --out.")] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Discard an interrupted run to --out, do not continue it.")
    ] = False,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the effective settings as YAML and stop.")
    ] = False,
    metrics: options.Metrics = None,
    metrics_label: options.MetricsLabel = None,
    quiet: options.Quiet = False,
    log_level: options.LogLevel = "warning",
    log_format: options.LogFormatOption = "text",
) -> None:
    """Find duplicate clusters in question files and write them to a folder of Parquet tables."""
    flags = {
        "corpus.text_column": text_column,
        "corpus.id_column": id_column,
        "corpus.format": format_,
        "corpus.encoding_errors": encoding_errors,
        "retrieval.bi_encoder": bi_encoder,
        "retrieval.floor": floor,
        "rerank.cross_encoder": cross_encoder,
        "rerank.threshold": threshold,
        "rerank.target_precision": target_precision,
        "clustering.keep": keep,
        "compute.device": device,
        "compute.threads": threads,
        "output.singletons": singletons,
    }
    if print_config:
        typer.echo(options.build_settings(MiningSettings, config, set_, flags).to_yaml(), nl=False)
        return
    if not inputs:
        raise typer.BadParameter("name at least one file, folder or glob", param_hint="INPUT")
    if out is None:
        raise typer.BadParameter("name a folder for the result", param_hint="--out")
    set_level(log_level)
    from ..miner import Miner
    from .prometheus import gauges_of_result, metrics_of_run
    from .summary import summarise

    with metrics_of_run(metrics, metrics_label) as report:
        settings = options.build_settings(MiningSettings, config, set_, flags)
        miner = Miner(settings, progress=options.bars(quiet, log_format))
        result = miner.mine_files(inputs, out, overwrite=overwrite, restart=restart)
        report(gauges_of_result(result), result.manifest["seconds"])
    if not quiet:
        typer.echo(summarise(result))
        typer.echo(f"\nwritten to {out}")
