"""The settings of a training, by stage and by kind of model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..settings import BUILTIN_BI_ENCODER, BUILTIN_CROSS_ENCODER, ComputeSettings, HeadKind, PairSettings
from ..staged import Stage, StagedSettings

LossKind = Literal["cosine", "contrastive", "online-contrastive", "mnrl", "cached-mnrl"]


class ClassifierSettings(Stage):
    """The base model, and the meaning of its outputs."""

    base: str = Field(default=BUILTIN_BI_ENCODER, min_length=1)
    """model to start from: built-in, folder or hub name; without a suitable head it gets a new one"""
    head: HeadKind = "sigmoid"
    """sigmoid: one logit; softmax: different or duplicate; nli: duplicates entail, others are neutral; score:
    one logit whose logistic is a similarity from 0 to 1"""
    max_tokens: int = Field(default=128, ge=8, le=4096)
    """longer pairs are cut to this number of tokens"""
    hidden_dropout: float | None = Field(default=None, ge=0.0, lt=1.0)
    """share of hidden units dropped; by default that of the base"""
    attention_dropout: float | None = Field(default=None, ge=0.0, lt=1.0)
    """share of attention dropped; by default that of the base"""
    freeze_embeddings: bool = False
    """do not train the embeddings; for a base that was trained on such texts"""
    freeze_layers: int = Field(default=0, ge=0)
    """do not train so many of the lowest layers, nor the embeddings; with half of them a step takes two
    thirds of the time"""


class EmbedderSettings(Stage):
    """The base model."""

    base: str = Field(default=BUILTIN_BI_ENCODER, min_length=1)
    """sentence-transformers model to start from: built-in, folder or hub name"""
    max_tokens: int = Field(default=128, ge=4, le=4096)
    """longer texts are cut to this number of tokens"""


class ObjectiveSettings(Stage):
    """The loss of a bi-encoder."""

    loss: LossKind = "online-contrastive"
    """cosine: squared error of the cosine; contrastive, online-contrastive: distances up to a margin; mnrl,
    cached-mnrl: each duplicate against all other texts of its batch"""
    margin: float = Field(default=0.5, gt=0.0, le=2.0)
    """(online-)contrastive: least cosine distance of different pairs"""
    scale: float = Field(default=20.0, gt=0.0)
    """(cached-)mnrl: factor of the cosines"""
    labelled_negatives: bool = True
    """(cached-)mnrl: also contrast a duplicate's texts with one that was labelled different from them"""
    mini_batch: int = Field(default=32, ge=1)
    """cached-mnrl: pairs in memory at once; the batch can be much larger"""


class TrainingSettings(Stage):
    """How long, how fast and in what batches; a step is one update of the weights."""

    epochs: int = Field(default=3, ge=1)
    """passes over the pairs"""
    max_steps: int | None = Field(default=None, ge=1)
    """number of steps, instead of epochs"""
    batch_size: int = Field(default=64, ge=2)
    """pairs per batch"""
    accumulate: int = Field(default=1, ge=1)
    """batches per step"""
    learning_rate: float = Field(default=5e-5, gt=0.0, lt=1.0)
    """AdamW's rate after the warm-up"""
    warmup: float = Field(default=0.1, ge=0.0, lt=1.0)
    """share of the steps in which the rate grows from 0"""
    schedule: Literal["linear", "cosine", "warmup-stable-decay"] = "linear"
    """how the rate falls to 0; warmup-stable-decay keeps it before, and --resume can prolong it"""
    decay: float = Field(default=0.1, gt=0.0, le=1.0)
    """warmup-stable-decay: share of the steps, at the end, in which the rate falls"""
    weight_decay: float = Field(default=0.01, ge=0.0)
    """AdamW's weight decay"""
    seed: int = Field(default=42, ge=0)
    """seed of the batches, the dropout and a new head"""
    evaluate_every: int | None = Field(default=None, ge=1)
    """steps between validations; by default a quarter of an epoch"""
    save_every: int | None = Field(default=None, ge=1)
    """steps between further checkpoints; each validation saves one"""
    patience: int | None = Field(default=None, ge=1)
    """stop after this number of validations without progress; by default never"""
    keep_checkpoints: int = Field(default=2, ge=1)
    """checkpoints kept on disk, the best and the last among them"""


class ClassifierTrainingSettings(TrainingSettings):
    """How long, how fast and in what batches; a step is one update of the weights."""

    label_smoothing: float = Field(default=0.0, ge=0.0, lt=1.0)
    """0.1 makes the targets 0.05 and 0.95, for noisy labels"""
    swap: bool = True
    """present each pair in random order"""


class EmbedderTrainingSettings(TrainingSettings):
    """How long, how fast and in what batches; a step is one update of the weights."""

    epochs: int = Field(default=1, ge=1)
    """passes over the pairs"""
    learning_rate: float = Field(default=2e-5, gt=0.0, lt=1.0)
    """AdamW's rate after the warm-up"""


class NegativesSettings(Stage):
    """Hard negatives: texts of a corpus that look like duplicates but are not."""

    corpus: str | None = None
    """file or folder to mine them from; by default none are mined"""
    per_positive: int = Field(default=1, ge=1, le=100)
    """negatives for each text with a duplicate, the nearest first"""
    neighbours: int = Field(default=30, ge=1, le=1000)
    """nearest texts considered"""
    max_cosine: float = Field(default=0.95, gt=0.0, le=1.0)
    """a nearer text is taken for a duplicate and excluded"""
    max_probability: float = Field(default=0.2, ge=0.0, le=1.0)
    """a text to which the guard gives this probability or more is excluded as a duplicate"""
    miner: str = Field(default=BUILTIN_BI_ENCODER, min_length=1)
    """bi-encoder that finds them"""
    guard: str = Field(default=BUILTIN_CROSS_ENCODER, min_length=1)
    """cross-encoder that recognises duplicates"""


class PseudoLabelSettings(Stage):
    """Pseudo-labels: pairs of a run, labelled with its probabilities."""

    run: str | None = Field(default=None, min_length=1)
    """folder of the run; by default no pairs are added"""
    most_pairs: int = Field(default=300_000, ge=1)
    """number of pairs at most, drawn evenly over the probabilities"""


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
