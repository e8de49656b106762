"""What a delimited file would hold under a dialect, and what speaks for or against that."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, field

from ..messages import describe_error
from .dialects import LONGEST_FIELD, MOST_LINES, NULL, QUOTE, Dialect, Lines, LongFields

_SAMPLED = 2000  # records whose values say how a column looks
_KEPT = 1000  # records of several lines that are looked at
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)*")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_SPECIAL = re.compile('[",;\t|\r\n]')
_LETTERS, _DIGITS = re.compile(r"[^\W\d_]+"), re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Header:
    """Where the rows of a file start: `skipped` bytes and `lines` of another kind come first.

    `names` are those of a file without a header, `width` says that its first row has as many.
    """

    skipped: int = 0
    lines: int = 0
    names: tuple[str, ...] | None = None
    is_first_record: bool = True


@dataclass(frozen=True, slots=True)
class Span:
    """A record of several lines each of which could be a row of its own: its first line and their fields."""

    line: int
    rows: list[list[str]]
    fits: bool  # each line has as many fields as the header


@dataclass(slots=True)
class Reading:
    """A file under a dialect, up to the first `problem` in line `line`."""

    dialect: Dialect
    names: list[str] = field(default_factory=list)
    records: int = 0
    line: int = 1
    problem: str | None = None
    nulls: int = 0  # records with the null of MySQL
    multiline: int = 0  # records of several lines
    multiline_at: int = 0  # where the first of them starts
    spans: list[Span] = field(default_factory=list)
    shapes: list[set[str]] = field(default_factory=list)
    filled: list[int] = field(default_factory=list)
    enclosed: list[int] = field(default_factory=list)
    stray: int = 0  # fields with quotes, but not around them
    unneeded: int = 0  # fields in quotes that no delimiter, quote or line break inside calls for
    doubled: dict[str, int] = field(default_factory=dict)  # the first line with quotes around doubled ones
    opened: int = 0  # line of the first that starts with a quote and has an odd number of them

    @property
    def fits(self) -> bool:
        """Return whether every record has as many fields as the header."""
        return self.problem is None

    @property
    def typed(self) -> dict[int, str]:
        """Return the columns of numbers, dates or codes by position, and how their values look."""
        looks = {i: next(iter(shapes)) for i, shapes in enumerate(self.shapes) if len(shapes) == 1}
        return {i: shape for i, shape in looks.items() if "9" in shape and " " not in shape}

    @property
    def has_single_quotes(self) -> bool:
        """Return whether fields look enclosed in single quotes."""
        return "'" in self.doubled or all(re.fullmatch("'.*'", name, re.DOTALL) for name in self.names)

    @property
    def has_plain_quotes(self) -> bool:
        """Return whether quotes look like characters of the texts: those around whole fields are few.

        They are not more than other fields with quotes, except in TSV, whose writers seldom quote.
        """
        return (
            QUOTE not in self.doubled
            and not (len(self.names) == 1 and self.opened)
            and not any(name.startswith(QUOTE) for name in self.names)
            and (self.dialect.delimiter == "\t" or sum(self.enclosed) <= self.stray)
            and all(
                2 * enclosed <= filled for enclosed, filled in zip(self.enclosed, self.filled, strict=True)
            )
        )


def examine(data: bytes | bytearray | memoryview, dialect: Dialect, header: Header) -> Reading:
    """Read a file under a dialect as far as it fits."""
    reading = Reading(dialect)
    lines = Lines(memoryview(data)[header.skipped :])
    lines.number = header.lines
    start = header.lines + 1
    with LongFields():
        try:
            for fields in dialect.read(lines):
                if fields and not _add(reading, fields, start, lines, header):
                    break
                start = lines.number + 1
                lines.pending.clear()
        except csv.Error as error:
            reading.line, reading.problem = start, _explain(error, reading, len(lines.pending) > 1)
    if reading.problem is None and not reading.names:
        reading.problem = "the file is empty and has no header: expected a line with column names"
    return reading


def _explain(error: csv.Error, reading: Reading, is_multiline: bool) -> str:
    if "limit" in str(error) and is_multiline:
        limits = f"{LONGEST_FIELD:,} characters and {MOST_LINES:,} lines"
        return f"a quote opened in this row is not closed within {limits}: close or double it"
    if "limit" in str(error):
        problem = f"a field of this row has more than {LONGEST_FIELD:,} characters"
        return f"{problem}: is a line break or a quote missing?"
    if "unexpected end" in str(error):
        return "a quote opened in this row is never closed: close or double it"
    if "expected after" in str(error):
        return "a quote is closed inside a field: double the quotes in quoted fields"
    row = "this row" if reading.names else "the header"
    return f"{row} cannot be read ({describe_error(error)})"


def _add(reading: Reading, fields: list[str], line: int, lines: Lines, header: Header) -> bool:
    reading.line = line
    if not reading.names:
        reading.names = [*(header.names or (fields if header.is_first_record else _number(fields)))]
        width = len(reading.names)
        reading.shapes = [set() for _ in range(width)]
        reading.filled, reading.enclosed = [0] * width, [0] * width
        if header.is_first_record:
            return True
    if len(fields) != len(reading.names):
        reading.problem = f"expected {len(reading.names)} fields, found {len(fields)}"
        return False
    reading.records += 1
    reading.nulls += NULL in fields
    if reading.dialect.quote is None:
        _count_quotes(reading, fields, line)
    elif len(lines.pending) > 1:
        _add_span(reading, line, lines.pending)
        return True
    if reading.records <= _SAMPLED:
        for shapes, value in zip(reading.shapes, fields, strict=True):
            if value and len(shapes) < 2:
                shapes.add(shape(value))
    return True


def _number(fields: list[str]) -> list[str]:
    return [f"column{i}" for i in range(1, len(fields) + 1)]


def _count_quotes(reading: Reading, fields: list[str], line: int) -> None:
    for i, value in enumerate(fields):
        if not value:
            continue
        reading.filled[i] += 1
        quote = value[0]
        if quote not in "\"'":
            reading.stray += QUOTE in value
            continue
        if len(value) > 1 and value[-1] == quote:
            reading.enclosed[i] += quote == QUOTE and len(value) > 2  # an empty one says nothing
            inner = value[1:-1]
            reading.unneeded += quote == QUOTE and inner != "" and not _SPECIAL.search(inner)
            if quote * 2 in inner and quote not in inner.replace(quote * 2, ""):
                reading.doubled.setdefault(quote, line)
        elif quote == QUOTE:
            reading.stray += 1
        if not reading.opened and quote == QUOTE and value.count(quote) % 2:
            reading.opened = line


def _add_span(reading: Reading, line: int, pending: list[str]) -> None:
    reading.multiline += 1
    reading.multiline_at = reading.multiline_at or line
    width = len(reading.names)
    rows = [text.rstrip("\r\n").split(reading.dialect.delimiter) for text in pending if text.strip("\r\n")]
    sizes = {len(row) for row in rows}
    if min(sizes) >= width and len(reading.spans) < _KEPT:
        reading.spans.append(Span(line, rows, fits=sizes == {width}))


def shape(value: str) -> str:
    """Return how a value looks: 9 for a number, else with runs of letters and of digits as one sign."""
    if _NUMBER.fullmatch(value):
        return "9"
    if _UUID.fullmatch(value):
        return "uuid9"
    return _DIGITS.sub("9", _LETTERS.sub("a", value[:100]))


def looks_like_rows(span: Span, typed: dict[int, str], ids: set[int]) -> bool | None:
    """Return whether the lines of a span look like rows of their own, None where nothing tells."""
    width = max(map(len, span.rows)) if not span.fits else len(span.rows[0])
    if not span.fits:
        first = 0 in typed and all(shape(row[0].strip(QUOTE)) == typed[0] for row in span.rows)
        return first or _ends_typed(span, typed)
    if any(not row[i] or " " in row[i] or QUOTE in row[i] for row in span.rows for i in ids if i < width):
        return False
    if not typed:
        return None
    return all(shape(row[i].strip(QUOTE)) == look for row in span.rows for i, look in typed.items())


def _ends_typed(span: Span, typed: dict[int, str]) -> bool:
    last = max(typed, default=-1)
    return last > 0 and all(shape(row[-1].strip(QUOTE)) == typed[last] for row in span.rows)
