"""`dupmine train cross-encoder` and `dupmine train bi-encoder`: models from labelled pairs."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import SettingsError
from ..formats import PAIR_TITLES
from ..progress import Progress
from . import options
from .logs import LogFormat, set_level

if TYPE_CHECKING:
    from ..training.run import Target
    from ..training.settings import TrainSettings

_NEEDED = ("accelerate", "datasets", "jinja2", "matplotlib")

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
        help="Pairs to validate on; by default the rows valid of PAIRS, or else 5 % of them.",
    ),
]
Base = Annotated[str | None, typer.Option(help="Model to start from: built-in, folder or hub name.")]
HardNegatives = Annotated[
    str | None, typer.Option(metavar="CORPUS", help="Add negatives mined from this file or folder.")
]
Epochs = Annotated[int | None, typer.Option(help="Passes over the pairs.")]
BatchSize = Annotated[int | None, typer.Option(help="Pairs per batch.")]
LearningRate = Annotated[float | None, typer.Option(help="AdamW's rate after the warm-up.")]
Seed = Annotated[int | None, typer.Option(help="Seed of the batches, the dropout and a new head.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Continue from the last checkpoint of an interrupted training.")
]
Restart = Annotated[
    bool, typer.Option("--restart", help="Discard the checkpoints of an interrupted training.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier training in --out.")]
PrintConfig = Annotated[
    bool, typer.Option("--print-config", help="Print the effective settings as YAML and stop.")
]


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
        typer.Option(metavar="RUN", help="Add the pairs of this run, labelled with its probabilities."),
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
    """Train a model for stage 2, which reads both texts of a pair together."""
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
    settings = options.build_settings(CrossEncoderTraining, config, set_, flags)
    if print_config:
        typer.echo(settings.to_yaml(), nl=False)
        return
    target = _target(out, resume=resume, restart=restart, overwrite=overwrite)
    _train(pairs, valid, settings, target, quiet=quiet, log_format=log_format)


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
    """Train a model for stage 1, which encodes each text as a vector."""
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
    settings = options.build_settings(BiEncoderTraining, config, set_, flags)
    if print_config:
        typer.echo(settings.to_yaml(), nl=False)
        return
    target = _target(out, resume=resume, restart=restart, overwrite=overwrite)
    _train(pairs, valid, settings, target, quiet=quiet, log_format=log_format)


def _require_extra() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise SettingsError(
            f"training needs {', '.join(missing)}, not installed here: pip install 'dupmine[train]'"
        )


def _target(out: Path | None, *, resume: bool, restart: bool, overwrite: bool) -> Target:
    if out is None:
        raise typer.BadParameter("name a folder for the model", param_hint="--out")
    if resume and restart:
        raise typer.BadParameter("give one of --resume and --restart", param_hint="--resume")
    _require_extra()
    from ..training.run import Target

    command = shlex.join(["dupmine", *sys.argv[1:]])
    return Target(out, resume=resume, restart=restart, overwrite=overwrite, command=command)


def _train(
    pairs: Path,
    valid: Path | None,
    settings: TrainSettings,
    target: Target,
    *,
    quiet: bool,
    log_format: LogFormat,
) -> None:
    from ..training.run import train_model

    outcome = train_model(pairs, valid, settings, target, Progress(options.bars(quiet, log_format)))
    if quiet:
        return
    for name, value in outcome.summary().items():
        typer.echo(f"{value:>12,.4f} {name}" if isinstance(value, float) else f"{value:>12,} {name}")
    typer.echo(f"\nwritten to {target.folder}")
