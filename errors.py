"""The errors that a user can cause and correct."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

from .messages import escape, speak_python

P = ParamSpec("P")
R = TypeVar("R")


class DupmineError(ValueError):
    """A mistake in the input, the settings or the environment that the user can correct.

    The message is one line: what was expected, what came, where, and what to do. The command line prints
    `message` and ends with `exit_code`; where a function of Python raises it, options are keywords in the
    text.
    """

    exit_code: int = 2

    def __init__(self, message: str) -> None:
        self.message = escape(message)
        super().__init__(self.message)


class InputError(DupmineError):
    """The corpus cannot be read: the message names the file and, where there is one, the line or row."""


class SettingsError(DupmineError):
    """A setting is unknown, out of range or contradicts another: the message names it."""


class ModelError(DupmineError):
    """A model cannot be found, loaded or used for its stage: the message names it."""


class OutputError(DupmineError):
    """The result cannot be written: the message names the folder or file."""


class SpaceError(OutputError):
    """There is no room on the disk: the message says how much is needed and where."""

    exit_code = 5


class NotEnoughMemoryError(DupmineError):
    """The system has no more memory for the process."""

    exit_code = 5


class LockError(DupmineError):
    """Another process writes to the same folder: the message says who, where and since when."""

    exit_code = 3


class CorruptStoreError(DupmineError):
    """A committed file of a store is missing or damaged: the message names it."""

    exit_code = 4


def speaks_python(function: Callable[P, R]) -> Callable[P, R]:
    """Let the errors of a function name keywords where the command line has options."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except DupmineError as error:
            error.args = (speak_python(error.message),)
            raise

    return call


@contextmanager
def needs_extra(purpose: str, extra: str) -> Iterator[None]:
    """Say which extra of dupmine has the package that an import inside lacks.

    Raises:
        SettingsError: the package is not installed.
    """
    try:
        yield
    except ImportError as error:
        package = (error.name or "a package").partition(".")[0]
        raise SettingsError(
            f"{purpose} needs {package}, which is not installed: pip install 'dupmine[{extra}]'"
        ) from None


_OUT_OF_MEMORY = re.compile(
    "can't allocate memory|cannot allocate memory|out of memory|can't start new thread|failed to map segment",
    re.IGNORECASE,
)


def find_memory_error(error: BaseException) -> NotEnoughMemoryError | None:
    """Return the error to report where an error, or what caused it, is that there is no more memory."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError) or (
            isinstance(cause, RuntimeError | OSError | ImportError) and _OUT_OF_MEMORY.search(str(cause))
        ):
            reason = (str(cause).strip().splitlines() or ["MemoryError"])[0][:100]
            return NotEnoughMemoryError(
                f"there is not enough memory ({reason}): nothing was lost; free some, raise the limit, or "
                "set compute.batch_tokens and --threads lower"
            )
        cause = cause.__cause__ or cause.__context__
    return None
