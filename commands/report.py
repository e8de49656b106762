"""`dupmine report`: one HTML file to look at a result."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from ..messages import escape
from .logs import print_report
from .opened import RunOrStore, open_result


def report(
    folder: RunOrStore,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="The HTML file; by default RUN.html.")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="labels.parquet of a review; by default what was reviewed so far."),
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace a file given with --out; RUN.html is always replaced."),
    ] = False,
) -> None:
    """Write a report: one HTML file, works without a network."""
    result = open_result(folder)
    from ..disk.folder import check_file
    from ..report.journal import read_journals, review_folder
    from ..report.labels import read_labels
    from ..report.page import render_report, write_report

    table = read_labels(labels) if labels else read_journals(review_folder(folder))
    resolved = folder.expanduser().absolute()
    path = out or resolved.with_name(f"{resolved.name}.html")
    check_file(path, overwrite=overwrite or out is None)
    html = render_report(
        result,
        name=resolved.name,
        command=str(folder),
        cache=resolved.with_name(f"{resolved.name}.thresholds.parquet"),
        labels=table,
    )
    write_report(path, html, overwrite=overwrite or out is None)
    print_report([f"written to {escape(str(path))} ({len(html.encode()) / 1e6:.1f} MB)"])
    if open_:
        webbrowser.open(path.absolute().as_uri())
