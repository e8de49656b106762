"""`dupmine mine`: find duplicate clusters in question files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..disk.interrupts import end_with_commit
from ..formats import PACKED_ENDINGS, TITLES
from ..settings import MiningSettings
from . import options
from .logs import print_report, set_level
from .options import Setting

EPILOG = """\b
Examples:
  dupmine mine questions.csv --out duplicates
  dupmine mine 'posts/*.parquet' --text-column title,body --out duplicates
  dupmine mine questions.csv --target-precision 0.95 --out duplicates
"""


def mine(  # noqa: PLR0913, PLR0917 - one parameter per flag
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT",
            help=f"Files, folders or globs: {TITLES}; text formats also with {PACKED_ENDINGS}; "
            "- is standard input.",
        ),
    ] = None,
    out: Annotated[
        Path | None, options.output_option("--out", "-o", help="Folder for the result.  [required]")
    ] = None,
    overwrite: options.Overwrite = False,
    restart: Annotated[
        bool,
        options.output_option("--restart", help="Discard an interrupted run to --out, do not continue it."),
    ] = False,
    singletons: Annotated[
        bool | None,
        options.output_option("--singletons", help="List documents without a duplicate too."),
        Setting("output.singletons"),
    ] = None,
    text_column: options.TextColumn = None,
    id_column: options.IdColumn = None,
    format_: options.Format = None,
    encoding_errors: options.EncodingErrors = None,
    bi_encoder: Annotated[
        str | None,
        options.model_option(help="Model of stage 1: built-in, folder or hub name."),
        Setting("retrieval.bi_encoder"),
    ] = None,
    cross_encoder: Annotated[
        str | None,
        options.model_option(help="Model of stage 2: built-in, folder or hub name."),
        Setting("rerank.cross_encoder"),
    ] = None,
    floor: Annotated[
        float | None,
        options.model_option(help="Pairs below this cosine are not scored."),
        Setting("retrieval.floor"),
    ] = None,
    threshold: Annotated[
        float | None,
        options.model_option(help="Probability from which a pair is a duplicate."),
        Setting("rerank.threshold"),
    ] = None,
    target_precision: Annotated[
        float | None,
        options.model_option(help="Instead: the threshold that gives accepted pairs this precision."),
        Setting("rerank.target_precision"),
    ] = None,
    keep: Annotated[
        str | None,
        options.model_option(help="Representative: medoid, first, longest, or COLUMN:asc|desc."),
        Setting("clustering.keep"),
    ] = None,
    config: options.Config = None,
    set_: options.Set = None,
    print_config: options.PrintConfig = False,
    device: options.Device = None,
    threads: options.Threads = None,
    metrics: options.Metrics = None,
    metrics_label: options.MetricsLabel = None,
    quiet: options.Quiet = False,
    log_level: options.LogLevel = "warning",
    log_format: options.LogFormatOption = "text",
) -> None:
    """Find duplicate clusters in files of questions.

    Writes a folder of Parquet tables: the clusters, every pair that was scored, the documents that stay and
    those that can go.
    """
    arguments = locals()
    if print_config:
        typer.echo(options.build_settings(MiningSettings, mine, arguments).to_yaml(), nl=False)
        return
    if not inputs:
        raise typer.BadParameter("name at least one file, folder or glob", param_hint="INPUT")
    if out is None:
        raise typer.BadParameter("name a folder for the result", param_hint="--out")
    set_level(log_level)
    from ..miner import Miner
    from .prometheus import gauges_of_result, metrics_of_run
    from .summary import next_commands, summarise

    end_with_commit()
    with metrics_of_run(metrics, metrics_label) as report:
        settings = options.build_settings(MiningSettings, mine, arguments)
        miner = Miner(settings, progress=options.bars(quiet, log_format))
        result = miner.mine_files(inputs, out, overwrite=overwrite, restart=restart)
        report(gauges_of_result(result), result.manifest["seconds"])
    print_report([] if quiet else [summarise(result), "", f"written to {out}", next_commands(out)])
