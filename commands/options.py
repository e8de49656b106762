"""The options that several commands share, and the settings that options stand for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

from ..formats import NAMES, PAIR_TITLES
from ..staged import StagedSettings, load_staged, parse_overrides
from .logs import LogFormat

S = TypeVar("S", bound=StagedSettings)


@dataclass(frozen=True, slots=True)
class Setting:
    """Marks an option that stands for a setting."""

    name: str


input_option = partial(typer.Option, rich_help_panel="Input")
model_option = partial(typer.Option, rich_help_panel="Models and thresholds")
output_option = partial(typer.Option, rich_help_panel="Output")
setting_option = partial(typer.Option, rich_help_panel="Settings")
run_option = partial(typer.Option, rich_help_panel="Running")

Config = Annotated[Path | None, setting_option("--config", "-c", help="YAML file with settings.")]
Set = Annotated[
    list[str] | None, setting_option("--set", metavar="STAGE.KEY=VALUE", help="Any setting; repeatable.")
]
PrintConfig = Annotated[
    bool, setting_option("--print-config", help="Print the effective settings as YAML and stop.")
]

TextColumn = Annotated[
    str | None,
    input_option(help="Column with the text; several joined by commas, as title,body."),
    Setting("corpus.text_column"),
]
IdColumn = Annotated[str | None, input_option(help="Column with a unique id."), Setting("corpus.id_column")]
Format = Annotated[
    str | None,
    input_option("--format", help=f"One of {NAMES}; by default by the file name."),
    Setting("corpus.format"),
]
EncodingErrors = Annotated[
    str | None,
    input_option(help="Invalid UTF-8: strict ends with an error, replace counts it."),
    Setting("corpus.encoding_errors"),
]
Pairs = Annotated[Path, typer.Argument(metavar="PAIRS", help=f"Labelled pairs: {PAIR_TITLES}.")]
Split = Annotated[
    str | None, input_option(help="Use only rows with this value in the column split, as test.")
]
TextColumns = Annotated[
    str | None,
    input_option(metavar="A,B", help="The two columns with texts; by default found by name."),
    Setting("pairs.text_columns"),
]
LabelColumn = Annotated[
    str | None,
    input_option(help="Column with the label; by default is_duplicate, label or score."),
    Setting("pairs.label_column"),
]
LabelMax = Annotated[
    float | None,
    input_option(help="Label of identical meaning: 5 for STS-B's 0 to 5."),
    Setting("pairs.label_max"),
]

Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="Bi- or cross-encoder: built-in, folder or hub name.")
]
Head = Annotated[
    str | None,
    model_option(help="How to read a cross-encoder: sigmoid, softmax, nli or score."),
    Setting("rerank.head"),
]
Symmetric = Annotated[
    bool | None,
    model_option("--symmetric", help="Score both orders of a pair and average."),
    Setting("rerank.symmetric"),
]

Overwrite = Annotated[bool, output_option("--overwrite", help="Replace an earlier result in --out.")]

Device = Annotated[str | None, run_option(help="auto, cpu, mps, cuda or cuda:N."), Setting("compute.device")]
Threads = Annotated[
    int | None, run_option(help="CPU threads; by default all cores."), Setting("compute.threads")
]
Metrics = Annotated[
    Path | None,
    run_option(metavar="FILE", help="Write Prometheus metrics for node_exporter's textfile collector."),
]
MetricsLabel = Annotated[
    list[str] | None,
    run_option(metavar="NAME=VALUE", help="Label of every metric, to tell stores apart; repeatable."),
]
Quiet = Annotated[bool, run_option("--quiet", "-q", help="No bars and no summary.")]
LogLevel = Annotated[str, run_option(help="debug, info, warning or error.")]
LogFormatOption = Annotated[
    LogFormat, run_option("--log-format", help="json: one object per line on standard error, no bars.")
]


def build_settings(kind: type[S], command: Callable[..., None], values: Mapping[str, Any]) -> S:
    """Build a command's settings: the file of `--config`, then `--set`, then options for single settings.

    `values` are the arguments of the command's function by name.
    """
    overrides = parse_overrides(values.get("set_") or [])
    return load_staged(kind, values.get("config"), overrides | flags(command, values))


def flags(command: Callable[..., None], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings whose options were given, by name."""
    return {
        mark.name: values[name]
        for name, hint in get_type_hints(command, include_extras=True).items()
        for mark in getattr(hint, "__metadata__", ())
        if isinstance(mark, Setting) and values[name] is not None
    }


def bars(quiet: bool, log_format: LogFormat = "text") -> bool | None:
    """Return whether to show bars: none for `--quiet` and JSON, else where there is a terminal (None)."""
    return False if quiet or log_format == "json" else None


def print_utf8(lines: list[str]) -> None:
    """Print data, in UTF-8 whatever the locale says."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(encoding="utf-8", errors="replace")
    typer.echo("\n".join(lines))
