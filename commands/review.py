"""`dupmine review`: a page to label pairs, on this machine only."""

from __future__ import annotations

import getpass
import re
import secrets
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import needs_extra
from ..messages import escape
from .logs import print_report
from .opened import RunOrStore, open_result

if TYPE_CHECKING:
    from ..report.review import Mode


def review(
    folder: RunOrStore,
    audit: Annotated[
        bool, typer.Option("--audit", help="A stratified sample, for dupmine audit (default).")
    ] = False,
    borderline: Annotated[bool, typer.Option("--borderline", help="Pairs nearest to the threshold.")] = False,
    suspicious: Annotated[
        bool, typer.Option("--suspicious", help="Clusters that may not belong together, each at once.")
    ] = False,
    size: Annotated[int, typer.Option(min=1, help="How many pairs or clusters.")] = 200,
    reviewer: Annotated[str | None, typer.Option(help="Your name; by default that of your account.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the link.")] = False,
    import_from: Annotated[
        Path | None,
        typer.Option(
            "--import",
            metavar="FILE",
            help="Take over labelled pairs (qid1, qid2, is_duplicate) for the report, and stop.",
        ),
    ] = None,
    export_to: Annotated[
        Path | None, typer.Option("--export", metavar="FILE", help="Write what was labelled and stop.")
    ] = None,
) -> None:
    """Label pairs in the browser: do these two ask the same?"""
    if import_from is not None and export_to is not None:
        raise typer.BadParameter("give one of --import and --export")
    if export_to is not None:
        _export_labels(folder, export_to)
        return
    name = reviewer or re.sub(r"[^\w.@+-]", "-", getpass.getuser())
    if import_from is not None:
        _import_labels(folder, import_from, name)
        return
    modes: dict[Mode, bool] = {"audit": audit, "borderline": borderline, "suspicious": suspicious}
    asked = [mode for mode, flag in modes.items() if flag]
    if len(asked) > 1:
        raise typer.BadParameter("give one of " + ", ".join(f"--{mode}" for mode in modes))
    with needs_extra("dupmine review", "report"):
        from ..report import server
    from ..report.journal import open_journal, review_folder
    from ..report.review import Review, make_questions

    result = open_result(folder)
    questions = make_questions(result, asked[0] if asked else "audit", size)
    labels_folder = review_folder(folder)
    with open_journal(labels_folder, name) as journal, server.free_socket(port) as bound:
        started = Review(result, questions, journal, name)
        token = secrets.token_urlsafe(32)
        link = f"http://{server.HOST}:{bound.getsockname()[1]}/?token={token}"
        typer.echo(
            f"{link}\nthe link works once, in one browser; Ctrl-C stops, and what was answered is kept"
        )
        if not no_browser:
            webbrowser.open(link)
        server.serve(started, labels_folder, bound, token)
    shown = escape(str(folder))
    typer.echo(f"labels: dupmine review {shown} --export labels.parquet; precision: dupmine audit {shown}")


def _export_labels(folder: Path, path: Path) -> None:
    from ..disk.files import output_errors
    from ..disk.folder import require_outside_store, write_table
    from ..report.journal import read_journals, review_folder

    table = read_journals(review_folder(folder))
    require_outside_store(path)
    with output_errors(path):
        write_table(path, table)
    print_report([f"{len(table):,} labels written to {escape(str(path))}"])


def _import_labels(folder: Path, path: Path, reviewer: str) -> None:
    from ..report.imported import import_labels
    from ..report.journal import open_journal, review_folder

    result = open_result(folder)
    with open_journal(review_folder(folder), reviewer) as journal:
        taken, left = import_labels(result, path, journal, reviewer)
    unknown = f"; {left:,} left out: a document is not in the result" if left else ""
    print_report([f"{taken:,} labels taken over{unknown}", f"see them: dupmine report {escape(str(folder))}"])
