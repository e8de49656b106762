"""The command line: parse, build the settings, call."""

from __future__ import annotations

import io
import signal
import sys
from types import FrameType
from typing import Annotated

import typer

from . import __version__
from .commands.calibrate import calibrate
from .commands.compare import compare
from .commands.evaluate import evaluate, evaluate_run
from .commands.export import export
from .commands.logs import json_asked, log_end, log_json
from .commands.mine import mine
from .commands.split import split
from .commands.store import store
from .commands.train import train
from .errors import DupmineError

app = typer.Typer(
    name="dupmine",
    help="Find the questions in a corpus that ask the same thing.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(mine)
app.add_typer(store)
app.add_typer(train)
app.command()(split)
app.command()(evaluate)
app.command("evaluate-run")(evaluate_run)
app.command()(compare)
app.command()(calibrate)
app.command()(export)


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


def _terminate(signum: int, _frame: FrameType | None) -> None:
    sys.exit(128 + signum)


def main() -> None:
    """Run the command line; exit code 2 to 5 for what the user can mend, 128 + its number after a signal."""
    for signum in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        if signal.getsignal(signum) != signal.SIG_IGN:  # as nohup sets it
            signal.signal(signum, _terminate)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a text that the terminal cannot show ends no run
    if json_asked(sys.argv[1:]):
        sys.exit(_run_for_machines())
    try:
        app()
    except DupmineError as error:
        typer.echo(f"dupmine: {error}", err=True)
        sys.exit(error.exit_code)


def _run_for_machines() -> int:
    """Run with JSON lines on standard error, the one that tells how the run ended among them."""
    log_json()
    try:
        code = app(standalone_mode=False)
    except Exception as error:
        return log_end(error)
    return code if isinstance(code, int) else 0
