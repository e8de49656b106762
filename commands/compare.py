"""`dupmine compare`: several approaches, trained and tested on one split."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from ..errors import needs_extra
from ..formats import PAIR_TITLES
from ..messages import escape
from . import options


def compare(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="YAML file with the split and the approaches.")
    ],
    *,
    pairs: Annotated[
        str | None, options.input_option(metavar="FILE", help=f"Labelled pairs: {PAIR_TITLES}.")
    ] = None,
    out: Annotated[
        Path | None,
        options.output_option("--out", "-o", help="Folder for the results; by default the name of CONFIG."),
    ] = None,
    set_: options.Set = None,
    print_config: options.PrintConfig = False,
    compute: options.ComputeOptions,
    log: options.LogOptions,
) -> None:
    """Train and test several approaches on one split.

    Run again with the same --out, it continues.
    """
    from ..training.comparison_settings import CompareSettings, read_approaches

    settings = options.ConfigOptions(config, set_).build(CompareSettings, {"split.file": pairs}, compute)
    read_approaches(settings)
    if print_config:
        typer.echo(settings.to_yaml(), nl=False)
        return
    with needs_extra("comparing", "train"):
        import accelerate  # noqa: F401 - the trainers need it only later, maybe after hours

        from ..evaluation import plots  # noqa: F401 - likewise, for the plots
        from ..training.comparison import compare as compare_approaches

    out = Path(config.stem) if out is None else out
    command = shlex.join(["dupmine", *sys.argv[1:]])
    comparison = compare_approaches(settings, out, log.progress, command=command)
    log.report([*comparison.table(), "", f"written to {escape(str(out))}"])
