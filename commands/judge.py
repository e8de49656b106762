"""`dupmine split` and `dupmine evaluate`: honest splits, and how good a model is on them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import SettingsError
from ..settings import load_staged, parse_overrides
from . import options
from .logs import set_level

if TYPE_CHECKING:
    from ..evaluation.model import JudgeSettings, ModelEvaluation

SPLITS = ("train", "valid", "test")


class By(StrEnum):
    """What a split keeps together."""

    question = "question"
    pair = "pair"


Pairs = Annotated[
    Path, typer.Argument(metavar="PAIRS", help="Labelled pairs: CSV, TSV, JSON lines or Parquet.")
]
TextColumns = Annotated[
    str | None, typer.Option(metavar="A,B", help="The two columns with texts; by default found by name.")
]
LabelColumn = Annotated[
    str | None, typer.Option(help="Column with the label; by default is_duplicate, label or score.")
]
LabelMax = Annotated[float | None, typer.Option(help="Label of identical meaning: 5 for STS-B's 0 to 5.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier result in --out.")]


def split(  # noqa: PLR0913, PLR0917 - one parameter per flag
    pairs: Pairs,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for train, valid and test.parquet.")],
    by: Annotated[
        By, typer.Option(help="question: no question in two splits; pair: at random, as most notebooks do.")
    ] = By.question,
    shares: Annotated[str, typer.Option(help="Shares of train, valid and test.")] = "0.8,0.1,0.1",
    sample: Annotated[int | None, typer.Option(min=1, help="Divide so many pairs, drawn at random.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of all chance.")] = 42,
    text_columns: TextColumns = None,
    label_column: LabelColumn = None,
    label_max: LabelMax = None,
    overwrite: Overwrite = False,
    quiet: options.Quiet = False,
    log_level: options.LogLevel = "warning",
) -> None:
    """Divide labelled pairs into train, valid and test, each with the labels of all; print the leak."""
    set_level(log_level)
    settings = _settings(None, None, _pair_flags(text_columns, label_column, label_max)).pairs
    named = dict(zip(SPLITS, _shares(shares), strict=True))
    from ..disk.folder import check_target, replacing, write_table
    from ..evaluation.splits import SplitPlan, split_file
    from .judge_view import split_lines

    files = [f"{name}.parquet" for name in SPLITS]
    check_target(out, files, overwrite=overwrite)
    tables, leaks = split_file(pairs, settings, SplitPlan(named, by.value, sample, seed))
    with replacing(out, files, overwrite=overwrite) as folder:
        for name, table in tables.items():
            write_table(folder / f"{name}.parquet", table)
    if not quiet:
        typer.echo("\n".join(split_lines(leaks)))
        typer.echo(f"\nwritten to {out}")


def evaluate(  # noqa: PLR0913, PLR0917 - one parameter per flag
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Bi- or cross-encoder: built-in, folder or hub name.")
    ],
    pairs: Pairs,
    split: Annotated[
        str | None, typer.Option(help="Judge rows with this value in the column split, as test.")
    ] = None,
    valid: Annotated[
        Path | None, typer.Option(metavar="PAIRS", help="Other pairs, to choose the threshold on.")
    ] = None,
    valid_split: Annotated[
        str | None, typer.Option(help="Choose it on rows with this split, of --valid or else of PAIRS.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for JSON, plots and the worst mistakes.")
    ] = None,
    config: options.Config = None,
    set_: options.Set = None,
    head: Annotated[
        str | None, typer.Option(help="How to read a cross-encoder: sigmoid, softmax, nli or score.")
    ] = None,
    symmetric: Annotated[
        bool | None, typer.Option("--symmetric", help="Score both orders of a pair and average.")
    ] = None,
    text_columns: TextColumns = None,
    label_column: LabelColumn = None,
    label_max: LabelMax = None,
    device: options.Device = None,
    threads: options.Threads = None,
    overwrite: Overwrite = False,
    quiet: options.Quiet = False,
    log_level: options.LogLevel = "warning",
) -> None:
    """Judge a model on labelled pairs, at the threshold with the best F1 on other pairs."""
    set_level(log_level)
    flags = _pair_flags(text_columns, label_column, label_max) | {
        "rerank.head": head,
        "rerank.symmetric": symmetric,
        "compute.device": device,
        "compute.threads": threads,
    }
    settings = _settings(config, set_, flags)
    sources = {"test": (pairs, split)}
    if valid is not None or valid_split is not None:
        sources["valid"] = (valid or pairs, valid_split)
    if sources.get("valid") == sources["test"]:
        raise SettingsError(
            "--valid: these are the test pairs; a threshold chosen on them flatters the model"
        )
    if out is not None:
        _check_out(out, overwrite=overwrite)
    evaluation = _evaluated(model, sources, settings, quiet)
    if out is not None:
        _write(evaluation, out, overwrite=overwrite)
    if not quiet:
        from .judge_view import evaluation_lines

        typer.echo("\n".join(evaluation_lines(evaluation)))
        typer.echo("" if out is None else f"\nwritten to {out}", nl=out is not None)


def _evaluated(
    model: str, sources: dict[str, tuple[Path, str | None]], settings: JudgeSettings, quiet: bool
) -> ModelEvaluation:
    from ..corpus.labelled import read_pairs
    from ..evaluation.model import evaluate_model
    from ..progress import Progress

    read = {name: read_pairs(path, settings.pairs, split=split) for name, (path, split) in sources.items()}
    progress = Progress(options.bars(quiet, "text"))
    return evaluate_model(model, read["test"], read.get("valid"), settings, progress)


def _check_out(out: Path, *, overwrite: bool) -> None:
    """Refuse a folder or a missing extra before a model runs for an hour."""
    from ..disk.folder import check_target
    from ..evaluation import plots  # noqa: F401 - the import is the check
    from ..evaluation.model import FILES

    check_target(out, FILES, overwrite=overwrite)


def _write(evaluation: ModelEvaluation, out: Path, *, overwrite: bool) -> None:
    from ..disk.folder import replacing
    from ..evaluation.model import FILES, write_evaluation

    with replacing(out, FILES, overwrite=overwrite) as folder:
        write_evaluation(evaluation, folder)


def _pair_flags(
    text_columns: str | None, label_column: str | None, label_max: float | None
) -> dict[str, object]:
    return {
        "pairs.text_columns": text_columns,
        "pairs.label_column": label_column,
        "pairs.label_max": label_max,
    }


def _settings(config: Path | None, overrides: list[str] | None, flags: dict[str, object]) -> JudgeSettings:
    from ..evaluation.model import JudgeSettings

    return load_staged(JudgeSettings, config, parse_overrides(overrides or []) | options.given(flags))


def _shares(text: str) -> list[float]:
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        shares = []
    if len(shares) != len(SPLITS):
        raise SettingsError(f"--shares {text}: expected three numbers, as 0.8,0.1,0.1")
    return shares
