"""`dupmine split`: labelled pairs divided into train, valid and test."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..errors import SettingsError
from ..messages import escape
from ..settings import PairSettings
from ..staged import StagedSettings, load_staged
from . import options

if TYPE_CHECKING:
    from ..evaluation.splits import Leak

SPLITS = ("train", "valid", "test")


class SplitSettings(StagedSettings):
    """How pairs are read."""

    pairs: PairSettings = PairSettings()


def split(
    pairs: options.Pairs,
    *,
    out: Annotated[
        Path, options.output_option("--out", "-o", help="Folder for train, valid and test.parquet.")
    ],
    overwrite: options.Overwrite = False,
    by: Annotated[
        Literal["question", "pair"],
        typer.Option(help="question: no question is in two splits; pair: pairs are divided at random."),
    ] = "question",
    shares: Annotated[str, typer.Option(help="Shares of train, valid and test.")] = "0.8,0.1,0.1",
    sample: Annotated[
        int | None, typer.Option(min=1, help="Number of pairs to divide, drawn at random; by default all.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of the random numbers.")] = 42,
    reading: options.PairOptions,
    log: options.LogOptions,
) -> None:
    """Divide labelled pairs into train, valid and test.

    The splits have equal shares of labels. Prints how many questions of train are in the others too.
    """
    settings = load_staged(SplitSettings, None, reading.settings()).pairs
    shares_by_name = dict(zip(SPLITS, _shares(shares), strict=True))
    from ..disk.folder import check_target, replacing, write_table
    from ..evaluation.splits import split_file

    files = [f"{name}.parquet" for name in SPLITS]
    check_target(out, files, overwrite=overwrite)
    tables, leaks = split_file(pairs, settings, shares=shares_by_name, by=by, sample=sample, seed=seed)
    with replacing(out, files, overwrite=overwrite) as folder:
        for name, table in tables.items():
            write_table(folder / f"{name}.parquet", table)
    log.report([*split_lines(leaks), "", f"written to {escape(str(out))}"])


def split_lines(leaks: Mapping[str, Leak]) -> list[str]:
    """Return a line per split: its size, its labels, and how much of it is in the first split too."""
    first, *_ = leaks
    columns = f"{f'also in {first}':>20}{'pairs with those':>20}"
    lines = [f"{'':8}{'pairs':>10}{'mean label':>12}{'questions':>11}{columns}"]
    for name, leak in leaks.items():
        line = f"{name:8}{leak.pairs:>10,}{leak.label:>12.3f}{leak.questions:>11,}"
        if name != first:
            line += _share(leak.leaked_questions, leak.questions) + _share(leak.leaked_pairs, leak.pairs)
        lines.append(line)
    return lines


def _shares(text: str) -> list[float]:
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        shares = []
    if len(shares) != len(SPLITS):
        raise SettingsError(f"--shares {text}: expected three numbers such as 0.8,0.1,0.1")
    return shares


def _share(count: int, total: int) -> str:
    return f"{f'{count:,} ({100 * count / total:.1f} %)':>20}"
