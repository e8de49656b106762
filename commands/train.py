"""`dupmine train cross-encoder` and `dupmine train bi-encoder`: models from labelled pairs."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import SettingsError
from ..formats import PAIR_TITLES
from ..progress import Progress
from . import options
from .help import App
from .logs import LogFormat, set_level
from .options import Setting

if TYPE_CHECKING:
    from ..training.run import Target
    from ..training.settings import TrainSettings

_NEEDED = ("accelerate", "datasets", "jinja2", "matplotlib")

training_option = partial(typer.Option, rich_help_panel="Training")

train = App(name="train", help="Train a model on labelled pairs.")

Pairs = Annotated[
    Path,
    typer.Argument(
        metavar="PAIRS",
        help=f"Labelled pairs: {PAIR_TITLES}; with a column split, only the rows marked train.",
    ),
]
Out = Annotated[Path | None, options.output_option("--out", "-o", help="Folder for the model.  [required]")]
Valid = Annotated[
    Path | None,
    options.input_option(
        metavar="PAIRS",
        help="Pairs to validate on; by default the rows valid of PAIRS, or else 5 % of them.",
    ),
]
Base = Annotated[
    str | None,
    options.model_option(help="Model to start from: built-in, folder or hub name."),
    Setting("model.base"),
]
HardNegatives = Annotated[
    str | None,
    options.input_option(metavar="CORPUS", help="Add negatives mined from this file or folder."),
    Setting("negatives.corpus"),
]
Epochs = Annotated[int | None, training_option(help="Passes over the pairs."), Setting("training.epochs")]
BatchSize = Annotated[int | None, training_option(help="Pairs per batch."), Setting("training.batch_size")]
LearningRate = Annotated[
    float | None, training_option(help="AdamW's rate after the warm-up."), Setting("training.learning_rate")
]
Seed = Annotated[
    int | None,
    training_option(help="Seed of the batches, the dropout and a new head."),
    Setting("training.seed"),
]
Resume = Annotated[
    bool,
    options.output_option("--resume", help="Continue from the last checkpoint of an interrupted training."),
]
Restart = Annotated[
    bool, options.output_option("--restart", help="Discard the checkpoints of an interrupted training.")
]


@train.command("cross-encoder")
def cross_encoder(  # noqa: PLR0913, PLR0917 - one parameter per flag
    pairs: Pairs,
    out: Out = None,
    valid: Valid = None,
    config: options.Config = None,
    set_: options.Set = None,
    base: Base = None,
    head: Annotated[
        str | None, options.model_option(help="sigmoid, softmax, nli or score."), Setting("model.head")
    ] = None,
    text_columns: options.TextColumns = None,
    label_column: options.LabelColumn = None,
    label_max: options.LabelMax = None,
    hard_negatives: HardNegatives = None,
    pseudo_labels: Annotated[
        str | None,
        options.input_option(
            metavar="RUN", help="Add the pairs of this run, labelled with its probabilities."
        ),
        Setting("pseudo_labels.run"),
    ] = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    seed: Seed = None,
    device: options.Device = None,
    threads: options.Threads = None,
    resume: Resume = False,
    restart: Restart = False,
    overwrite: options.Overwrite = False,
    print_config: options.PrintConfig = False,
    quiet: options.Quiet = False,
    log_level: options.LogLevel = "warning",
    log_format: options.LogFormatOption = "text",
) -> None:
    """Train a model for stage 2, which reads both texts of a pair together."""
    arguments = locals()
    set_level(log_level)
    from ..training.settings import CrossEncoderTraining

    settings = options.build_settings(CrossEncoderTraining, cross_encoder, arguments)
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
        str | None,
        training_option(help="cosine, contrastive, online-contrastive, mnrl or cached-mnrl."),
        Setting("objective.loss"),
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
    overwrite: options.Overwrite = False,
    print_config: options.PrintConfig = False,
    quiet: options.Quiet = False,
    log_level: options.LogLevel = "warning",
    log_format: options.LogFormatOption = "text",
) -> None:
    """Train a model for stage 1, which encodes each text as a vector."""
    arguments = locals()
    set_level(log_level)
    from ..training.settings import BiEncoderTraining

    settings = options.build_settings(BiEncoderTraining, bi_encoder, arguments)
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
