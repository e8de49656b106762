"""The options that several commands share, in groups, and the settings that options stand for."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from ..formats import NAMES, PAIR_TITLES
from ..progress import Progress
from ..staged import StagedSettings, load_staged, parse_overrides
from .groups import OptionGroup
from .logs import LogFormat, print_report, set_level

S = TypeVar("S", bound=StagedSettings)


input_option = partial(typer.Option, rich_help_panel="Input")
model_option = partial(typer.Option, rich_help_panel="Models and thresholds")
output_option = partial(typer.Option, rich_help_panel="Output")
setting_option = partial(typer.Option, rich_help_panel="Settings")
run_option = partial(typer.Option, rich_help_panel="Running")

Pairs = Annotated[Path, typer.Argument(metavar="PAIRS", help=f"Labelled pairs: {PAIR_TITLES}.")]
Split = Annotated[
    str | None, input_option(help="Use only rows with this value in the column split, as test.")
]
Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="Bi- or cross-encoder: built-in, folder or hub name.")
]
Overwrite = Annotated[bool, output_option("--overwrite", help="Replace an earlier result in --out.")]
Json = Annotated[bool, output_option("--json", help="Print JSON.")]
Head = Annotated[
    str | None, model_option(help="How to read a cross-encoder: sigmoid, softmax, nli or score.")
]
Symmetric = Annotated[
    bool | None, model_option("--symmetric", help="Score both orders of a pair and average.")
]
Threads = Annotated[int | None, run_option(help="CPU threads; by default all cores.")]
Set = Annotated[
    list[str] | None, setting_option("--set", metavar="STAGE.KEY=VALUE", help="Any setting; repeatable.")
]
PrintConfig = Annotated[
    bool, setting_option("--print-config", help="Print the effective settings as YAML and stop.")
]

_ENCODING = "Encoding of text files, as cp1252; by default UTF-8, or what the bytes tell."
_DELIMITER = (
    "Between fields of CSV: a character, tab, or none for a text a line; by default as the file tells."
)
_QUOTE = "Around fields of CSV: a character, or none if quotes are plain; by default as the file tells."
_ESCAPE = (
    "What a backslash does in CSV: none, spark, mysql, or a character instead; by default as the file tells."
)


@dataclass(frozen=True, slots=True)
class CorpusOptions(OptionGroup):
    """How the documents are read."""

    stage = "corpus"

    text_column: Annotated[
        str | None, input_option(help="Column with the text; several joined by commas, as title,body.")
    ] = None
    id_column: Annotated[str | None, input_option(help="Column with a unique id.")] = None
    format: Annotated[str | None, input_option(help=f"One of {NAMES}; by default by the file name.")] = None
    encoding: Annotated[str | None, input_option(help=_ENCODING)] = None
    encoding_errors: Annotated[
        str | None,
        input_option(help="Bytes not in the encoding: strict ends with an error, replace counts them."),
    ] = None
    delimiter: Annotated[str | None, input_option(help=_DELIMITER)] = None
    quote: Annotated[str | None, input_option(help=_QUOTE)] = None
    escape: Annotated[str | None, input_option(help=_ESCAPE)] = None
    header: Annotated[
        bool | None,
        input_option("--header/--no-header", help="Whether the first row has the names of the columns."),
    ] = None
    columns: Annotated[
        str | None, input_option(metavar="A,B,…", help="Names of the columns of files without a header.")
    ] = None
    nulls: Annotated[
        str | None,
        input_option(
            help="Null texts: error ends the run, drop leaves the row out, empty takes an empty text."
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class PairOptions(OptionGroup):
    """How labelled pairs are read."""

    stage = "pairs"

    text_columns: Annotated[
        str | None, input_option(metavar="A,B", help="The two columns with texts; by default found by name.")
    ] = None
    encoding: Annotated[str | None, input_option(help=_ENCODING)] = None
    delimiter: Annotated[str | None, input_option(help=_DELIMITER)] = None
    quote: Annotated[str | None, input_option(help=_QUOTE)] = None
    escape: Annotated[str | None, input_option(help=_ESCAPE)] = None
    label_column: Annotated[
        str | None, input_option(help="Column with the label; by default is_duplicate, label or score.")
    ] = None
    label_max: Annotated[
        float | None, input_option(help="Label of identical meaning: 5 for STS-B's 0 to 5.")
    ] = None


@dataclass(frozen=True, slots=True)
class ComputeOptions(OptionGroup):
    """Where the models run."""

    stage = "compute"

    device: Annotated[str | None, run_option(help="auto, cpu, mps, cuda or cuda:N.")] = None
    threads: Threads = None


@dataclass(frozen=True, slots=True)
class ConfigOptions(OptionGroup):
    """Settings from a file, and single ones by name."""

    config: Annotated[Path | None, setting_option("--config", "-c", help="YAML file with settings.")] = None
    set_: Set = None

    @property
    def overrides(self) -> dict[str, Any]:
        """The settings given with `--set`."""
        return parse_overrides(self.set_ or [])

    def build(self, kind: type[S], *given: OptionGroup | Mapping[str, Any]) -> S:
        """Build settings: the file of `--config`, then `--set`, then options for single settings.

        Args:
            kind: the settings of the command.
            given: groups of options, or settings by name; None stands for an option that was not given.
        """
        values = self.overrides
        for options in given:
            named = options.settings() if isinstance(options, OptionGroup) else options
            values |= {name: value for name, value in named.items() if value is not None}
        return load_staged(kind, self.config, values)


@dataclass(frozen=True, slots=True)
class MetricsOptions(OptionGroup):
    """Where metrics are written."""

    metrics: Annotated[
        Path | None,
        run_option(metavar="FILE", help="Write Prometheus metrics for node_exporter's textfile collector."),
    ] = None
    metrics_label: Annotated[
        list[str] | None,
        run_option(metavar="NAME=VALUE", help="Label of every metric, to tell stores apart; repeatable."),
    ] = None


@dataclass(frozen=True, slots=True)
class LogOptions(OptionGroup):
    """What a command shows while it runs and when it has ended; the level holds from its creation on."""

    quiet: Annotated[bool, run_option("--quiet", "-q", help="No bars and no summary.")] = False
    log_level: Annotated[str, run_option(help="debug, info, warning or error.")] = "warning"
    log_format: Annotated[
        LogFormat, run_option("--log-format", help="json: one object per line on standard error, no bars.")
    ] = "text"

    def __post_init__(self) -> None:
        set_level(self.log_level)

    @property
    def bars(self) -> bool | None:
        """Whether to show bars: none for `--quiet` and JSON, else where there is a terminal (None)."""
        return False if self.quiet or self.log_format == "json" else None

    @property
    def progress(self) -> Progress:
        """The progress bars."""
        return Progress(self.bars)

    def report(self, lines: Iterable[str]) -> None:
        """Print what a command did; nothing with `--quiet`."""
        print_report([] if self.quiet else list(lines))


def print_utf8(lines: list[str]) -> None:
    """Print data, in UTF-8 whatever the locale says."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(encoding="utf-8", errors="replace")
    typer.echo("\n".join(lines))
