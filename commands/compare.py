"""`dupmine compare`: several approaches, trained and tested on one split."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from ..errors import missing_extra
from ..formats import PAIR_TITLES
from ..progress import Progress
from . import options
from .logs import set_level
from .options import Setting


def compare(  # noqa: PLR0913, PLR0917 - one parameter per flag
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="YAML file with the split and the approaches.")
    ],
    pairs: Annotated[
        str | None,
        options.input_option(metavar="FILE", help=f"Labelled pairs: {PAIR_TITLES}."),
        Setting("split.file"),
    ] = None,
    out: Annotated[
        Path | None,
        options.output_option("--out", "-o", help="Folder for the results; by default the name of CONFIG."),
    ] = None,
    set_: options.Set = None,
    print_config: options.PrintConfig = False,
    device: options.Device = None,
    threads: options.Threads = None,
    quiet: options.Quiet = False,
    log_level: options.LogLevel = "warning",
    log_format: options.LogFormatOption = "text",
) -> None:
    """Train and test several approaches on one split.

    Run again with the same --out, it continues.
    """
    arguments = locals()
    set_level(log_level)
    from ..training.comparison_settings import CompareSettings, read_approaches

    settings = options.build_settings(CompareSettings, compare, arguments)
    read_approaches(settings)
    if print_config:
        typer.echo(settings.to_yaml(), nl=False)
        return
    try:
        import accelerate  # noqa: F401 - the trainers need it only later, maybe after hours

        from ..evaluation import plots  # noqa: F401 - likewise, for the plots
        from ..training.comparison import compare as compare_approaches
    except ImportError as error:
        raise missing_extra("comparing", error, "train") from None

    out = Path(config.stem) if out is None else out
    progress = Progress(options.bars(quiet, log_format))
    command = shlex.join(["dupmine", *sys.argv[1:]])
    comparison = compare_approaches(settings, out, progress, command=command)
    if not quiet:
        typer.echo("\n".join(comparison.table()))
        typer.echo(f"\nwritten to {out}")
