"""CSV and TSV: every column as strings, exactly as written."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.csv

from ..errors import InputError
from ..settings import CorpusSettings
from .messages import describe_error
from .parts import Part, check_names, check_width
from .sources import Source
from .streams import TextStream, open_text

log = logging.getLogger(__name__)

BLOCK = 1 << 24  # bytes parsed at a time


def read(source: Source, settings: CorpusSettings) -> Part:
    """Read a CSV or TSV file. Raises `InputError` where it cannot be opened or parsed."""
    delimiter = "\t" if source.format == "tsv" else ","
    with open_text(source, settings) as stream:
        return stream.make_part(_read_table(stream, delimiter, settings.max_columns))


def _read_table(stream: TextStream, delimiter: str, max_columns: int) -> pa.Table:
    """Read a file with a header; quoted fields may hold newlines, and blank lines are skipped.

    Quotes are plain characters in a TSV file that has as many tabs in each line as in its header but does not
    fit with quoted fields.

    Raises `InputError` for a file without header or with too many columns, a row with too many or too few
    fields and a quote that is never closed, each with its line.
    """
    path = stream.source.path
    data = stream.read_all()
    if not data.strip():
        return pa.table({})  # as an empty file of JSON lines
    names, start = _header(data, delimiter, path)
    check_width(path, len(names), max_columns)
    check_names(path, names)
    rows = slice(start, len(data))
    # A last row of quoted empty fields is parsed as one only where no quote is open before it.
    data += b"\n" + delimiter.join(['""'] * len(names)).encode() + b"\n"
    try:
        return _read_quoted(data, rows, names, delimiter, path)
    except InputError:
        plain = _read_plain(data, rows, names) if delimiter == "\t" else None
        if plain is None:
            raise
        log.info("%s: quotes are read as plain characters, because its rows do not fit otherwise", path)
        return plain


def _read_quoted(data: bytearray, rows: slice, names: list[str], delimiter: str, path: str) -> pa.Table:
    try:
        table = _parse(pa.py_buffer(data).slice(rows.start), names, delimiter)
    except pa.ArrowInvalid as error:
        problem = (
            _explain_ragged(data[: rows.stop], delimiter, path, len(names))
            or f"{path}: {describe_error(error)}"
        )
        raise InputError(problem) from None
    end = table.num_rows - 1
    if any(table.column(i)[end].as_py() for i in range(len(names))):
        line = max((line for line, _ in _records(data[: rows.stop], delimiter)), default=1)
        raise InputError(
            f"{path}, line {line}: a quote opened in this row is never closed: close or double it"
        )
    return table.slice(0, end)


def _read_plain(data: bytearray, rows: slice, names: list[str]) -> pa.Table | None:
    """Return the rows of a TSV file with quotes as plain characters, None where they do not fit either."""
    if len(names) < 2 or b'"' in data[: rows.start]:
        return None
    try:
        return _parse(pa.py_buffer(data).slice(rows.start, rows.stop - rows.start), names, "\t", quotes=False)
    except pa.ArrowInvalid:
        return None


def _header(data: bytearray, delimiter: str, path: str) -> tuple[list[str], int]:
    """Return the column names and where the first row starts, in bytes."""
    length = 0

    def lines() -> Iterator[str]:
        nonlocal length
        # Only the header counts; a character cut at the end of the block lies behind it.
        for line in io.TextIOWrapper(io.BytesIO(data[:BLOCK]), "utf-8", "replace", newline=""):
            length += len(line.encode())
            yield line

    try:
        names = next((names for names in csv.reader(lines(), delimiter=delimiter) if names), None)
    except csv.Error as error:
        raise InputError(f"{path}, line 1: the header cannot be read ({describe_error(error)})") from None
    if names is None:
        raise InputError(f"{path}: the file is empty and has no header: expected a line with column names")
    return names, length


def _parse(
    buffer: pa.Buffer, names: list[str], delimiter: str, block: int = BLOCK, *, quotes: bool = True
) -> pa.Table:
    try:
        return pyarrow.csv.read_csv(
            pa.BufferReader(buffer),
            read_options=pyarrow.csv.ReadOptions(column_names=names, block_size=block),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=delimiter, quote_char='"' if quotes else False, newlines_in_values=quotes
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={name: pa.string() for name in names},
                null_values=[],
                strings_can_be_null=False,
                check_utf8=False,
            ),
        )
    except pa.ArrowInvalid as error:
        # A row is longer than a block: parse the file as one block.
        if "straddling" not in str(error) or block > buffer.size:
            raise
        return _parse(buffer, names, delimiter, min(buffer.size + 1, 2**31 - 1), quotes=quotes)


def _explain_ragged(data: bytearray, delimiter: str, path: str, expected: int) -> str | None:
    for line, fields in _records(data, delimiter):
        if fields != expected:
            return (
                f"{path}, line {line}: expected {expected} fields, found {fields}: "
                "quote a field that holds the delimiter, a quote or a newline"
            )
    return None


def _records(data: bytearray, delimiter: str) -> Iterator[tuple[int, int]]:
    """Yield each record's first line and number of fields: slow, only to locate an error."""
    limit = csv.field_size_limit(2**31 - 1)
    try:
        text = io.TextIOWrapper(io.BytesIO(data), "utf-8", newline="")
        reader = csv.reader(text, delimiter=delimiter)
        line = 1
        for record in reader:
            if record:
                yield line, len(record)
            line = reader.line_num + 1
    finally:
        csv.field_size_limit(limit)
