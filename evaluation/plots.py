"""Plots as SVG files; the same data gives the same bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.calibration import CalibrationDisplay
from sklearn.metrics import average_precision_score, precision_recall_curve

from ..disk.files import output_errors, write_atomically
from ..errors import SettingsError
from ..schema import Flags, Floats
from .weighted_metrics import BINS

try:
    import matplotlib as mpl
    from cycler import cycler
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
except ImportError as error:
    raise SettingsError(
        "plots need matplotlib, which is not installed: pip install 'dupmine[train]'"
    ) from error

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito, 2008
_GREY = "#666666"
_POINTS = 500  # of a curve
_STYLE: dict[Any, Any] = {  # Any: the keys' type is a list of literals
    "svg.hashsalt": "dupmine",
    "font.size": 10,
    "axes.prop_cycle": cycler(color=_COLOURS),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _GREY,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}
_NO_SCORES = ("loss", "runtime", "per_second", "threshold", "epoch")


def plot_loss(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draw the losses of a training by step, with its validation metrics below if it has any.

    `history` holds records as a Hugging Face trainer logs them: `step` and `loss`, or `step` and `eval_…`.
    """
    table = pd.DataFrame(history)
    scores = [name for name in map(str, table) if name.startswith("eval_") and not name.endswith(_NO_SCORES)]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(7, 6 if scores else 3.5))
        above, *below = figure.subplots(2 if scores else 1, 1, sharex=True, squeeze=False)[:, 0]
        for name, label in (("loss", "training"), ("eval_loss", "validation")):
            _draw_line(above, table, name, label)
        above.set(ylabel="loss", ylim=(0, None))
        above.legend()
        for axes in below:
            for name in scores:
                _draw_line(axes, table, name, name.removeprefix("eval_").replace("_", " "))
            axes.set(ylabel="metric on the validation pairs")
            axes.legend()
        (below or [above])[-1].set(xlabel="step")
        _save(figure, path)


def plot_precision_recall(curves: Mapping[str, tuple[Flags, Floats]], path: Path) -> None:
    """Draw precision over recall by name; a curve is (`is_duplicate`, `score`), each `(n_pairs,)`."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(6, 5.5))
        axes = figure.subplots()
        _draw_equal_f1(axes)
        for name, (actual, score) in curves.items():
            precision, recall, _ = precision_recall_curve(actual, score)
            # All points of a long curve would make a file of many megabytes.
            _, shown = np.unique(np.round(recall * _POINTS), return_index=True)
            area = average_precision_score(actual, score)
            axes.plot(recall[shown], precision[shown], label=f"{name} (AP {area:.3f})")
        axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02), aspect="equal")
        axes.legend(loc="lower left")
        _save(figure, path)


def plot_reliability(actual: Flags, probability: Floats, path: Path) -> None:
    """Draw the share of duplicates over the probability in 15 bins, and how many pairs each bin has."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(6, 7))
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        name = f"measured, {len(actual):,} pairs"
        CalibrationDisplay.from_predictions(actual, probability, n_bins=BINS, ax=above, name=name)
        above.set(xlabel="", ylabel="share of duplicates", xlim=(0, 1), ylim=(0, 1))
        below.hist(probability, np.linspace(0, 1, BINS + 1), edgecolor="white")
        below.set(xlabel="probability of being duplicates", ylabel="pairs")
        below.yaxis.set_major_formatter("{x:,.0f}")
        _save(figure, path)


def plot_bars(table: pd.DataFrame, path: Path, *, xlabel: str) -> None:
    """Draw a group of bars for each row of `table`, with one bar for each column; NaN has no bar."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8, 1.2 + 0.35 * table.size))
        axes = figure.subplots()
        table.plot.barh(ax=axes, width=0.8, legend=False)
        for bars in axes.containers:
            axes.bar_label(bars, fmt="{:.3f}", padding=3)  # type: ignore[arg-type] # they are bars
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.1)
        axes.set(xlabel=xlabel)
        figure.legend(loc="outside upper center", ncols=table.shape[1])
        _save(figure, path)


def _draw_line(axes: Axes, table: pd.DataFrame, name: str, label: str) -> None:
    if name in table:
        points = table[["step", name]].dropna()
        # A curve of few points, such as one validation per epoch, marks them.
        marker = "o" if len(points) <= 30 else None
        axes.plot(points["step"], points[name], label=label, marker=marker, markersize=4)


def _draw_equal_f1(axes: Axes) -> None:
    """Draw the lines on which F1 is 0.2, 0.4, 0.6 and 0.8."""
    for f1 in (0.2, 0.4, 0.6, 0.8):
        recall = np.linspace(f1 / (2 - f1), 1, 100)
        axes.plot(recall, f1 * recall / (2 * recall - f1), color="#cccccc", linewidth=1)
        axes.annotate(f"F1 {f1}", (0.99, f1 / (2 - f1)), color=_GREY, fontsize=8, ha="right", va="bottom")


def _save(figure: Figure, path: Path) -> None:
    with output_errors(path.parent):
        write_atomically(
            path, lambda file: figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
        )
