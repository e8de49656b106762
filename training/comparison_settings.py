"""The settings of a comparison: one split of labelled pairs, and the approaches to train and test on it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from ..errors import SettingsError
from ..evaluation.model import ModelKind
from ..settings import ComputeSettings, PairSettings
from ..staged import Stage, StagedSettings, load_staged
from .settings import BiEncoderTraining, CrossEncoderTraining, TrainSettings

_KINDS: dict[ModelKind, type[BiEncoderTraining] | type[CrossEncoderTraining]] = {
    "bi-encoder": BiEncoderTraining,
    "cross-encoder": CrossEncoderTraining,
}


class SplitSettings(Stage):
    """Which pairs the approaches are compared on, and how they are divided."""

    file: str | None = Field(default=None, min_length=1)
    """file of labelled pairs; --pairs replaces it"""
    sample: int | None = Field(default=None, ge=1)
    """number of pairs to divide, stratified by label; by default all"""
    by: Literal["pair", "question"] = "question"
    """question: no question is in two splits; pair: at random"""
    train: float = Field(default=0.8, gt=0.0, lt=1.0)
    """share of the pairs to train on"""
    valid: float = Field(default=0.1, gt=0.0, lt=1.0)
    """share on which checkpoint and threshold are chosen"""
    test: float = Field(default=0.1, gt=0.0, lt=1.0)
    """share to test on"""
    seed: int = Field(default=42, ge=0, le=2**32 - 1)
    """seed of the sample and the splits"""

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        if abs(sum(self.shares.values()) - 1) > 1e-6:
            raise PydanticCustomError(
                "contradiction", "settings split.train, split.valid and split.test: they should sum to 1"
            )
        return self

    @property
    def shares(self) -> dict[str, float]:
        """The share of each split by name."""
        return {"train": self.train, "valid": self.valid, "test": self.test}


class Approaches(BaseModel):
    """What is compared, by name: a kind, whether to train it, and the settings of that training."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, dict[str, Any]] = Field(init=False)

    @model_validator(mode="before")
    @classmethod
    def _merge_overrides(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Let `--set "approaches.NAME.epochs=1"` change one setting of an approach."""
        merged = {name: dict(value) for name, value in values.items() if isinstance(value, Mapping)}
        for name in values.keys() - merged.keys():
            approach, _, key = str(name).rpartition(".")
            if approach in merged:
                merged[approach][key] = values[name]
            else:
                merged[name] = values[name]
        return merged


class CompareSettings(StagedSettings):
    """The settings of `compare`."""

    pairs: PairSettings = PairSettings()
    split: SplitSettings = SplitSettings()
    compute: ComputeSettings = ComputeSettings()
    approaches: Approaches = Approaches()


@dataclass(frozen=True, slots=True)
class Approach:
    """A model to compare: as it is, or trained with these settings."""

    name: str
    kind: ModelKind
    trained: bool
    settings: TrainSettings

    @property
    def base(self) -> str:
        """The model to test, or to train from."""
        return self.settings.model.base

    @property
    def objective(self) -> str | None:
        """The loss of a bi-encoder or the head of a cross-encoder; None for a model that is not trained."""
        if not self.trained:
            return None
        if isinstance(self.settings, BiEncoderTraining):
            return self.settings.objective.loss
        return self.settings.model.head

    @property
    def folder(self) -> str:
        """The name of its folder: `minilm-mnrl` for `MiniLM + MNRL`."""
        return re.sub(r"[^\w.]+", "-", self.name.lower()).strip("-.")


def read_approaches(settings: CompareSettings) -> list[Approach]:
    """Return the approaches in their order, each with all its settings.

    Raises:
        SettingsError: there is none, two would have the same folder, or one has a setting that is unknown,
            out of range or missing.
    """
    content = settings.approaches.model_extra or {}
    if not content:
        raise SettingsError("setting approaches: there is none; configs/compare-quora.yaml has five")
    approaches = [_read_approach(name, values, settings) for name, values in content.items()]
    name_of: dict[str, str] = {}
    for approach in approaches:
        other = name_of.setdefault(approach.folder, approach.name)
        if not approach.folder or other != approach.name:
            raise SettingsError(
                f"setting approaches.{approach.name}: its name gives no folder name, or the same one as "
                f"{other!r}; rename it"
            )
    return approaches


def _read_approach(name: str, values: Mapping[str, Any], settings: CompareSettings) -> Approach:
    training = dict(values)
    kind, trained = training.pop("kind", None), training.pop("trained", True)
    if kind not in _KINDS:
        raise SettingsError(
            f"setting approaches.{name}.kind: should be bi-encoder or cross-encoder, not {kind!r}"
        )
    if not isinstance(trained, bool):
        raise SettingsError(f"setting approaches.{name}.trained: should be true or false, not {trained!r}")
    shared = {"pairs": settings.pairs.model_dump(), "compute": settings.compute.model_dump()}
    try:
        return Approach(name, kind, trained, load_staged(_KINDS[kind], None, {**shared, **training}))
    except SettingsError as error:
        raise SettingsError(f"approach {name}: {error}") from None
