"""Open a source as bytes: a file, standard input or a member of an archive, decompressed and hashed."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa

from ..errors import InputError
from ..messages import describe_error, explain_unreadable
from .sources import Source


class HashedFile(io.RawIOBase):
    """A file that computes the SHA-256 of the bytes read from it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.size = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read bytes into a buffer and return their number."""
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self.digest.update(data)
        self.size += len(data)
        return len(data)


def decompress(file: Any, compression: str | None) -> IO[bytes]:
    """Return the decompressed content of a file; None stands for a file that is not compressed."""
    if compression == "gzip":
        return cast("IO[bytes]", gzip.GzipFile(fileobj=file))
    if compression == "bzip2":
        return cast("IO[bytes]", bz2.BZ2File(file))
    if compression == "xz":
        return cast("IO[bytes]", lzma.LZMAFile(file))
    if compression == "zstd":
        return cast("IO[bytes]", pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd"))
    return cast("IO[bytes]", file)


@contextmanager
def open_bytes(source: Source) -> Iterator[tuple[IO[bytes], int | None]]:
    """Open a source as bytes; yield its size in the archive too, None where it is not in one.

    Raises `InputError` where it cannot be opened.
    """
    if source.is_stdin:
        yield standard_input(), None
        return
    try:
        file = Path(source.archive or source.path).open("rb")  # noqa: SIM115  (only an error of opening is handled)
    except OSError as error:
        raise InputError(explain_unreadable(source.path, error)) from None
    with file:
        if source.member is None:
            yield file, None
            return
        with _open_member(file, source) as (member, packed):
            yield member, packed


@contextmanager
def _open_member(file: IO[bytes], source: Source) -> Iterator[tuple[IO[bytes], int]]:
    assert source.member is not None
    try:
        archive = zipfile.ZipFile(file)
        info = archive.getinfo(source.member)
        member = archive.open(info)
    except (zipfile.BadZipFile, KeyError, RuntimeError, NotImplementedError, ValueError) as error:
        reason = describe_error(error)
        raise InputError(
            f"{source.path}: cannot be read from the archive ({reason}): extract it first"
        ) from None
    with archive, member:
        yield member, info.compress_size


def standard_input() -> IO[bytes]:
    """Return standard input as bytes. Raises `InputError` where it is closed."""
    if sys.stdin is None:
        raise InputError("standard input is closed: pipe the documents in, or name a file")
    return sys.stdin.buffer
