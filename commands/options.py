"""The options that several commands share, and the settings they make."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from ..formats import NAMES, PAIR_TITLES
from ..staged import StagedSettings, load_staged, parse_overrides
from .logs import LogFormat

S = TypeVar("S", bound=StagedSettings)

Config = Annotated[Path | None, typer.Option("--config", "-c", help="YAML file with settings.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="STAGE.KEY=VALUE", help="Any setting; repeatable.")
]
TextColumn = Annotated[
    str | None, typer.Option(help="Column with the text; several joined by commas, as title,body.")
]
IdColumn = Annotated[str | None, typer.Option(help="Column with a unique id.")]
Format = Annotated[str | None, typer.Option("--format", help=f"One of {NAMES}.")]
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
Pairs = Annotated[Path, typer.Argument(metavar="PAIRS", help=f"Labelled pairs: {PAIR_TITLES}.")]
TextColumns = Annotated[
    str | None, typer.Option(metavar="A,B", help="The two columns with texts; by default found by name.")
]
LabelColumn = Annotated[
    str | None, typer.Option(help="Column with the label; by default is_duplicate, label or score.")
]
LabelMax = Annotated[float | None, typer.Option(help="Label of identical meaning: 5 for STS-B's 0 to 5.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier result in --out.")]


def build_settings(
    kind: type[S], config: Path | None, overrides: list[str] | None, flags: dict[str, Any]
) -> S:
    """Build a command's settings: the file, then `--set`, then flags that were given."""
    return load_staged(kind, config, parse_overrides(overrides or []) | given(flags))


def given(flags: dict[str, Any]) -> dict[str, Any]:
    """Return the flags that were given."""
    return {name: value for name, value in flags.items() if value is not None}


def pair_flags(
    text_columns: str | None, label_column: str | None, label_max: float | None
) -> dict[str, object]:
    """Return the settings behind the options that say how labelled pairs are read."""
    return {
        "pairs.text_columns": text_columns,
        "pairs.label_column": label_column,
        "pairs.label_max": label_max,
    }


def bars(quiet: bool, log_format: LogFormat) -> bool | None:
    """Whether bars are shown: not for machines, else where there is a terminal (None)."""
    return False if quiet or log_format == "json" else None
