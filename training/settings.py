"""The settings of a training: one frozen model per stage, composed per kind of model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..settings import BUILTIN_BI_ENCODER, BUILTIN_CROSS_ENCODER, ComputeSettings, HeadKind, PairSettings
from ..staged import Stage, StagedSettings

LossKind = Literal["cosine", "contrastive", "online-contrastive", "mnrl", "cached-mnrl"]


class ClassifierSettings(Stage):
    """What is trained, and what its outputs mean."""

    base: str = Field(
        default=BUILTIN_BI_ENCODER,
        min_length=1,
        description="model to start from: built-in, folder or hub name; one without a fitting head gets a "
        "fresh one",
    )
    head: HeadKind = Field(
        default="sigmoid",
        description="sigmoid: one logit; softmax: different or duplicate; nli: duplicates entail, others are "
        "neutral; score: one logit whose logistic is a similarity from 0 to 1",
    )
    max_tokens: int = Field(
        default=128,
        ge=8,
        le=4096,
        description="longer pairs are cut to so many tokens",
    )
    hidden_dropout: float | None = Field(
        default=None, ge=0.0, lt=1.0, description="share of hidden units dropped; by default the base's"
    )
    attention_dropout: float | None = Field(
        default=None, ge=0.0, lt=1.0, description="share of attention dropped; by default the base's"
    )
    freeze_embeddings: bool = Field(
        default=False,
        description="leave the embeddings as the base has them: for a base that was trained on such texts",
    )


class EmbedderSettings(Stage):
    """What is trained."""

    base: str = Field(
        default=BUILTIN_BI_ENCODER,
        min_length=1,
        description="sentence-transformers model to start from: built-in, folder or hub name",
    )
    max_tokens: int = Field(
        default=128,
        ge=4,
        le=4096,
        description="longer texts are cut to so many tokens",
    )


class ObjectiveSettings(Stage):
    """What a training of a bi-encoder minimises."""

    loss: LossKind = Field(
        default="online-contrastive",
        description="cosine: squared error of the cosine; contrastive, online-contrastive: distances up to a "
        "margin; mnrl, cached-mnrl: each duplicate against all other texts of its batch",
    )
    margin: float = Field(
        default=0.5, gt=0.0, le=2.0, description="(online-)contrastive: cosine distance different pairs keep"
    )
    scale: float = Field(default=20.0, gt=0.0, description="(cached-)mnrl: factor of the cosines")
    labelled_negatives: bool = Field(
        default=True,
        description="(cached-)mnrl: let a duplicate's texts also keep away from one they were labelled to "
        "differ from",
    )
    mini_batch: int = Field(
        default=32,
        ge=1,
        description="cached-mnrl: pairs in memory at once; the batch can be far larger",
    )


class TrainingSettings(Stage):
    """How long, how fast and in what batches; a step is one update of the weights."""

    epochs: int = Field(default=3, ge=1, description="passes over the pairs")
    max_steps: int | None = Field(default=None, ge=1, description="end after so many steps instead")
    batch_size: int = Field(default=64, ge=2, description="pairs per batch")
    accumulate: int = Field(default=1, ge=1, description="batches per step")
    learning_rate: float = Field(default=5e-5, gt=0.0, lt=1.0, description="AdamW's rate after the warm-up")
    warmup: float = Field(
        default=0.1, ge=0.0, lt=1.0, description="share of the steps in which the rate grows from 0"
    )
    schedule: Literal["linear", "cosine", "warmup-stable-decay"] = Field(
        default="linear",
        description="how the rate falls to 0; warmup-stable-decay holds it and can be prolonged on --resume",
    )
    decay: float = Field(
        default=0.1,
        gt=0.0,
        le=1.0,
        description="warmup-stable-decay: share of the steps, at the end, in which the rate falls",
    )
    weight_decay: float = Field(default=0.01, ge=0.0, description="AdamW's weight decay")
    seed: int = Field(default=42, ge=0, description="of the batches, the dropout and a fresh head")
    evaluate_every: int | None = Field(
        default=None, ge=1, description="steps between validations; by default a quarter of an epoch"
    )
    save_every: int | None = Field(
        default=None, ge=1, description="steps between checkpoints; there is one at each validation anyway"
    )
    patience: int | None = Field(
        default=None, ge=1, description="stop after so many validations without progress; by default never"
    )
    keep_checkpoints: int = Field(
        default=2, ge=1, description="checkpoints kept on disk; the best one and the last always are"
    )


class ClassifierTrainingSettings(TrainingSettings):
    """How long, how fast and in what batches; a step is one update of the weights."""

    label_smoothing: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="0.1 makes the targets 0.05 and 0.95: for noisy labels"
    )
    swap: bool = Field(default=True, description="show each pair in either order, at random")


class EmbedderTrainingSettings(TrainingSettings):
    """How long, how fast and in what batches; a step is one update of the weights."""

    epochs: int = Field(default=1, ge=1, description="passes over the pairs")
    learning_rate: float = Field(default=2e-5, gt=0.0, lt=1.0, description="AdamW's rate after the warm-up")


class NegativesSettings(Stage):
    """Hard negatives: texts of a corpus that look like duplicates and are none."""

    corpus: str | None = Field(
        default=None,
        description="file or folder to mine them from; by default none are mined",
    )
    per_positive: int = Field(
        default=1, ge=1, le=100, description="negatives for each text that has a duplicate, the nearest first"
    )
    neighbours: int = Field(default=30, ge=1, le=1000, description="nearest texts looked at")
    max_cosine: float = Field(
        default=0.95, gt=0.0, le=1.0, description="a nearer one is taken for a duplicate and left out"
    )
    max_probability: float = Field(
        default=0.2,
        ge=0.0,
        le=1.0,
        description="one that the guard gives this probability or more is taken for a duplicate and left out",
    )
    miner: str = Field(default=BUILTIN_BI_ENCODER, min_length=1, description="bi-encoder that finds them")
    guard: str = Field(
        default=BUILTIN_CROSS_ENCODER,
        min_length=1,
        description="cross-encoder that spots duplicates",
    )


class PseudoLabelSettings(Stage):
    """Pseudo-labels: pairs that a run found, each with the probability that it gave them."""

    run: str | None = Field(
        default=None,
        min_length=1,
        description="folder of the run; by default no such pairs are added",
    )
    most_pairs: int = Field(
        default=300_000, ge=1, description="so many at most, drawn evenly over the probabilities"
    )


class CrossEncoderTraining(StagedSettings):
    """The settings of `train cross-encoder`."""

    pairs: PairSettings = PairSettings()
    model: ClassifierSettings = ClassifierSettings()
    training: ClassifierTrainingSettings = ClassifierTrainingSettings()
    negatives: NegativesSettings = NegativesSettings()
    pseudo_labels: PseudoLabelSettings = PseudoLabelSettings()
    compute: ComputeSettings = ComputeSettings()


class BiEncoderTraining(StagedSettings):
    """The settings of `train bi-encoder`."""

    pairs: PairSettings = PairSettings()
    model: EmbedderSettings = EmbedderSettings()
    objective: ObjectiveSettings = ObjectiveSettings()
    training: EmbedderTrainingSettings = EmbedderTrainingSettings()
    negatives: NegativesSettings = NegativesSettings()
    compute: ComputeSettings = ComputeSettings()


TrainSettings = CrossEncoderTraining | BiEncoderTraining
