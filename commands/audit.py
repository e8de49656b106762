"""`dupmine audit`: how precise a result is, from labels of a sample."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError
from . import options
from .opened import RunOrStore, open_result

if TYPE_CHECKING:
    from ..report.audit import Labelled
    from ..report.strata import Frame

_GRID = [i / 100 for i in range(5, 100)]


def audit(
    folder: RunOrStore,
    labels: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="labels.parquet of a review; by default what was reviewed so far."),
    ] = None,
    target_precision: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Suggest the threshold from which pairs are that precise."),
    ] = None,
    how_many: Annotated[
        float | None,
        typer.Option(
            metavar="WIDTH", min=0.001, max=0.5, help="Say how many more labels plus or minus WIDTH needs."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Estimate how many removed documents are wrong."""
    result = open_result(folder)
    from ..report import audit as estimate
    from ..report.audit_text import audit_lines, audit_object
    from ..report.journal import read_journals, review_folder
    from ..report.labels import labels_for_audit, read_labels
    from ..report.strata import audit_frame

    frame = audit_frame(result)
    table = read_labels(labels) if labels else read_journals(review_folder(folder))
    usable = labels_for_audit(result, frame, table)
    if not len(usable.labelled.at):
        raise InputError(_nothing(folder, usable.refused))
    found = estimate.audit(frame, usable.labelled)
    content: dict[str, Any] = audit_object(found, usable)
    lines = audit_lines(found, usable)
    if target_precision is not None:
        suggestion = _suggest(frame, usable.labelled, target_precision, content)
        lines += ["", suggestion]
    if how_many is not None:
        needed = content["labels_needed"] = estimate.labels_needed(frame, usable.labelled, how_many)
        lines += ["", f"more labels for plus or minus {how_many:g}: {_needed(needed)}"]
    options.print_utf8([json.dumps(content, indent=2)] if as_json else lines)


def _nothing(folder: Path, refused: dict[str, int]) -> str:
    reasons = "".join(f"; {count:,} refused: {reason}" for reason, count in refused.items())
    return f"{folder}: no label of an audit{reasons}. Make some with `dupmine review {folder} --audit`"


def _needed(needed: dict[str, int]) -> str:
    names = {
        "removed": "documents that could go",
        "accepted": "accepted pairs",
        "missed": "missed duplicates",
    }
    return ", ".join(f"{needed[key]:,} for {name}" for key, name in names.items())


def _suggest(frame: Frame, labelled: Labelled, target: float, content: dict[str, Any]) -> str:
    from ..report.audit import suggest_threshold

    threshold, precision = suggest_threshold(frame, labelled, target, [*_GRID, frame.threshold])
    content["suggested_threshold"] = threshold
    if threshold is None or precision is None:
        return f"no threshold has a lower bound of {target:g} with these labels: label more, or ask for less"
    content["suggested_precision"] = [precision.value, precision.low, precision.high]
    return (
        f"threshold {threshold:g} for a precision of {target:g}: chosen by the lower bound on half of the "
        f"labels; on the others it has {precision.value:.1%} ({precision.low:.1%} to {precision.high:.1%}, "
        f"{precision.n} labels)"
    )
