"""Atomic writes: a crash or a full disk never leaves half a file under its final name."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ..errors import OutputError, SpaceError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_BLOCK = bytes(1 << 20)
_URL = re.compile("([A-Za-z][A-Za-z0-9+.-]+):/{1,2}(?=[^/])")


def find_url(path: str | Path) -> str | None:
    """Return a path that is a URL, with the slashes that `Path` leaves out of it; None for other paths."""
    match = _URL.match(str(path))
    return None if match is None else f"{match[1]}://{str(path)[match.end() :]}"


def require_local(folder: Path) -> None:
    """Check that the folder of a result is not a URL, which would become a local folder of that name.

    Raises:
        OutputError: it is one.
    """
    if url := find_url(folder):
        raise OutputError(f"{url} cannot be written: only local folders are; give one and upload the result")


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a temporary file, sync it and rename it to `path`.

    At any time `path` is the whole old or the whole new file. A killed process leaves at most
    `.NAME.tmp-<hex>`, which `remove_leftovers` removes.
    """
    temporary = path.with_name(f".{path.name}.tmp-{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def final_name(name: str) -> str:
    """Return the final name of a temporary file of `write_atomically`; other names stay as they are."""
    match = re.fullmatch(r"\.(.+)\.tmp-[0-9a-f]{8}", name)
    return match[1] if match else name


def remove_leftovers(folder: Path, owns: Callable[[str], bool]) -> None:
    """Remove temporary files of owned names that killed processes left. The caller holds the lock."""
    for path in folder.glob(".*.tmp-*"):
        if final_name(path.name) != path.name and owns(final_name(path.name)) and not path.is_symlink():
            path.unlink(missing_ok=True)


def claim(path: Path, size: int) -> None:
    """Write a file of `size` zero bytes, since writing to a mapped page on a full disk kills the process."""
    with path.open("wb") as file:
        for start in range(0, size, len(_BLOCK)):
            file.write(_BLOCK[: size - start])


def digest(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, and sync their names to the disk."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync_folder(path.parent)


def share_weights(folder: Path) -> None:
    """Give the weights the folder's permissions: safetensors makes them readable for their owner only."""
    for path in folder.rglob("*.safetensors"):
        path.chmod(path.parent.stat().st_mode & 0o666)


def sync_folder(folder: Path) -> None:
    """Sync the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def output_errors(folder: Path) -> Iterator[None]:
    """Turn an OSError into an error that says what happened and what to do.

    Raises:
        SpaceError: no space, or a quota or the limit of a file's size is reached.
        OutputError: any other OSError.
    """
    try:
        yield
    except OSError as error:
        kind: type[OutputError] = OutputError
        if error.errno in _FULL:
            kind, reason = SpaceError, "the disk is full; free some space"
        elif error.errno in _DENIED:
            reason = "no write access; allow it"
        else:
            reason = f"{error.strerror or error}; correct that"
        raise kind(
            f"{folder} cannot be written: {reason} or give another folder (nothing was changed)"
        ) from error


def require_space(folder: Path, needed: int) -> None:
    """Check that `needed` bytes are free where `folder` is or will be.

    Raises:
        SpaceError: less space is free.
    """
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise SpaceError(
            f"{folder}: about {_size(needed)} are needed and {_size(free)} are free; "
            "free some space or give another folder (nothing was written)"
        )


def _size(size: int) -> str:
    for unit, power in (("GiB", 30), ("MiB", 20)):
        if size >= 1 << power:
            return f"{size / (1 << power):.1f} {unit}"
    return f"{size / 1024:.1f} KiB"
