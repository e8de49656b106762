"""`dupmine compare`: several approaches, trained and tested on one split."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from ..errors import SettingsError
from ..formats import PAIR_TITLES
from ..progress import Progress
from . import options
from .logs import set_level


def compare(  # noqa: PLR0913, PLR0917 - one parameter per flag
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="YAML file with the split and the approaches.")
    ],
    pairs: Annotated[str | None, typer.Option(metavar="FILE", help=f"Labelled pairs: {PAIR_TITLES}.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder for the results; by default the name of CONFIG.",
        ),
    ] = None,
    set_: options.Set = None,
    device: options.Device = None,
    threads: options.Threads = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the effective settings as YAML and stop.")
    ] = False,
    quiet: options.Quiet = False,
    log_level: options.LogLevel = "warning",
    log_format: options.LogFormatOption = "text",
) -> None:
    """Train and test several approaches on one split; run again with the same --out, it continues."""
    set_level(log_level)
    from ..training.comparison_settings import CompareSettings, read_approaches

    flags = {"split.file": pairs, "compute.device": device, "compute.threads": threads}
    settings = options.build_settings(CompareSettings, config, set_, flags)
    read_approaches(settings)
    if print_config:
        typer.echo(settings.to_yaml(), nl=False)
        return
    try:
        import accelerate  # noqa: F401 - the trainers need it only later, maybe after hours

        from ..evaluation import plots  # noqa: F401 - likewise, for the plots
        from ..training.comparison import compare as compare_approaches
    except ImportError as error:
        raise SettingsError(
            f"comparing needs {error.name}, not installed here: pip install 'dupmine[train]'"
        ) from None

    out = Path(config.stem) if out is None else out
    progress = Progress(options.bars(quiet, log_format))
    command = shlex.join(["dupmine", *sys.argv[1:]])
    comparison = compare_approaches(settings, out, progress, command=command)
    if not quiet:
        typer.echo("\n".join(comparison.table()))
        typer.echo(f"\nwritten to {out}")
