"""The files that a training writes beside the model: its card, `training.json` and the plots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ..corpus.labelled import pairs_sha256
from ..disk.files import write_atomically
from ..disk.folder import write_json
from ..evaluation.classification import CorrelationMetrics
from ..evaluation.plots import plot_loss, plot_precision_recall
from ..schema import LabelledPairs
from ..settings import BUILTIN_BI_ENCODER
from .data import PairSets
from .folder import RECORD
from .outcome import Outcome

CARD = "README.md"


def write_outcome(outcome: Outcome, sets: PairSets, command: str, folder: Path) -> None:
    """Write `loss.svg`, `pr.svg` (for labels 0 or 1), `README.md` and, last, `training.json`."""
    plot_loss(outcome.history, folder / "loss.svg")
    if not isinstance(outcome.validation, CorrelationMetrics):
        name = f"{outcome.kind}, {len(sets.valid):,} validation pairs"
        plot_precision_recall({name: (sets.valid.label > 0.5, outcome.score)}, folder / "pr.svg")
    data = {**sets.facts, "train": _described(sets.train), "valid": _described(sets.valid)}
    card = _card(outcome, data, command)
    write_atomically(folder / CARD, lambda file: file.write(card.encode()))
    files = sorted({path.name for path in folder.iterdir()} | {RECORD})
    write_json(folder / RECORD, {"command": command, "data": data, **outcome.to_dict(), "files": files})


def _card(outcome: Outcome, data: dict[str, Any], command: str) -> str:
    environment = Environment(
        loader=PackageLoader("dupmine", "training"),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    base = outcome.settings.model.base
    return environment.get_template("card.md.j2").render(
        base=f"sentence-transformers/{base}" if base == BUILTIN_BI_ENCODER else base,
        is_local=base != BUILTIN_BI_ENCODER and Path(base).expanduser().exists(),
        outcome=outcome,
        data=data,
        command=command,
        settings=outcome.settings.to_yaml(),
        continuous=isinstance(outcome.validation, CorrelationMetrics),
    )


def _described(pairs: LabelledPairs) -> dict[str, Any]:
    return {
        "pairs": len(pairs),
        "mean_label": round(float(pairs.label.mean()), 4),
        "sha256": pairs_sha256(pairs),
    }
