"""Plots: the same bytes for the same data, and the texts in them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score

from dupmine.errors import OutputError
from dupmine.evaluation.plots import plot_bars, plot_loss, plot_precision_recall, plot_reliability

HISTORY = [
    {"step": 10, "loss": 0.7, "epoch": 0.5},
    {"step": 20, "loss": 0.5, "epoch": 1.0},
    {
        "step": 20,
        "eval_loss": 0.6,
        "eval_average_precision": 0.8,
        "eval_f1_threshold": 0.3,
        "eval_runtime": 2.0,
    },
    {"step": 20, "train_loss": 0.6, "train_runtime": 5.0},
]
ACTUAL = np.arange(200) % 3 == 0
PROBABILITY = np.linspace(0, 1, 200, dtype=np.float32)

# What draws into a file, and texts in it; matplotlib leaves each text as a comment.
PLOTS: dict[str, tuple[Callable[[Path], None], list[str], list[str]]] = {
    "loss": (
        lambda path: plot_loss(HISTORY, path),
        ["loss", "training", "validation", "average precision", "step"],
        ["f1 threshold", "runtime"],
    ),
    "only training": (
        lambda path: plot_loss(HISTORY[:2], path),
        ["loss", "training", "step"],
        ["validation", "metric on the validation pairs"],
    ),
    "precision and recall": (
        lambda path: plot_precision_recall(
            {"mine": (ACTUAL, PROBABILITY), "yours": (ACTUAL, -PROBABILITY)}, path
        ),
        [f"mine (AP {average_precision_score(ACTUAL, PROBABILITY):.3f})", "precision", "recall", "F1 0.8"],
        [],
    ),
    "reliability": (
        lambda path: plot_reliability(ACTUAL, PROBABILITY, path),
        ["measured, 200 pairs", "share of duplicates", "probability of being duplicates", "pairs"],
        [],
    ),
    "bars": (
        lambda path: plot_bars(
            pd.DataFrame({"valid F1": [0.7, 0.8], "test F1": [np.nan, 0.75]}, ["a", "b"]), path, xlabel="F1"
        ),
        ["a", "b", "valid F1", "test F1", "0.700", "0.750", "F1"],
        ["nan"],
    ),
}


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_is_deterministic_and_labelled(tmp_path: Path, name: str) -> None:
    draw, present, absent = PLOTS[name]
    first, second = tmp_path / "1.svg", tmp_path / "2.svg"
    draw(first)
    draw(second)
    assert first.read_bytes() == second.read_bytes()
    text = first.read_text()
    assert [word for word in present if f"<!-- {word} -->" not in text] == []
    assert [word for word in absent if f"<!-- {word} -->" in text] == []
    assert "<dc:date>" not in text


def test_a_long_curve_makes_no_large_file(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    score = generator.random(100_000).astype(np.float32)
    plot_precision_recall({"a": (generator.random(100_000) < score, score)}, tmp_path / "a.svg")
    assert (tmp_path / "a.svg").stat().st_size < 100_000


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        plot_loss(HISTORY, tmp_path / "none" / "a.svg")


def test_without_matplotlib_the_message_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from dupmine.errors import SettingsError\n"
        "try:\n    import dupmine.evaluation.plots\n"
        "except SettingsError as error:\n    print(error)\n"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed == "plots need matplotlib, which is not installed: pip install 'dupmine[train]'\n"
