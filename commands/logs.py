"""Log lines on standard error: for people, or one JSON object a line for machines."""

from __future__ import annotations

import itertools
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, TextIO

from ..errors import DupmineError, SettingsError, needs_extra
from ..messages import escape

LogFormat = Literal["text", "json"]
LEVELS = ("debug", "info", "warning", "error")

log = logging.getLogger("dupmine")


class _EscapingFormatter(logging.Formatter):
    """Format records with the control characters of their messages as escapes."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (logging's name)
        """Return the line of a record."""
        return escape(super().formatMessage(record))


def json_requested(arguments: Sequence[str]) -> bool:
    """Return whether the arguments ask for JSON, before they are parsed: errors in them are JSON too."""
    pairs = itertools.pairwise(arguments)
    return "--log-format=json" in arguments or ("--log-format", "json") in pairs


def log_json() -> None:
    """Write log records and Python's warnings as JSON lines: time (UTC), level, logger, message.

    Raises:
        SettingsError: the package for it is not installed.
    """
    with needs_extra("--log-format json", "nightly"):
        from pythonjsonlogger.json import JsonFormatter

    formatter = JsonFormatter(
        "%(asctime)s %(levelname)s %(name)s %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%SZ",
        rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
    )
    formatter.converter = time.gmtime
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.captureWarnings(True)


def set_level(level: str) -> None:
    """Show records of dupmine from `level` on, and warnings of everything else.

    Raises:
        SettingsError: the level is unknown.
    """
    if level.lower() not in LEVELS:
        raise SettingsError(f"--log-level: {level!r} is not one of {', '.join(LEVELS)}")
    handler = logging.StreamHandler()
    handler.setFormatter(_EscapingFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    log.setLevel(level.upper())


def log_end(error: Exception) -> int:
    """Log the error that ended the run and return its exit code; a bug comes with its traceback."""
    code = int(getattr(error, "exit_code", 1))
    if isinstance(error, DupmineError):
        log.error("%s", error.message, extra={"exit_code": code})
    elif hasattr(error, "format_message"):  # wrong usage, as an option that does not exist
        log.error("%s", error.format_message(), extra={"exit_code": code})
    else:
        log.critical("%s: %s", type(error).__name__, error, exc_info=error, extra={"exit_code": code})
    return code


def log_signal(number: int, code: int) -> None:
    """Log the signal that ended the run, and the exit code."""
    log.error("stopped by %s", signal.Signals(number).name, extra={"exit_code": code})


def print_report(lines: Sequence[str]) -> None:
    """Print what a command did. Its result is written: that it cannot be printed is only a warning."""
    try:
        if lines:
            sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()
    except OSError as error:
        log.warning("the report was not printed: %s", error.strerror)
        _silence(sys.stdout)
    try:
        sys.stderr.flush()
    except OSError:
        _silence(sys.stderr)


def _silence(stream: TextIO) -> None:
    """Keep Python from ending with an error over what is left in a stream."""
    with suppress(OSError), Path(os.devnull).open("wb") as nothing:
        os.dup2(nothing.fileno(), stream.fileno())
