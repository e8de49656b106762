"""The command line: parse, build the settings, call."""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

from . import __version__
from .commands.audit import audit
from .commands.calibrate import calibrate
from .commands.compare import compare
from .commands.evaluate import evaluate, evaluate_run
from .commands.export import export
from .commands.help import App, examples
from .commands.link import link
from .commands.logs import json_requested, log_end, log_json, log_signal
from .commands.mine import mine
from .commands.report import report
from .commands.review import review
from .commands.show import show
from .commands.split import split
from .commands.store import store
from .commands.train import train
from .disk import interrupts
from .errors import DupmineError, find_memory_error

app = App(
    name="dupmine",
    help="Find the questions in a corpus that ask the same thing.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_SIGNALLED = 128  # is added to the number of a signal for the exit code; typer makes that of SIGINT
MINE, MODELS = "Find duplicates", "Train and evaluate models"
app.command(
    rich_help_panel=MINE,
    epilog=examples(
        "mine questions.csv --out duplicates",
        "mine 'posts/*.parquet' --text-column title,body --out duplicates",
        "mine questions.csv --target-precision 0.95 --out duplicates",
    ),
)(mine)
app.command(
    rich_help_panel=MINE,
    epilog=examples(
        "link new.csv --against questions.csv --out links",
        "link test.csv --against train.csv --top 1 --out leakage",
        "link new.csv --against duplicates --within --out links",
    ),
)(link)
app.command(
    rich_help_panel=MINE,
    epilog=examples(
        "show duplicates --suspicious", "show duplicates q17", "show duplicates --xlsx duplicates.xlsx"
    ),
)(show)
app.command(rich_help_panel=MINE, epilog=examples("report duplicates --open"))(report)
app.command(
    rich_help_panel=MINE, epilog=examples("review duplicates --audit", "review duplicates --suspicious")
)(review)
app.command(rich_help_panel=MINE, epilog=examples("audit duplicates --how-many 0.02"))(audit)
app.add_typer(store, rich_help_panel=MINE)
app.command("evaluate-run", rich_help_panel=MINE, epilog=examples("evaluate-run duplicates gold.csv"))(
    evaluate_run
)
app.command(rich_help_panel=MODELS, epilog=examples("split pairs.csv --out splits --shares 0.8,0.1,0.1"))(
    split
)
app.add_typer(train, rich_help_panel=MODELS)
app.command(
    rich_help_panel=MODELS,
    epilog=examples("evaluate model splits/test.parquet --valid splits/valid.parquet --out evaluation"),
)(evaluate)
app.command(
    rich_help_panel=MODELS,
    epilog=examples(
        "calibrate model splits/valid.parquet", "calibrate model splits/valid.parquet --corpus duplicates"
    ),
)(calibrate)
app.command(rich_help_panel=MODELS, epilog=examples("compare configs/compare-quora.yaml --pairs pairs.csv"))(
    compare
)
app.command(
    rich_help_panel=MODELS,
    epilog=examples("export model --pairs splits/test.parquet --int8 --out model-onnx"),
)(export)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"dupmine {__version__}")
        raise typer.Exit


@app.callback()
def _dupmine(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Find the questions in a corpus that ask the same thing."""


def main() -> None:
    """Run the command line.

    The exit code is 2 to 5 for errors that the user can correct, and 128 + its number after a signal.
    """
    interrupts.install()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # for texts that the terminal cannot show
    try:
        if json_requested(sys.argv[1:]):
            sys.exit(_run_with_json())
        app(prog_name="dupmine")
    except Exception as error:
        shown = find_memory_error(error) or error
        if not isinstance(shown, DupmineError):
            raise
        typer.echo(f"dupmine: {shown.message}", err=True)
        sys.exit(shown.exit_code)


def _run_with_json() -> int:
    """Run with JSON lines on standard error; the last one tells how the run ended."""
    log_json()
    try:
        code = app(prog_name="dupmine", standalone_mode=False)
    except SystemExit as end:  # by a signal
        code = end.code
    except Exception as error:
        return log_end(find_memory_error(error) or error)
    if isinstance(code, int) and code > _SIGNALLED:
        log_signal(code - _SIGNALLED, code)
    return code if isinstance(code, int) else 0
