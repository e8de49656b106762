"""`dupmine train cross-encoder` and `dupmine train bi-encoder`: models from labelled pairs."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import needs_extra
from ..formats import PAIR_TITLES
from ..messages import escape
from . import options
from .groups import OptionGroup
from .help import App

if TYPE_CHECKING:
    from ..training.folder import Target
    from ..training.settings import TrainSettings

training_option = partial(typer.Option, rich_help_panel="Training")

train = App(name="train", help="Train a model on labelled pairs.")

Pairs = Annotated[
    Path,
    typer.Argument(
        metavar="PAIRS",
        help=f"Labelled pairs: {PAIR_TITLES}; with a column split, only the rows marked train.",
    ),
]
Valid = Annotated[
    Path | None,
    options.input_option(
        metavar="PAIRS",
        help="Pairs to validate on; by default the rows valid of PAIRS, or else 5 % of them.",
    ),
]


@dataclass(frozen=True, slots=True)
class TargetOptions(OptionGroup):
    """Where the model is written, and what becomes of an earlier training there."""

    out: Annotated[
        Path | None, options.output_option("--out", "-o", help="Folder for the model.  [required]")
    ] = None
    overwrite: options.Overwrite = False
    resume: Annotated[
        bool,
        options.output_option(
            "--resume", help="Continue from the last checkpoint of an interrupted training."
        ),
    ] = False
    restart: Annotated[
        bool, options.output_option("--restart", help="Discard the checkpoints of an interrupted training.")
    ] = False

    def target(self) -> Target:
        """Return the folder that a training writes to, checked."""
        if self.out is None:
            raise typer.BadParameter("name a folder for the model", param_hint="--out")
        if self.resume and self.restart:
            raise typer.BadParameter("give one of --resume and --restart", param_hint="--resume")
        with needs_extra("training", "train"):
            import accelerate  # noqa: F401 - the trainers need them only later
            import datasets  # noqa: F401

            from ..training.folder import Target
        command = shlex.join(["dupmine", *sys.argv[1:]])
        return Target(
            self.out, resume=self.resume, restart=self.restart, overwrite=self.overwrite, command=command
        )


@dataclass(frozen=True, slots=True)
class TrainingOptions(OptionGroup):
    """What is trained, on what, and how long."""

    base: Annotated[
        str | None, options.model_option(help="Model to start from: built-in, folder or hub name.")
    ] = None
    corpus: Annotated[
        str | None,
        options.input_option(
            "--hard-negatives", metavar="CORPUS", help="Add negatives mined from this file or folder."
        ),
    ] = None
    epochs: Annotated[int | None, training_option(help="Passes over the pairs.")] = None
    batch_size: Annotated[int | None, training_option(help="Pairs per batch.")] = None
    learning_rate: Annotated[float | None, training_option(help="AdamW's rate after the warm-up.")] = None
    seed: Annotated[int | None, training_option(help="Seed of the batches, the dropout and a new head.")] = (
        None
    )


@train.command("cross-encoder")
def cross_encoder(
    pairs: Pairs,
    *,
    target: TargetOptions,
    valid: Valid = None,
    reading: options.PairOptions,
    training: TrainingOptions,
    head: Annotated[str | None, options.model_option(help="sigmoid, softmax, nli or score.")] = None,
    pseudo_labels: Annotated[
        str | None,
        options.input_option(
            metavar="RUN", help="Add the pairs of this run, labelled with its probabilities."
        ),
    ] = None,
    config: options.ConfigOptions,
    print_config: options.PrintConfig = False,
    compute: options.ComputeOptions,
    log: options.LogOptions,
) -> None:
    """Train a model for stage 2, which reads both texts of a pair together."""
    from ..training.settings import CrossEncoderTraining

    only = {"model.head": head, "pseudo_labels.run": pseudo_labels}
    settings = config.build(CrossEncoderTraining, reading, training, only, compute)
    _train(pairs, valid, settings, target, log, print_config=print_config)


@train.command("bi-encoder")
def bi_encoder(
    pairs: Pairs,
    *,
    target: TargetOptions,
    valid: Valid = None,
    reading: options.PairOptions,
    training: TrainingOptions,
    loss: Annotated[
        str | None,
        training_option(help="cosine, contrastive, online-contrastive, mnrl or cached-mnrl."),
    ] = None,
    config: options.ConfigOptions,
    print_config: options.PrintConfig = False,
    compute: options.ComputeOptions,
    log: options.LogOptions,
) -> None:
    """Train a model for stage 1, which encodes each text as a vector."""
    from ..training.settings import BiEncoderTraining

    settings = config.build(BiEncoderTraining, reading, training, {"objective.loss": loss}, compute)
    _train(pairs, valid, settings, target, log, print_config=print_config)


def _train(
    pairs: Path,
    valid: Path | None,
    settings: TrainSettings,
    target: TargetOptions,
    log: options.LogOptions,
    *,
    print_config: bool,
) -> None:
    """Train, or print the settings and stop."""
    if print_config:
        typer.echo(settings.to_yaml(), nl=False)
        return
    folder = target.target()
    from ..training.run import train_model
    from .evaluate_view import metric_line

    outcome = train_model(pairs, valid, settings, folder, log.progress)
    facts = (metric_line(name, value) for name, value in outcome.summary().items())
    log.report([*facts, "", f"written to {escape(str(folder.folder))}"])
