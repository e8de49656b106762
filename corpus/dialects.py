"""How a delimited file is written: its delimiter, quotes and escapes, and its records under them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

QUOTE = '"'
_BLOCK = 1 << 20  # bytes read at a time
NO_DELIMITER = "\x1f"  # each line is one field
LONGEST_FIELD = 1 << 24  # characters, for which the csv module takes up to eight bytes each
_LONGEST_LINE = 4 * LONGEST_FIELD
MOST_LINES = 1 << 20  # of a record, for which Python takes some 60 bytes each

# Spark escapes quotes, and backslashes before quotes, with a backslash.
_OTHER_BACKSLASHES = re.compile(r'\\+(?![\\"])')
# MySQL writes these characters as a backslash and a letter.
_MYSQL = re.compile(r"\\(.)", re.DOTALL)
_MYSQL_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "b": "\b", "Z": "\x1a"}
NULL = r"\N"


@dataclass(frozen=True, slots=True)
class Dialect:
    """A way to write tables.

    Without a `quote` quotes are plain characters. `escape` is a character that makes the next one plain, or
    `spark` or `mysql` for what those programs do with a backslash, or None.
    """

    delimiter: str
    quote: str | None = QUOTE
    escape: str | None = None

    def read(self, lines: Iterable[str]) -> Iterator[list[str]]:
        """Yield the fields of each record, none for a blank line.

        Raises `csv.Error` for a quote that is never closed or is closed inside a field.
        """
        if self.escape == "spark":
            lines = (_OTHER_BACKSLASHES.sub(lambda run: run[0] * 2, line) for line in lines)
        elif self.escape == "mysql":
            lines = (_MYSQL.sub(_spell_out, line) for line in lines)
        yield from csv.reader(
            lines,
            delimiter=self.delimiter,
            quotechar=self.quote,
            quoting=csv.QUOTE_NONE if self.quote is None else csv.QUOTE_MINIMAL,
            escapechar="\\" if self.escape in ("spark", "mysql") else self.escape,
            strict=True,
        )

    def values(self, fields: list[str]) -> list[str | None]:
        r"""Return the fields, with None for the \N of MySQL."""
        return [None if field == NULL else field for field in fields] if self.escape == "mysql" else [*fields]


def _spell_out(escape: re.Match[str]) -> str:
    letter = escape[1]
    if letter == "N":
        return rf"\\{letter}"
    return "\\" + _MYSQL_LETTERS.get(letter, letter)


class _Bytes(io.RawIOBase):
    """Bytes as a file, which `io.BytesIO` would copy."""

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._rest = memoryview(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


class Lines(Iterator[str]):
    """The lines of a file; `number` counts them, `pending` are those since it was cleared.

    Raises `csv.Error` where they are more than `MOST_LINES`, or one is too long. Without `keep` none are.
    """

    def __init__(self, data: bytes | bytearray | memoryview, *, keep: bool = True) -> None:
        self._keep = keep
        self._lines = io.TextIOWrapper(io.BufferedReader(_Bytes(data), _BLOCK), "utf-8", newline="")
        self.number = 0
        self.pending: list[str] = []

    def __next__(self) -> str:
        line = self._lines.readline(_LONGEST_LINE)
        if not line:
            raise StopIteration
        if len(line) == _LONGEST_LINE:
            raise csv.Error("a line beyond the limit")
        self.number += 1
        if self._keep:
            if len(self.pending) >= MOST_LINES:
                raise csv.Error("more lines than the limit")
            self.pending.append(line)
        return line


class LongFields:
    """Raise the limit of the csv module on the length of a field to `LONGEST_FIELD` for a while."""

    def __enter__(self) -> None:
        """Raise the limit."""
        self._limit = csv.field_size_limit(LONGEST_FIELD)

    def __exit__(self, *_: object) -> None:
        """Set the limit as it was."""
        csv.field_size_limit(self._limit)
