"""The result of a comparison: a row per approach, as JSON, as a table and as a chart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ..disk.files import write_atomically
from ..disk.folder import write_json
from ..disk.json_text import parse_json
from ..evaluation.bootstrap import Estimate
from ..evaluation.classification import ClassificationMetrics
from ..evaluation.model import ModelKind

FILES = ("comparison.json", "comparison.md", "comparison.svg")

_HEAD = (
    "approach",
    "valid F1",
    "test F1",
    "threshold",
    "average precision",
    "training s",
    "scoring s",
)
_NOTE = (
    "The threshold, of a cosine or a probability, has the best F1 on the valid pairs; the test F1 is at that "
    "threshold. In brackets: 95 % bootstrap intervals. The training seconds are without "
    "validations; the scoring seconds are for the test pairs."
)


@dataclass(frozen=True, slots=True)
class Row:
    """The metrics of an approach on the valid pairs, on which its threshold was chosen, and the test pairs.

    `training_seconds` is None for a model that was not trained. `basis` is what the metrics depend on.
    """

    name: str
    kind: ModelKind
    base: str
    objective: str | None
    training_seconds: float | None
    scoring_seconds: float
    valid: ClassificationMetrics
    test: ClassificationMetrics
    basis: dict[str, str]

    @property
    def test_f1(self) -> Estimate:
        """F1 on the test pairs at the threshold chosen on the valid pairs."""
        assert self.test.validated is not None, "the valid pairs chose a threshold"
        return self.test.validated.f1


@dataclass(frozen=True, slots=True)
class Comparison:
    """Rows of approaches on one split; `split` describes how it was made and its leaks."""

    settings: dict[str, Any]
    split: dict[str, Any]
    rows: list[Row]

    def table(self) -> list[str]:
        """Return the lines of a Markdown table, aligned for the screen."""
        cells = [list(_HEAD), *(_cells(row) for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ["| " + " | ".join(_pad(line, widths)) + " |" for line in cells]
        rule = [f"{'-' * (width + 1)}{':' if i else '-'}" for i, width in enumerate(widths)]
        return [lines[0], "|" + "|".join(rule) + "|", *lines[1:]]

    def write(self, folder: Path) -> None:
        """Write `FILES` into a folder."""
        from ..evaluation.plots import plot_bars

        write_json(folder / FILES[0], asdict(self))
        text = "\n".join(["# Comparison", "", self._origin(), "", *self.table(), "", _NOTE, ""])
        write_atomically(folder / FILES[1], lambda file: file.write(text.encode()))
        bars = {
            row.name: {
                "valid F1": row.valid.best.f1.value,
                "test F1": row.test_f1.value,
                "test average precision": row.test.average_precision.value,
            }
            for row in self.rows
        }
        plot_bars(bars, folder / FILES[2], xlabel=f"{self.rows[0].test.pairs:,} test pairs")

    def _origin(self) -> str:
        leaks = self.split["splits"]
        sizes = ", ".join(f"{name} {leak['pairs']:,}" for name, leak in leaks.items())
        leaked = leaks["test"]["leaked_pairs"] / leaks["test"]["pairs"]
        n_pairs = sum(leak["pairs"] for leak in leaks.values())
        return (
            f"{n_pairs:,} pairs of {self.split['file']}, divided by {self.split['by']} with seed "
            f"{self.split['seed']}: {sizes}. {leaked:.1%} of the test pairs have a question of train."
        )


def read_rows(folder: Path) -> list[Row]:
    """Return the rows of an earlier comparison in a folder, none if there is no valid one."""
    try:
        content = parse_json((folder / FILES[0]).read_bytes())
        return TypeAdapter(list[Row]).validate_python(content["rows"])
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        return []


def _cells(row: Row) -> list[str]:
    threshold = row.test.validated.threshold if row.test.validated else float("nan")
    seconds = "-" if row.training_seconds is None else f"{row.training_seconds:,.0f}"
    return [
        row.name,
        f"{row.valid.best.f1.value:.4f}",
        _with_interval(row.test_f1),
        f"{threshold:.4f}",
        _with_interval(row.test.average_precision),
        seconds,
        f"{row.scoring_seconds:,.1f}",
    ]


def _with_interval(estimate: Estimate) -> str:
    return f"{estimate.value:.4f} ({estimate.low:.3f}-{estimate.high:.3f})"


def _pad(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    first, *others = zip(line, widths, strict=True)
    return [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
