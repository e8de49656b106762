"""`dupmine mine`: find duplicate clusters in question files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ..disk.interrupts import end_with_commit
from ..formats import PACKED_ENDINGS, TITLES
from ..messages import escape
from ..settings import MiningSettings
from . import options
from .groups import OptionGroup

Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT",
        help=f"Files, folders or globs: {TITLES}; text formats also with {PACKED_ENDINGS}; "
        "- is standard input.",
    ),
]
Restart = Annotated[
    bool, options.output_option("--restart", help="Discard an interrupted run to --out, do not continue it.")
]


@dataclass(frozen=True, slots=True)
class MiningOptions(OptionGroup):
    """What is found and kept."""

    bi_encoder: Annotated[
        str | None, options.model_option(help="Model of stage 1: built-in, folder or hub name.")
    ] = None
    cross_encoder: Annotated[
        str | None, options.model_option(help="Model of stage 2: built-in, folder or hub name.")
    ] = None
    floor: Annotated[float | None, options.model_option(help="Pairs below this cosine are not scored.")] = (
        None
    )
    threshold: Annotated[
        float | None, options.model_option(help="Probability from which a pair is a duplicate.")
    ] = None
    target_precision: Annotated[
        float | None,
        options.model_option(help="Instead: the threshold that gives accepted pairs this precision."),
    ] = None
    keep: Annotated[
        str | None, options.model_option(help="Representative: medoid, first, longest, or COLUMN:asc|desc.")
    ] = None
    strict_language: Annotated[
        bool | None,
        options.input_option(
            "--strict-language", help="End the run if the corpus is in a language the model does not know."
        ),
    ] = None
    singletons: Annotated[
        bool | None, options.output_option("--singletons", help="List documents without a duplicate too.")
    ] = None


def mine(
    inputs: Inputs = None,
    out: Annotated[
        Path | None, options.output_option("--out", "-o", help="Folder for the result.  [required]")
    ] = None,
    overwrite: options.Overwrite = False,
    restart: Restart = False,
    *,
    corpus: options.CorpusOptions,
    mining: MiningOptions,
    config: options.ConfigOptions,
    print_config: options.PrintConfig = False,
    compute: options.ComputeOptions,
    metrics: options.MetricsOptions,
    log: options.LogOptions,
) -> None:
    """Find duplicate clusters in files of questions.

    Writes a folder of Parquet tables: the clusters, every pair that was scored, the documents that stay and
    those that can go.
    """
    if print_config:
        typer.echo(config.build(MiningSettings, corpus, mining, compute).to_yaml(), nl=False)
        return
    if not inputs:
        raise typer.BadParameter("name at least one file, folder or glob", param_hint="INPUT")
    if out is None:
        raise typer.BadParameter("name a folder for the result", param_hint="--out")
    from ..miner import Miner
    from .prometheus import gauges_of_result, metrics_of_run
    from .summary import next_commands, summarise

    end_with_commit()
    with metrics_of_run(metrics.metrics, metrics.metrics_label) as report:
        settings = config.build(MiningSettings, corpus, mining, compute)
        miner = Miner(settings, progress=log.bars)
        result = miner.mine_files(inputs, out, overwrite=overwrite, restart=restart)
        report(gauges_of_result(result), result.manifest["seconds"])
    log.report([summarise(result), "", f"written to {escape(str(out))}", next_commands(out)])
