"""What was fitted beside a cross-encoder, as JSON: written whole or not at all, read or refused."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from ..disk.files import write_atomically
from ..errors import ModelError

M = TypeVar("M", bound=BaseModel)


def read_record(kind: type[M], path: Path, advice: str) -> M | None:
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


def write_record(fitted: BaseModel, path: Path, *, indent: int = 1) -> None:
    """Write a file, whole or not at all."""
    text = fitted.model_dump_json(indent=indent) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def _first_problem(error: OSError | ValidationError) -> str:
    if isinstance(error, OSError):
        return str(error.strerror)
    first = error.errors()[0]
    if first["loc"] == ("version",):
        return "another version of dupmine wrote it"
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else first["msg"]
