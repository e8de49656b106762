"""The result of a comparison: a row per approach, as JSON, as a table and as a chart."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ..disk.files import write_atomically
from ..disk.folder import write_json
from ..evaluation.bootstrap import Estimate
from ..evaluation.classification import ClassificationMetrics, ThresholdMetrics
from ..evaluation.model import ModelKind

FILES = ("comparison.json", "comparison.md", "comparison.svg")

_NOTE = (
    "The threshold, of a cosine or a probability, has the best F1 on the valid pairs; the test F1 is at that "
    "threshold. In brackets: 95 % bootstrap intervals. The training seconds are without "
    "validations; the scoring seconds are for the test pairs."
)


@dataclass(frozen=True, slots=True)
class Row:
    """The metrics of an approach on the valid pairs, on which its threshold was chosen, and the test pairs.

    `training_seconds` is None for a model that was not trained.
    """

    name: str
    kind: ModelKind
    base: str
    objective: str | None
    training_seconds: float | None
    scoring_seconds: float
    valid: ClassificationMetrics
    test: ClassificationMetrics

    @property
    def decision(self) -> ThresholdMetrics:
        """The metrics on the test pairs at the threshold chosen on the valid pairs."""
        assert self.test.validated is not None, "the valid pairs chose a threshold"
        return self.test.validated

    def cells(self) -> dict[str, str]:
        """Return the texts of the table's columns."""
        seconds = self.training_seconds
        return {
            "approach": self.name,
            "valid F1": f"{self.valid.best.f1.value:.4f}",
            "test F1": _with_interval(self.decision.f1),
            "threshold": f"{self.decision.threshold:.4f}",
            "average precision": _with_interval(self.test.average_precision),
            "training s": "-" if seconds is None else f"{seconds:,.0f}",
            "scoring s": f"{self.scoring_seconds:,.1f}",
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """Rows of approaches on one split; `split` describes how it was made and its leaks."""

    settings: dict[str, Any]
    split: dict[str, Any]
    rows: list[Row]

    def table(self) -> list[str]:
        """Return the lines of a Markdown table, aligned for the screen."""
        rows = [row.cells() for row in self.rows]
        columns: list[list[str]] = []
        for name in rows[0]:
            cells = [name, *(row[name] for row in rows)]
            width = max(map(len, cells))
            if not columns:
                columns.append([cell.ljust(width) for cell in cells])
            else:
                columns.append([cell.rjust(width) for cell in cells])
        lines = [f"| {' | '.join(cells)} |" for cells in zip(*columns, strict=True)]
        first, *others = ("-" * (len(cells[0]) + 1) for cells in columns)
        return [lines[0], f"|{first}-|{'|'.join(f'{rule}:' for rule in others)}|", *lines[1:]]

    def write(self, folder: Path) -> None:
        """Write `FILES` into a folder."""
        from ..evaluation.plots import plot_bars

        write_json(folder / FILES[0], asdict(self))
        text = "\n".join(["# Comparison", "", self._origin(), "", *self.table(), "", _NOTE, ""])
        write_atomically(folder / FILES[1], lambda file: file.write(text.encode()))
        bars = pd.DataFrame(
            {
                "valid F1": [row.valid.best.f1.value for row in self.rows],
                "test F1": [row.decision.f1.value for row in self.rows],
                "test average precision": [row.test.average_precision.value for row in self.rows],
            },
            index=[row.name for row in self.rows],
        )
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


def _with_interval(estimate: Estimate) -> str:
    return f"{estimate.value:.4f} ({estimate.low:.3f}-{estimate.high:.3f})"
