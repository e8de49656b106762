"""Turn the bytes of a source into UTF-8."""

from __future__ import annotations

import codecs
import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import pyarrow as pa

from ..errors import InputError
from ..messages import describe_error
from ..schema import Rows
from ..settings import CorpusSettings
from .contents import check_contents, find_compression
from .encodings import find_bom, find_wide, guess_encoding, is_western, mixes_utf8
from .opening import HashedFile, decompress, open_bytes
from .parts import Part, check_expansion
from .sources import Source

PIECE = 1 << 20  # bytes read at a time
WESTERN = "cp1252"
_BROKEN = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, OSError)


class TextStream:
    """The text of one source as valid UTF-8 bytes, without a byte order mark.

    Other encodings are converted: one that the settings name, UTF-16 and UTF-32, and cp1252 where the bytes
    look like Western text. What is guessed so is in `guesses`. Invalid bytes raise `InputError` with the
    line, or become U+FFFD and are counted in `replaced`.
    """

    def __init__(
        self, file: IO[bytes], source: Source, settings: CorpusSettings, packed: int | None = None
    ) -> None:
        """Read from `file`; `packed` is its size before the decompression of an archive."""
        self.source = source
        self.replaced = 0
        self.guesses: dict[str, str] = {}
        self._settings = settings
        self._packed = packed
        self._expanded = 0  # bytes read, after decompression
        self._hashed = HashedFile(file)
        buffered = io.BufferedReader(self._hashed, PIECE)
        self._compression = source.compression
        self._head = b""  # before decompression
        self._failure: Exception | None = None
        try:
            self._head = buffered.peek()
            self._compression = find_compression(self._head) or source.compression
        except _BROKEN as error:
            self._failure = error  # for the first read to report
        if self._compression != source.compression:
            self.guesses["compression"] = str(self._compression)
        self._input = decompress(buffered, self._compression)
        self._tail = b""  # the start of a character whose end is not read yet
        self._ready = bytearray()
        self._lines = 0
        self._decoder: codecs.IncrementalDecoder | None = None  # None: the bytes are UTF-8
        self._encoding = "utf-8"
        self._has_utf8 = False  # characters beyond ASCII were read as UTF-8
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

    def peek(self) -> bytes:
        """Return some bytes from where the next `read` starts, b"" only at the end."""
        while not self._ended and not self._ready:
            self._ready += self._next()
        return bytes(self._ready[:PIECE])

    def make_part(
        self,
        table: pa.Table,
        *,
        mixed: dict[str, int] | None = None,
        counts: dict[str, int] | None = None,
        rows: Rows | None = None,
    ) -> Part:
        """Return the part with the table of this source; reads the rest of it for the checksum."""
        return Part(
            table,
            self.source.path,
            self.source.label,
            self.source.format,
            self._sha256(),
            mixed or {},
            {**(counts or {}), "invalid_utf8_replaced": self.replaced},
            rows,
            guesses=self.guesses,
        )

    def _sha256(self) -> str:
        """Return the checksum of the source's bytes, before decompression."""
        while self._hashed.read(PIECE):
            pass
        return self._hashed.digest.hexdigest()

    def _next(self) -> bytes:
        data = self._tail + self._read_input()
        self._tail = b""
        if not self._started:
            self._started = True
            check_contents(data, self.source.path, self.source.format)
            data = data[self._find_encoding(data) :]
        data = self._from_utf8(data) if self._decoder is None else self._decode(data)
        self._lines += data.count(b"\n")
        return data

    def _read_input(self) -> bytes:
        path, compression = self.source.path, self._compression
        try:
            if self._failure is not None:
                raise self._failure
            data: bytes = self._input.read(PIECE)
        except _BROKEN as error:
            if getattr(error, "errno", None) or not (compression or self.source.archive):
                raise InputError(f"{path}: cannot be read ({describe_error(error)})") from None
            if compression and not self._expanded:
                check_contents(self._head, path, self.source.format, compression)
            problem = f"broken {compression or 'zip'} file ({describe_error(error)})"
            raise InputError(f"{path}: {problem}: make or download it again") from None
        self._ended = not data
        self._expanded += len(data)
        if compression or self._packed is not None:
            packed = self._hashed.size if self._packed is None else self._packed
            check_expansion(path, packed, self._expanded, self._settings.max_expansion)
        if self._ended and compression and not self._hashed.size:
            raise InputError(f"{path}: broken {compression} file (it is empty): make or download it again")
        return data

    def _find_encoding(self, data: bytes) -> int:
        """Choose how to decode the bytes, and return the length of the byte order mark."""
        mark = find_bom(data)
        if self._settings.encoding is not None:
            self._decode_as(self._settings.encoding)
            return mark[1] if mark and codecs.lookup(mark[0]).name == self._encoding else 0
        if mark:
            self._decode_as(mark[0])
            return mark[1]
        if wide := find_wide(data):
            self._guess(wide)
        return 0

    def _decode_as(self, encoding: str) -> None:
        self._encoding = codecs.lookup(encoding).name
        if self._encoding != "utf-8":
            self._decoder = codecs.getincrementaldecoder(encoding)(self._settings.encoding_errors)

    def _guess(self, encoding: str) -> None:
        self._decode_as(encoding)
        self.guesses["encoding"] = encoding

    def _from_utf8(self, data: bytes) -> bytes:
        cut = len(data) if self._ended else _find_cut(data)
        whole, tail = data[:cut], data[cut:]
        if not whole.isascii():
            try:
                whole.decode()
                self._has_utf8 = True
            except UnicodeDecodeError as error:
                if self._settings.encoding_errors == "strict":
                    self._leave_utf8(data, error)
                    return self._decode(data)
                text = whole.decode("utf-8", "replace")
                self.replaced += text.count("\ufffd") - whole.count(b"\xef\xbf\xbd")
                whole = text.encode()
        self._tail = tail
        return whole

    def _leave_utf8(self, data: bytes, error: UnicodeDecodeError) -> None:
        """Go on in cp1252 if the text is Western. Raises `InputError` with the line for other bytes."""
        is_other = not self._has_utf8 and data[: error.start].isascii() and self._settings.encoding is None
        if is_other and not mixes_utf8(data) and is_western(data):
            self._guess(WESTERN)
            return
        name = guess_encoding(data) if is_other and not mixes_utf8(data) else None
        advice = f"it looks like {name}: read it with --encoding {name}" if name else (
            "read it with --encoding and the name of its encoding"
        )  # fmt: skip
        line = self._lines + data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{self.source.path}, line {line}: invalid UTF-8 (byte 0x{data[error.start]:02x}): {advice}, "
            "or with --encoding-errors replace"
        )

    def _decode(self, data: bytes) -> bytes:
        assert self._decoder is not None
        try:
            text = self._decoder.decode(data, self._ended)
            encoded = text.encode()
        except UnicodeError as error:
            start = error.start if isinstance(error, UnicodeDecodeError) else 0
            before = data[:start].decode(self._encoding, "ignore")
            raise InputError(
                f"{self.source.path}, line {self._lines + before.count(chr(10)) + 1}: the bytes are not "
                f"{self._encoding}: set another --encoding, or --encoding-errors replace"
            ) from None
        if self._settings.encoding_errors == "replace":
            self.replaced += text.count("\ufffd")
        is_guess = self.guesses.get("encoding") == WESTERN and not data.isascii()
        if is_guess and (mixes_utf8(data) or not is_western(data)):
            raise InputError(
                f"{self.source.path}, after line {self._lines}: the file starts as {WESTERN}, but goes "
                "on otherwise: set --encoding, or convert it to UTF-8"
            )
        return encoded


def _find_cut(data: bytes) -> int:
    """Return where to cut so that no UTF-8 character is split: before a lead byte is always safe."""
    for back in range(1, min(3, len(data)) + 1):
        if data[-back] >= 0xC0:
            return len(data) - back
    return len(data)


@contextmanager
def open_text(source: Source, settings: CorpusSettings) -> Iterator[TextStream]:
    """Open a source for reading text. Raises `InputError` where it cannot be opened."""
    with open_bytes(source) as (file, packed):
        yield TextStream(file, source, settings, packed)
