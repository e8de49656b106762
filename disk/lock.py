"""One writer to a folder: a lock that ends with its process, and a note that says whose it is."""

from __future__ import annotations

import getpass
import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..errors import LockError
from .files import output_errors, remove_leftovers, write_atomically

log = logging.getLogger(__name__)

LOCK = "lock"
WRITER = "writer.json"


@contextmanager
def lock(folder: Path, *, wait: float = 0.0) -> Iterator[None]:
    """Be the only writer to `folder`, which exists, waiting at most `wait` seconds for another to end.

    Beside the file that is locked lies `writer.json`: user, host, process and start (UTC).

    Raises:
        LockError: another process writes there.
        OutputError: the lock cannot be written.
    """
    held, note = FileLock(folder / LOCK), folder / WRITER
    with output_errors(folder):
        try:
            held.acquire(timeout=wait)
        except Timeout:
            raise LockError(
                f"{folder} is being written by {_name(read_writer(folder))}; wait for that process, end it, "
                "or give --wait SECONDS where the command has it"
            ) from None
    writer = _writer()
    try:
        with output_errors(folder):
            if note.exists():
                log.warning("%s: taking over from %s, which died", folder, _name(read_writer(folder)))
            remove_leftovers(folder)
            write_atomically(note, lambda file: file.write(json.dumps(writer).encode()))
        yield
    finally:
        if read_writer(folder) == writer:  # not so where the folder was moved and another is in its place
            with suppress(OSError):  # what was written stands; the next writer takes over
                note.unlink(missing_ok=True)
        held.release()


def read_writer(folder: Path) -> dict[str, Any] | None:
    """Return what `writer.json` says of the process that writes to `folder`; None if there is none."""
    try:
        writer = json.loads((folder / WRITER).read_bytes())
    except (OSError, ValueError):
        return None
    return writer if isinstance(writer, dict) else None


def _writer() -> dict[str, Any]:
    try:
        user = getpass.getuser()
    except (ImportError, KeyError, OSError):  # a container's user without a name
        user = str(os.getuid())
    started = datetime.now(UTC).isoformat(timespec="seconds")
    return {"user": user, "host": socket.gethostname(), "pid": os.getpid(), "started": started}


def _name(writer: dict[str, Any] | None) -> str:
    if writer is None:
        return "another process"
    keys = ("user", "host", "pid", "started")
    return "{} on {} (process {}, since {})".format(*(writer.get(key, "?") for key in keys))
