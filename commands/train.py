"""`dupmine train …`: models of one's own, from labelled pairs."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from ..errors import SettingsError
from ..formats import PAIR_TITLES
from ..progress import Progress
from ..staged import StagedSettings
from . import options
from .logs import set_level

if TYPE_CHECKING:
    from ..training.outcome import Outcome
    from ..training.run import Target

_NEEDED = ("accelerate", "datasets", "jinja2", "matplotlib")

S = TypeVar("S", bound=StagedSettings)

train = typer.Typer(
    name="train", help="Train a model on labelled pairs.", no_args_is_help=True, rich_markup_mode=None
)

Pairs = Annotated[
    Path,
    typer.Argument(
        metavar="PAIRS",
        help=f"Labelled pairs: {PAIR_TITLES}; with a column split, only the rows marked train.",
    ),
]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Folder for the model.")]
Valid = Annotated[
    Path | None,
    typer.Option(
        metavar="PAIRS",
        help="Pairs to validate with; by default the rows valid of PAIRS, else a twentieth is set aside.",
    ),
]
Base = Annotated[str | None, typer.Option(help="Model to start from: built-in, folder or hub name.")]
HardNegatives = Annotated[
    str | None, typer.Option(metavar="CORPUS", help="Add negatives mined from this file or folder.")
]
Epochs = Annotated[int | None, typer.Option(help="Passes over the pairs.")]
BatchSize = Annotated[int | None, typer.Option(help="Pairs per batch.")]
LearningRate = Annotated[float | None, typer.Option(help="AdamW's rate after the warm-up.")]
Seed = Annotated[int | None, typer.Option(help="Of the batches, the dropout and a fresh head.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on from the last checkpoint of a killed training.")
]
Restart = Annotated[bool, typer.Option("--restart", help="Discard the checkpoints of a killed training.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier training in --out.")]
PrintConfig = Annotated[
    bool, typer.Option("--print-config", help="Print the effective settings as YAML and stop.")
]


@dataclass(frozen=True, slots=True)
class _Choice:
    """The flags that settle a training's settings, and whether only to print them."""

    config: Path | None
    overrides: list[str] | None
    flags: dict[str, Any]
    only_print: bool

    def settings(self, kind: type[S]) -> S:
        """Build the settings: the file, then `--set`, then flags that were given; print them if asked to."""
        settings = options.build_settings(kind, self.config, self.overrides, self.flags)
        if self.only_print:
            typer.echo(settings.to_yaml(), nl=False)
            raise typer.Exit
        return settings


@train.command("cross-encoder")
def cross_encoder(  # noqa: PLR0913, PLR0917 - one parameter per flag
    pairs: Pairs,
    out: Out = None,
    valid: Valid = None,
    config: options.Config = None,
    set_: options.Set = None,
    base: Base = None,
    head: Annotated[str | None, typer.Option(help="sigmoid, softmax, nli or score.")] = None,
    text_columns: options.TextColumns = None,
    label_column: options.LabelColumn = None,
    label_max: options.LabelMax = None,
    hard_negatives: HardNegatives = None,
    pseudo_labels: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Add pairs of this run's folder, with its probabilities as labels."),
    ] = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    seed: Seed = None,
    device: options.Device = None,
    threads: options.Threads = None,
    resume: Resume = False,
    restart: Restart = False,
    overwrite: Overwrite = False,
    print_config: PrintConfig = False,
    quiet: options.Quiet = False,
    log_level: options.LogLevel = "warning",
    log_format: options.LogFormatOption = "text",
) -> None:
    """Train stage 2's model, which reads both texts of a pair at once."""
    set_level(log_level)
    from ..training.settings import CrossEncoderTraining

    flags = {
        "pairs.text_columns": text_columns,
        "pairs.label_column": label_column,
        "pairs.label_max": label_max,
        "model.base": base,
        "model.head": head,
        "negatives.corpus": hard_negatives,
        "pseudo_labels.run": pseudo_labels,
        "training.epochs": epochs,
        "training.batch_size": batch_size,
        "training.learning_rate": learning_rate,
        "training.seed": seed,
        "compute.device": device,
        "compute.threads": threads,
    }
    settings = _Choice(config, set_, flags, print_config).settings(CrossEncoderTraining)
    request = _request(out, resume=resume, restart=restart, overwrite=overwrite)
    from ..training.compose import train_cross_encoder

    progress = Progress(options.bars(quiet, log_format))
    _tell(train_cross_encoder(pairs, valid, settings, request, progress), request, quiet=quiet)


@train.command("bi-encoder")
def bi_encoder(  # noqa: PLR0913, PLR0917 - one parameter per flag
    pairs: Pairs,
    out: Out = None,
    valid: Valid = None,
    config: options.Config = None,
    set_: options.Set = None,
    base: Base = None,
    loss: Annotated[
        str | None, typer.Option(help="cosine, contrastive, online-contrastive, mnrl or cached-mnrl.")
    ] = None,
    text_columns: options.TextColumns = None,
    label_column: options.LabelColumn = None,
    label_max: options.LabelMax = None,
    hard_negatives: HardNegatives = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    seed: Seed = None,
    device: options.Device = None,
    threads: options.Threads = None,
    resume: Resume = False,
    restart: Restart = False,
    overwrite: Overwrite = False,
    print_config: PrintConfig = False,
    quiet: options.Quiet = False,
    log_level: options.LogLevel = "warning",
    log_format: options.LogFormatOption = "text",
) -> None:
    """Train stage 1's model, which makes a vector of each text."""
    set_level(log_level)
    from ..training.settings import BiEncoderTraining

    flags = {
        "pairs.text_columns": text_columns,
        "pairs.label_column": label_column,
        "pairs.label_max": label_max,
        "model.base": base,
        "objective.loss": loss,
        "negatives.corpus": hard_negatives,
        "training.epochs": epochs,
        "training.batch_size": batch_size,
        "training.learning_rate": learning_rate,
        "training.seed": seed,
        "compute.device": device,
        "compute.threads": threads,
    }
    settings = _Choice(config, set_, flags, print_config).settings(BiEncoderTraining)
    request = _request(out, resume=resume, restart=restart, overwrite=overwrite)
    from ..training.compose import train_bi_encoder

    progress = Progress(options.bars(quiet, log_format))
    _tell(train_bi_encoder(pairs, valid, settings, request, progress), request, quiet=quiet)


def _require_extra() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise SettingsError(
            f"training needs {', '.join(missing)}, not installed here: pip install 'dupmine[train]'"
        )


def _request(out: Path | None, *, resume: bool, restart: bool, overwrite: bool) -> Target:
    if out is None:
        raise typer.BadParameter("name a folder for the model", param_hint="--out")
    if resume and restart:
        raise typer.BadParameter("give one of --resume and --restart", param_hint="--resume")
    _require_extra()
    from ..training.run import Target

    command = shlex.join(["dupmine", *sys.argv[1:]])
    return Target(out, resume=resume, restart=restart, overwrite=overwrite, command=command)


def _tell(outcome: Outcome, request: Target, *, quiet: bool) -> None:
    if quiet:
        return
    for name, value in outcome.summary().items():
        typer.echo(f"{value:>12,.4f} {name}" if isinstance(value, float) else f"{value:>12,} {name}")
    typer.echo(f"\nwritten to {request.out}")
