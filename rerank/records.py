"""What was fitted to data, as JSON beside a cross-encoder: written whole or not at all, checked when read."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ..disk.files import write_atomically
from ..errors import ModelError

R = TypeVar("R", bound="Record")


class Record(BaseModel):
    """A file, or a part of one."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class FittedOn(Record):
    """The labelled pairs that something was fitted on: their number, and a SHA-256 of texts and labels."""

    n: int
    duplicates: int
    sha256: str


class FittedToModels(Protocol):
    """A record that belongs to a bi-encoder and a cross-encoder, by fingerprint, and to some features."""

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the features, in order."""

    @property
    def bi_encoder(self) -> str:
        """Fingerprint of the bi-encoder."""

    @property
    def cross_encoder(self) -> str:
        """Fingerprint of the cross-encoder's logits."""


def read_record(kind: type[R], path: Path, advice: str) -> R | None:
    """Return what a file holds, None where there is none.

    Raises:
        ModelError: it cannot be read; the message ends with `advice`.
    """
    if not path.is_file():
        return None
    try:
        return kind.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise ModelError(f"{path} cannot be read ({_first_problem(error)}): {advice}") from None


def write_record(record: Record, path: Path, *, indent: int = 1) -> None:
    """Write a file, whole or not at all."""
    text = record.model_dump_json(indent=indent) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def find_mismatch(
    record: FittedToModels, path: Path, *, features: tuple[str, ...], bi_encoder: str, cross_encoder: str
) -> str | None:
    """Return why a record cannot be used with these models and features, None where it can."""
    if record.features != features:
        return f"{path} was fitted by another version of dupmine"
    if record.bi_encoder != bi_encoder:
        return f"{path} was fitted with another bi-encoder"
    if record.cross_encoder != cross_encoder:
        return f"{path} was fitted with other weights or another calibration"
    return None


def _first_problem(error: OSError | ValidationError) -> str:
    if isinstance(error, OSError):
        return str(error.strerror)
    first = error.errors()[0]
    if first["loc"] == ("version",):
        return "another version of dupmine wrote it"
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else first["msg"]
