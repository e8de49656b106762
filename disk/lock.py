"""One writer per folder: a lock that ends with its process, and a file that names the process."""

from __future__ import annotations

import errno
import getpass
import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from fcntl import LOCK_NB, LOCK_SH, flock
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..errors import LockError, OutputError
from .files import output_errors, remove_leftovers, write_atomically
from .json_text import parse_json

log = logging.getLogger(__name__)

LOCK = "lock"
WRITER = "writer.json"
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}
_LOOK = 0.2  # seconds: `current_writer` may hold the lock for an instant


@contextmanager
def lock(folder: Path, *, wait: float = 0.0) -> Iterator[None]:
    """Take the lock of an existing folder, waiting at most `wait` seconds for another writer to end.

    The file `writer.json` names the writer: user, host, process and start (UTC).

    Raises:
        LockError: another process writes there.
        OutputError: the lock cannot be written, or the file system has no locks.
    """
    file_lock, writer_file = FileLock(folder / LOCK), folder / WRITER
    with output_errors(folder):
        _require_locks(folder)
        try:
            file_lock.acquire(timeout=max(wait, _LOOK))
        except Timeout:
            raise LockError(
                f"{folder} is being written by {_describe(read_writer(folder))}; wait for that process, "
                "end it, or give --wait SECONDS if the command has it"
            ) from None
    writer = _writer()
    try:
        with output_errors(folder):
            if writer_file.exists():
                log.warning("%s: taking over from %s, which died", folder, _describe(read_writer(folder)))
            remove_leftovers(folder, lambda name: name == WRITER)
            write_atomically(writer_file, lambda file: file.write(json.dumps(writer).encode()))
        yield
    finally:
        if read_writer(folder) == writer:  # false if the folder was moved and replaced
            with suppress(OSError):  # the result is written; the next writer takes over
                writer_file.unlink(missing_ok=True)
        file_lock.release()


def _require_locks(folder: Path) -> None:
    with (folder / LOCK).open("ab") as file:
        try:
            flock(file, LOCK_SH | LOCK_NB)  # for an instant; a writer that starts then tries again
        except OSError as error:
            if error.errno in _NO_LOCKS:
                raise OutputError(
                    f"{folder}: its file system has no locks ({error.strerror}), and without one two writers "
                    "could destroy the files of each other: use a local disk, or mount it with locks"
                ) from None


def current_writer(folder: Path) -> dict[str, Any] | None:
    """Return who writes to `folder` now, an empty dictionary if that is not known, None if nobody does.

    The lock decides; `writer.json` may be that of a process that died.
    """
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY)
    except OSError:
        return None
    try:
        flock(descriptor, LOCK_SH | LOCK_NB)  # for an instant; a writer that starts then tries again
    except OSError:
        return read_writer(folder) or {}
    finally:
        os.close(descriptor)
    return None


def read_writer(folder: Path) -> dict[str, Any] | None:
    """Return the content of `writer.json`; None if it is missing or broken."""
    try:
        writer = parse_json((folder / WRITER).read_bytes())
    except (OSError, ValueError):
        return None
    return writer if isinstance(writer, dict) else None


def _writer() -> dict[str, Any]:
    try:
        user = getpass.getuser()
    except (ImportError, KeyError, OSError):  # a container's user has no name
        user = str(os.getuid())
    started = datetime.now(UTC).isoformat(timespec="seconds")
    return {"user": user, "host": socket.gethostname(), "pid": os.getpid(), "started": started}


def _describe(writer: dict[str, Any] | None) -> str:
    if writer is None:
        return "another process"
    keys = ("user", "host", "pid", "started")
    return "{} on {} (process {}, since {})".format(*(writer.get(key, "?") for key in keys))
