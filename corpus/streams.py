"""Open a source: decompress its bytes, check that they are UTF-8, and hash them."""

from __future__ import annotations

import gzip
import hashlib
import io
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa

from ..errors import InputError
from ..settings import CorpusSettings
from .messages import describe_error, explain_unreadable
from .parts import Part, check_expansion
from .sources import Source

BOM = b"\xef\xbb\xbf"
PIECE = 1 << 20  # bytes read at a time


class _HashedFile(io.RawIOBase):
    """A file that computes the SHA-256 of the bytes read from it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self.digest.update(data)
        self.size += len(data)
        return len(data)


class TextStream:
    """The text of one source as valid UTF-8 bytes, without a byte order mark.

    Invalid UTF-8 raises `InputError` with the line, or becomes U+FFFD and is counted in `replaced`.
    """

    def __init__(self, file: IO[bytes], source: Source, settings: CorpusSettings) -> None:
        self.source = source
        self.replaced = 0
        self._errors = settings.encoding_errors
        self._max_expansion = settings.max_expansion
        self._expanded = 0  # bytes read, after decompression
        self._hashed = _HashedFile(file)
        self._input = _decompress(io.BufferedReader(self._hashed, PIECE), source.compression)
        self._tail = b""  # the start of a character whose end is not read yet
        self._ready = bytearray()
        self._lines = 0
        self._started = self._ended = False

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, all the rest for -1, b"" at the end."""
        while not self._ended and (size < 0 or len(self._ready) < size):
            self._ready += self._next()
        if size < 0:
            size = len(self._ready)
        data = bytes(self._ready[:size])
        del self._ready[:size]
        return data

    def read_all(self) -> bytearray:
        """Return all the rest, without a copy."""
        while not self._ended:
            self._ready += self._next()
        data, self._ready = self._ready, bytearray()
        return data

    def make_part(
        self, table: pa.Table, *, mixed: dict[str, int] | None = None, counts: dict[str, int] | None = None
    ) -> Part:
        """Return the part with the table of this source; reads the rest of it for the checksum."""
        counts = {**(counts or {}), "invalid_utf8_replaced": self.replaced}
        source = self.source
        return Part(table, source.path, source.label, source.format, self._sha256(), mixed or {}, counts)

    def _sha256(self) -> str:
        """Return the checksum of the source's bytes, before decompression."""
        while self._hashed.read(PIECE):
            pass
        return self._hashed.digest.hexdigest()

    def _next(self) -> bytes:
        data = self._tail + self._read_input()
        if not self._started:
            self._check_start(data)
            self._started = True
            data = data.removeprefix(BOM)
        cut = len(data) if self._ended else _find_cut(data)
        data, self._tail = data[:cut], data[cut:]
        data = self._check_utf8(data)
        self._lines += data.count(b"\n")
        return data

    def _read_input(self) -> bytes:
        path, compression = self.source.path, self.source.compression
        try:
            data: bytes = self._input.read(PIECE)
        except (EOFError, zlib.error, OSError) as error:
            if not compression or getattr(error, "errno", None):
                raise InputError(f"{path}: cannot be read ({describe_error(error)})") from None
            raise InputError(
                f"{path}: broken {compression} file ({describe_error(error)}): make or download it again"
            ) from None
        self._ended = not data
        self._expanded += len(data)
        if compression:
            check_expansion(path, self._hashed.size, self._expanded, self._max_expansion)
        if self._ended and compression and not self._hashed.size:
            raise InputError(f"{path}: broken {compression} file (it is empty): make or download it again")
        return data

    def _check_start(self, data: bytes) -> None:
        if data.startswith((b"\xff\xfe", b"\xfe\xff")) and self._errors == "strict":
            raise InputError(f"{self.source.path}, line 1: the file is UTF-16: convert it to UTF-8")

    def _check_utf8(self, data: bytes) -> bytes:
        if data.isascii():
            return data
        try:
            data.decode()
        except UnicodeDecodeError as error:
            if self._errors == "strict":
                line = self._lines + data.count(b"\n", 0, error.start) + 1
                raise InputError(
                    f"{self.source.path}, line {line}: invalid UTF-8 (byte 0x{data[error.start]:02x}): "
                    "convert the file to UTF-8, or read it with --encoding-errors replace"
                ) from None
            text = data.decode("utf-8", "replace")
            self.replaced += text.count("\ufffd") - data.count(b"\xef\xbf\xbd")
            return text.encode()
        return data


def _find_cut(data: bytes) -> int:
    """Return where to cut so that no UTF-8 character is split: before a lead byte is always safe."""
    for back in range(1, min(3, len(data)) + 1):
        if data[-back] >= 0xC0:
            return len(data) - back
    return len(data)


def _decompress(file: io.BufferedReader, compression: str | None) -> IO[bytes]:
    if compression == "gzip":
        return cast("IO[bytes]", gzip.GzipFile(fileobj=file))
    if compression == "zstd":
        return cast("IO[bytes]", pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd"))
    return file


@contextmanager
def open_text(source: Source, settings: CorpusSettings) -> Iterator[TextStream]:
    """Open a source for reading text. Raises `InputError` where it cannot be opened."""
    if source.is_stdin:
        yield TextStream(standard_input(), source, settings)
        return
    try:
        file = Path(source.path).open("rb")  # noqa: SIM115  (only an error of opening is handled here)
    except OSError as error:
        raise InputError(explain_unreadable(source.path, error)) from None
    with file:
        yield TextStream(file, source, settings)


def standard_input() -> IO[bytes]:
    """Return standard input as bytes. Raises `InputError` where it is closed."""
    if sys.stdin is None:
        raise InputError("standard input is closed: pipe the documents in, or name a file")
    return sys.stdin.buffer
