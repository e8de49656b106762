"""The command line: parse, build the settings, call."""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from . import __version__
from .errors import DupmineError
from .settings import MiningSettings, load_settings, parse_overrides

app = typer.Typer(
    name="dupmine",
    help="Find the questions in a corpus that ask the same thing.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"dupmine {__version__}")
        raise typer.Exit


@app.callback()
def _dupmine(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Find the questions in a corpus that ask the same thing."""


@app.command()
def mine(  # noqa: PLR0913, PLR0917 - one parameter per flag
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT",
            help="Files, folders or globs: CSV, TSV, JSONL, Parquet, Stack Exchange Posts.xml, "
            "each also .gz or .zst; - is standard input.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for the result.")] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="YAML file with settings.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="STAGE.KEY=VALUE", help="Any setting; repeatable.")
    ] = None,
    text_column: Annotated[
        str | None, typer.Option(help="Column with the text; several joined by commas, as title,body.")
    ] = None,
    id_column: Annotated[str | None, typer.Option(help="Column with a unique id.")] = None,
    format_: Annotated[
        str | None, typer.Option("--format", help="csv, tsv, jsonl, parquet or stackexchange.")
    ] = None,
    encoding_errors: Annotated[
        str | None, typer.Option(help="Invalid UTF-8: strict ends with an error, replace counts it.")
    ] = None,
    bi_encoder: Annotated[str | None, typer.Option(help="Model of stage 1: built-in, folder or hub.")] = None,
    cross_encoder: Annotated[
        str | None, typer.Option(help="Model of stage 2: built-in, folder or hub name.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Probability from which a pair is a duplicate.")
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="Neighbours asked for at first.")] = None,
    floor: Annotated[float | None, typer.Option(help="Pairs below this cosine are not scored.")] = None,
    keep: Annotated[
        str | None, typer.Option(help="Representative: medoid, first, longest, or COLUMN:asc|desc.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, mps, cuda or cuda:N.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads; by default all cores.")] = None,
    singletons: Annotated[
        bool | None, typer.Option("--singletons", help="List documents without a duplicate too.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier run in --out.")] = False,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the effective settings as YAML and stop.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No bars and no summary.")] = False,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "warning",
) -> None:
    """Find duplicate clusters in question files and write them to a folder of Parquet tables."""
    flags = {
        "corpus.text_column": text_column,
        "corpus.id_column": id_column,
        "corpus.format": format_,
        "corpus.encoding_errors": encoding_errors,
        "retrieval.bi_encoder": bi_encoder,
        "retrieval.top_k": top_k,
        "retrieval.floor": floor,
        "rerank.cross_encoder": cross_encoder,
        "rerank.threshold": threshold,
        "clustering.keep": keep,
        "compute.device": device,
        "compute.threads": threads,
        "output.singletons": singletons,
    }
    settings = _settings(config, set_ or [], flags)
    if print_config:
        typer.echo(settings.to_yaml(), nl=False)
        return
    if not inputs:
        raise typer.BadParameter("name at least one file, folder or glob", param_hint="INPUT")
    if out is None:
        raise typer.BadParameter("name a folder for the result", param_hint="--out")
    _configure_log(log_level)
    from .miner import Miner
    from .summary import summarise

    miner = Miner(settings, progress=False if quiet else None)
    result = miner.mine_files(inputs, out, overwrite=overwrite)
    if not quiet:
        typer.echo(summarise(result))
        typer.echo(f"\nwritten to {out}")


@app.command("evaluate-run")
def evaluate_run(
    run: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a run.")],
    labels: Annotated[
        Path,
        typer.Argument(
            metavar="LABELS",
            help="Gold clusters (id, cluster) or labelled pairs (qid1, qid2, is_duplicate); CSV or Parquet.",
        ),
    ],
) -> None:
    """Compare the clusters of a run with gold clusters or labelled pairs."""
    from .evaluation.run import evaluate

    for name, value in evaluate(run, labels).items():
        typer.echo(f"{value:>12,.4f} {name}" if isinstance(value, float) else f"{value:>12,} {name}")


def _settings(config: Path | None, overrides: list[str], flags: dict[str, Any]) -> MiningSettings:
    """Build the settings: the file, then `--set`, then flags that were given."""
    given = {name: value for name, value in flags.items() if value is not None}
    return load_settings(config, parse_overrides(overrides) | given)


def _configure_log(level: str) -> None:
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise typer.BadParameter(
            f"{level!r} is none of debug, info, warning, error", param_hint="--log-level"
        )
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger(__package__).setLevel(number)


def _terminate(signum: int, _frame: FrameType | None) -> None:
    sys.exit(128 + signum)


def main() -> None:
    """Run the command line; exit code 2 for what the user can mend, 128 and its number after a signal."""
    for signum in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        if signal.getsignal(signum) != signal.SIG_IGN:  # as nohup sets it
            signal.signal(signum, _terminate)
    try:
        app()
    except DupmineError as error:
        typer.echo(f"dupmine: {error}", err=True)
        sys.exit(error.exit_code)
