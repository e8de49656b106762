"""`dupmine show`: clusters and pairs on the terminal, or as CSV and Excel."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..messages import escape
from . import options
from .logs import print_report
from .opened import RunOrStore, open_result


def show(
    folder: RunOrStore,
    name: Annotated[
        str | None, typer.Argument(metavar="[CLUSTER|DOC_ID]", help="One cluster, or a document's.")
    ] = None,
    document: Annotated[
        bool, typer.Option("--document", help="The name is a document's id, not a cluster's.")
    ] = False,
    largest: Annotated[bool, typer.Option("--largest", help="The largest clusters (default).")] = False,
    suspicious: Annotated[
        bool, typer.Option("--suspicious", help="Clusters that may not belong together, with the reasons.")
    ] = False,
    borderline: Annotated[bool, typer.Option("--borderline", help="Pairs nearest to the threshold.")] = False,
    random: Annotated[bool, typer.Option("--random", help="Clusters drawn at random.")] = False,
    n: Annotated[int, typer.Option("-n", min=1, help="How many clusters or pairs.")] = 20,
    csv: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write clusters.csv and pairs.csv there instead.")
    ] = None,
    xlsx: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write an Excel workbook instead.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace these files.")] = False,
) -> None:
    """Show clusters and pairs, or write them for a spreadsheet."""
    chosen = {"largest": largest, "suspicious": suspicious, "borderline": borderline, "random": random}
    asked = [strategy for strategy, flag in chosen.items() if flag]
    if len(asked) + (name is not None) > 1:
        raise typer.BadParameter("give one of CLUSTER, DOC_ID, " + ", ".join(f"--{key}" for key in chosen))
    result = open_result(folder)
    if csv or xlsx:
        from ..report.spreadsheets import export_tables, write_csv, write_xlsx

        tables = export_tables(result, result.pairs_table)
        written = write_csv(tables, csv, overwrite=overwrite) if csv else []
        if xlsx:
            write_xlsx(tables, xlsx, overwrite=overwrite)
            written.append(xlsx)
        print_report(["written: " + ", ".join(escape(str(path)) for path in written)])
        return
    from ..report.health import examine
    from ..report.listing import list_one, list_selection
    from ..report.selection import Strategy

    health = examine(result)
    if name is not None:
        lines = list_one(result, health, name, is_document=document)
    else:
        lines = list_selection(result, health, Strategy(asked[0] if asked else "largest"), n)
    options.print_utf8(lines)
