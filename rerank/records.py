"""What was fitted to data, as JSON beside a cross-encoder: written whole or not at all, checked when read."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from ..disk.files import write_atomically
from ..errors import ModelError

if TYPE_CHECKING:
    from .bands import Bands
    from .decision import Decision

_CHECKSUM = re.compile(rb'\{\s*"sha256": "([0-9a-f]{64})",')


class Record(BaseModel):
    """A file, or a part of one."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class FittedOn(Record):
    """The labelled pairs that something was fitted on: their number, and a SHA-256 of texts and labels."""

    n: int
    duplicates: int
    sha256: str


class ModelRecord(Record):
    """A file beside a cross-encoder: its name, and how to do without what it holds."""

    file: ClassVar[str]
    advice: ClassVar[str]
    indent: ClassVar[int] = 1

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """Return what the file in a model's folder holds, None where there is none.

        A file that `write` wrote has a checksum; one without it is of unknown origin, and its content is
        only validated.

        Raises:
            ModelError: it cannot be read, or was changed; the message ends with the advice.
        """
        path = folder / cls.file
        if not path.is_file():
            return None
        try:
            text = path.read_bytes()
            if written := _CHECKSUM.match(text):
                text = b"{" + text[written.end() :]
                if hashlib.sha256(text).hexdigest().encode() != written[1]:
                    raise ModelError(f"{path} is damaged (its checksum does not match): {cls.advice}")
            return cls.model_validate_json(text)
        except (OSError, ValidationError) as error:
            raise ModelError(f"{path} cannot be read ({_first_problem(error)}): {cls.advice}") from None

    def write(self, folder: Path) -> None:
        """Write the file, whole or not at all; its first entry is the SHA-256 of the rest."""
        text = self.model_dump_json(indent=self.indent).encode() + b"\n"
        digest, margin = hashlib.sha256(text).hexdigest(), " " * self.indent
        written = f'{{\n{margin}"sha256": "{digest}",'.encode() + text[1:]
        write_atomically(folder / self.file, lambda file: file.write(written))


class FittedToModels(ModelRecord):
    """What belongs to a bi-encoder and to a cross-encoder with its calibration, by fingerprint.

    It was fitted to pairs with a cosine of at least `floor`.
    """

    version: int
    bi_encoder: str
    cross_encoder: str
    floor: float

    def find_mismatch(
        self,
        trees: Decision | Bands,
        folder: Path,
        *,
        features: tuple[str, ...],
        bi_encoder: str,
        cross_encoder: str,
        n_tokens: int,
    ) -> str | None:
        """Return why the file in a folder cannot be used with these models and features, None where it can.

        `trees` are those that it holds, `cross_encoder` is the fingerprint of the cross-encoder's logits, and
        `n_tokens` the size of its vocabulary.
        """
        path = folder / self.file
        if trees.features != features:
            return f"{path} was fitted by another version of dupmine"
        if self.bi_encoder != bi_encoder:
            return f"{path} was fitted with another bi-encoder"
        if self.cross_encoder != cross_encoder:
            return f"{path} was fitted with other weights or another calibration"
        if len(trees.idf) < n_tokens:
            return (
                f"{path} has the idf of {len(trees.idf):,} tokens, and the cross-encoder reads {n_tokens:,}"
            )
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
