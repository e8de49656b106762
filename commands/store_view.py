"""The output of the `store` commands: tables for people, JSON for programs."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
from rich.cells import cell_len, set_cell_size

from ..messages import escape

if TYPE_CHECKING:
    from ..store.history import UpdateReport

_NARROWEST = 20
_WORTH_COMPACTING = 0.25  # of the documents and texts


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a frame, None for a missing value."""
    rows: list[dict[str, Any]] = pa.Table.from_pandas(frame, preserve_index=False).to_pylist()
    return rows


def table(head: Sequence[str], rows: Sequence[Sequence[str]], align: str) -> list[str]:
    """Format rows in columns; the last column is cut to the width of the terminal.

    `align` has `<` or `>` per column.
    """
    cells = [[_printable(cell) for cell in row] for row in [head, *rows]]
    widths = [max(cell_len(row[column]) for row in cells) for column in range(len(head))]
    widths[-1] = max(_NARROWEST, min(widths[-1], _width() - sum(widths[:-1]) - 2 * (len(head) - 1)))
    lines = []
    for row in cells:
        fitted = [_fit(cell, size, side) for cell, size, side in zip(row, widths, align, strict=True)]
        lines.append("  ".join(fitted).rstrip())
    return lines


def _width() -> int:
    return shutil.get_terminal_size((100, 24)).columns


def _fit(cell: str, width: int, align: str) -> str:
    if cell_len(cell) > width:
        return set_cell_size(cell, width - 1).rstrip() + "…"
    pad = " " * (width - cell_len(cell))
    return pad + cell if align == ">" else cell + pad


def _printable(text: str) -> str:
    """Return text in one line, with control characters as escapes."""
    return escape(" ".join(text.split()))


def update_lines(report: UpdateReport) -> list[str]:
    """Format the report of an update."""
    if not report.changed:
        return [f"generation {report.generation}: nothing to do"]
    # A rollback computes nothing; its other counts are those of the restored generation.
    counts = (
        report.counts
        if report.seconds
        else {"documents": report.counts["documents"], "clusters": report.counts.get("clusters", 0)}
    )
    kinds = [name for name in ("new", "edited", "deleted", "unchanged") if name in counts]
    events = [f"{n:,} {event.replace('_', ' ')}" for event, n in report.events.items()]
    lines = [f"generation {report.generation}"]
    lines.append(_line(counts, "documents", [f"{counts[kind]:,} {kind}" for kind in kinds]))
    for name in ("texts_embedded", "pairs_scored"):
        if name in counts:
            lines.append(_line(counts, name, []))
    lines.append(_line(counts, "clusters", events))
    if report.seconds:
        stages = ", ".join(f"{stage} {value:.1f}" for stage, value in report.seconds.items() if value >= 0.05)
        lines.append(f"{sum(report.seconds.values()):>12,.1f} seconds: {stages or 'none'}")
    return lines


def _line(counts: dict[str, int], name: str, parts: list[str]) -> str:
    details = f": {', '.join(parts)}" if parts else ""
    return f"{counts.get(name, 0):>12,} {name.replace('_', ' ')}{details}"


def query_lines(frame: pd.DataFrame, texts: Sequence[str]) -> list[str]:
    """Format the answers to each text."""
    lines = []
    for number, text in enumerate(texts):
        answers = records(frame[frame["query"] == number])
        line = _printable(text)
        lines += ["", _fit(line, min(cell_len(line), _width()), "<")]
        lines += _answers(answers) if answers else ["  nothing similar"]
    if frame["is_duplicate"].any():
        lines += ["", "* a duplicate: its probability reaches the threshold"]
    return lines[1:]


def _answers(answers: list[dict[str, Any]]) -> list[str]:
    head = ["", "rank", "probability", "cosine", "cluster", "doc_id", "text"]
    rows = [
        [
            "*" if row["is_duplicate"] else "",
            str(row["rank"]),
            _number(row["probability"]),
            _number(row["cosine"]),
            "-" if row["cluster_id"] is None else str(row["cluster_id"]),
            row["doc_id"],
            row["text"],
        ]
        for row in answers
    ]
    return table(head, rows, "<>>>><<")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def change_lines(frame: pd.DataFrame) -> list[str]:
    """Format the events of the clusters."""
    if frame.empty:
        return ["no changes"]
    rows = [
        [str(row["generation"]), row["event"].replace("_", " "), str(row["cluster_id"]), _details(row)]
        for row in records(frame)
    ]
    return table(["generation", "event", "cluster", "documents"], rows, "><><")


def _details(row: dict[str, Any]) -> str:
    parts = []
    if row["other_id"] is not None:
        parts.append(f"{'from' if row['event'] == 'split' else 'absorbed'} cluster {row['other_id']}")
    for sign, ids in (("+", row["joined"]), ("-", row["left"])):
        if ids is not None and len(ids):
            parts.append(f"{sign} {', '.join(ids)}")
    if row["representative_id"] is not None:
        parts.append(f"represented by {row['representative_id']}")
    return "; ".join(parts)


def status_lines(status: dict[str, Any]) -> list[str]:
    """Format the status of a store; settings and models are in the JSON only."""
    facts = {name: value for name, value in status.items() if name not in {"settings", "models"}}
    frees = facts["compact_frees"]
    advice = ", which helps: run `dupmine store compact`" if frees >= _WORTH_COMPACTING else ""
    facts["compact_frees"] = f"{frees:.0%} of the documents and texts{advice}"
    width = max(map(len, facts))
    return [f"{name.replace('_', ' '):>{width}}  {escape(_shown(value))}" for name, value in facts.items()]


def _shown(value: object) -> str:
    if isinstance(value, dict):  # the writer
        return ", ".join(f"{key} {fact}" for key, fact in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "none" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
