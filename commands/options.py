"""The options that several commands share, and the settings they make."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..settings import MiningSettings, load_settings, parse_overrides
from .logs import LogFormat

Config = Annotated[Path | None, typer.Option("--config", "-c", help="YAML file with settings.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="STAGE.KEY=VALUE", help="Any setting; repeatable.")
]
TextColumn = Annotated[
    str | None, typer.Option(help="Column with the text; several joined by commas, as title,body.")
]
IdColumn = Annotated[str | None, typer.Option(help="Column with a unique id.")]
Format = Annotated[str | None, typer.Option("--format", help="csv, tsv, jsonl, parquet or stackexchange.")]
EncodingErrors = Annotated[
    str | None, typer.Option(help="Invalid UTF-8: strict ends with an error, replace counts it.")
]
Device = Annotated[str | None, typer.Option(help="auto, cpu, mps, cuda or cuda:N.")]
Threads = Annotated[int | None, typer.Option(help="CPU threads; by default all cores.")]
Metrics = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Write Prometheus metrics for node_exporter's textfile collector."),
]
MetricsLabel = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="Label of every metric, to tell stores apart; repeatable."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No bars and no summary.")]
LogLevel = Annotated[str, typer.Option(help="debug, info, warning or error.")]
LogFormatOption = Annotated[
    LogFormat, typer.Option("--log-format", help="json: one object a line on standard error, no bars.")
]


def settings_from(config: Path | None, overrides: list[str] | None, flags: dict[str, Any]) -> MiningSettings:
    """Build the settings: the file, then `--set`, then flags that were given."""
    return load_settings(config, parse_overrides(overrides or []) | given(flags))


def given(flags: dict[str, Any]) -> dict[str, Any]:
    """Return the flags that were given."""
    return {name: value for name, value in flags.items() if value is not None}


def bars(quiet: bool, log_format: LogFormat) -> bool | None:
    """Whether bars are shown: not for machines, else where there is a terminal (None)."""
    return False if quiet or log_format == "json" else None
