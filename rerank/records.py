"""What was fitted to data, as JSON beside a cross-encoder: written whole or not at all, checked when read."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ..disk.files import write_atomically
from ..errors import ModelError

R = TypeVar("R", bound="Record")

_CHECKSUM = re.compile(rb'\{\s*"sha256": "([0-9a-f]{64})",')


class Record(BaseModel):
    """A file, or a part of one."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class FittedOn(Record):
    """The labelled pairs that something was fitted on: their number, and a SHA-256 of texts and labels."""

    n: int
    duplicates: int
    sha256: str


class FittedToModels(Protocol):
    """A record that belongs to a bi-encoder, a cross-encoder with its vocabulary, and some features."""

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the features, in order."""

    @property
    def bi_encoder(self) -> str:
        """Fingerprint of the bi-encoder."""

    @property
    def cross_encoder(self) -> str:
        """Fingerprint of the cross-encoder's logits."""

    @property
    def idf(self) -> tuple[float, ...]:
        """The inverse document frequency of each token of the cross-encoder's vocabulary."""


def read_record(kind: type[R], path: Path, advice: str) -> R | None:
    """Return what a file holds, None where there is none.

    A file that `write_record` wrote has a checksum; one without it is of unknown origin, and its content is
    only validated.

    Raises:
        ModelError: it cannot be read, or was changed; the message ends with `advice`.
    """
    if not path.is_file():
        return None
    try:
        text = path.read_bytes()
        if written := _CHECKSUM.match(text):
            text = b"{" + text[written.end() :]
            if hashlib.sha256(text).hexdigest().encode() != written[1]:
                raise ModelError(f"{path} is damaged (its checksum does not match): {advice}")
        return kind.model_validate_json(text)
    except (OSError, ValidationError) as error:
        raise ModelError(f"{path} cannot be read ({_first_problem(error)}): {advice}") from None


def write_record(record: Record, path: Path, *, indent: int = 1) -> None:
    """Write a file, whole or not at all; its first entry is the SHA-256 of the rest."""
    text = record.model_dump_json(indent=indent).encode() + b"\n"
    written = f'{{\n{" " * indent}"sha256": "{hashlib.sha256(text).hexdigest()}",'.encode() + text[1:]
    write_atomically(path, lambda file: file.write(written))


def find_mismatch(
    record: FittedToModels,
    path: Path,
    *,
    features: tuple[str, ...],
    bi_encoder: str,
    cross_encoder: str,
    n_tokens: int,
) -> str | None:
    """Return why a record cannot be used with these models and features, None where it can."""
    if record.features != features:
        return f"{path} was fitted by another version of dupmine"
    if record.bi_encoder != bi_encoder:
        return f"{path} was fitted with another bi-encoder"
    if record.cross_encoder != cross_encoder:
        return f"{path} was fitted with other weights or another calibration"
    if len(record.idf) < n_tokens:
        return f"{path} has the idf of {len(record.idf):,} tokens, and the cross-encoder reads {n_tokens:,}"
    return None


def _first_problem(error: OSError | ValidationError) -> str:
    if isinstance(error, OSError):
        return str(error.strerror)
    first = error.errors()[0]
    if first["loc"] == ("version",):
        return "another version of dupmine wrote it"
    place = ".".join(map(str, first["loc"]))
    problem = first["msg"].removeprefix("Value error, ")
    return f"{place}: {problem}" if place else problem
