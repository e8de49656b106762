"""`dupmine link`: find the texts of a reference that ask the same as new ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..disk.interrupts import end_with_commit
from ..messages import escape
from ..settings import MiningSettings
from . import options
from .mine import Inputs, MiningOptions, Restart


def link(
    inputs: Inputs = None,
    against: Annotated[
        list[str] | None,
        options.input_option(
            metavar="REFERENCE…",
            help="Files, folders or globs; or the folder of a run or of a store.  [required]",
        ),
    ] = None,
    out: Annotated[
        Path | None, options.output_option("--out", "-o", help="Folder for the result.  [required]")
    ] = None,
    top: Annotated[
        int, options.output_option(min=1, help="Keep at most so many matches of each new document.")
    ] = 5,
    within: Annotated[
        bool,
        options.output_option(
            "--within", help="Also find duplicates among the new documents without a match."
        ),
    ] = False,
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
    """Find the texts of a reference that ask the same as new ones.

    Writes a folder of Parquet tables: the best matches of each new document, the new documents without a
    duplicate in the reference, and those with one.
    """
    if print_config:
        typer.echo(config.build(MiningSettings, corpus, mining, compute).to_yaml(), nl=False)
        return
    if not inputs:
        raise typer.BadParameter("name at least one file, folder or glob", param_hint="INPUT")
    if not against:
        raise typer.BadParameter("name the documents to look the new ones up in", param_hint="--against")
    if out is None:
        raise typer.BadParameter("name a folder for the result", param_hint="--out")
    from ..miner import Miner
    from .prometheus import gauges_of_links, metrics_of_run
    from .summary import summarise_links

    end_with_commit()
    with metrics_of_run(metrics.metrics, metrics.metrics_label) as report:
        settings = config.build(MiningSettings, corpus, mining, compute)
        miner = Miner(settings, progress=log.bars)
        result = miner.link_files(
            inputs, against, out, top=top, within=within, overwrite=overwrite, restart=restart
        )
        report(gauges_of_links(result), result.manifest["seconds"])
    log.report([summarise_links(result), "", f"written to {escape(str(out))}"])
