"""CSV and TSV: every column as strings, exactly as written."""

from __future__ import annotations

import csv
from itertools import islice

import pyarrow as pa
import pyarrow.csv

from ..settings import CorpusSettings
from .dialects import NO_DELIMITER, QUOTE, Dialect, Lines, LongFields
from .escapes import find_mysql_signs, has_single_quotes, may_be_escapes, may_be_spark
from .guesses import DELIMITERS, choose_reading
from .parts import Part, check_names, check_width
from .quotes import Quotes, scan_quotes
from .readings import Header, Reading
from .sources import Source
from .streams import open_text

BLOCK = 1 << 24  # bytes parsed at a time
_ROWS = 50_000  # made into a chunk at a time, where the csv module parses
_SEPARATOR = b"sep="  # the first line that Excel writes and reads


def read(source: Source, settings: CorpusSettings) -> Part:
    """Read a CSV or TSV file: quoted fields may hold line breaks, and blank lines are skipped.

    Delimiter, quotes and escapes are those of the settings, or as the whole file tells; what is guessed is
    in the part's `guesses`.

    Raises `InputError` where the file cannot be opened or its rows fit in no way, with the line.
    """
    default = "\t" if source.format == "tsv" else ","
    with open_text(source, settings) as stream:
        data = stream.read_all()
        if not data.strip():
            return stream.make_part(pa.table({}))  # as an empty file of JSON lines
        header, delimiter = _find_header(data, settings)
        table = _read_fast(data, source.path, settings, header, delimiter or default)
        if table is None:
            reading = choose_reading(data, source.path, settings, header, delimiter, default)
            check_width(source.path, len(reading.names), settings.max_columns)
            check_names(source.path, reading.names)
            table = _read_table(data, reading, header)
            stream.guesses |= _name_guesses(reading, settings, default, delimiter)
        if settings.escape is None and may_be_escapes(data):
            stream.guesses.setdefault("escape", "none")
        return stream.make_part(table)


def _find_header(data: bytearray, settings: CorpusSettings) -> tuple[Header, str | None]:
    """Return where the rows start, and the delimiter if the settings or the line `sep=` name one."""
    delimiter = NO_DELIMITER if settings.delimiter == "none" else settings.delimiter
    skipped = 0
    end = data.find(b"\n") + 1 or len(data)
    line = data[: min(end, 16)].strip(b'\r\n"').lower()
    if line.startswith(_SEPARATOR):
        line = line.removeprefix(_SEPARATOR)
        if len(line) == 1:
            delimiter, skipped = delimiter or line.decode(), end
    names = settings.column_names
    return Header(skipped, 1 if skipped else 0, names, settings.header and names is None), delimiter


def _name_guesses(
    reading: Reading, settings: CorpusSettings, default: str, delimiter: str | None
) -> dict[str, str]:
    dialect = reading.dialect
    guesses = {}
    if delimiter is None and dialect.delimiter != default:
        guesses["delimiter"] = DELIMITERS[dialect.delimiter]
    if settings.quote is None and (dialect.quote != QUOTE or reading.spans):
        guesses["quote"] = dialect.quote or "none"
    if settings.escape is None and dialect.escape is not None:
        guesses["escape"] = dialect.escape
    return guesses


def _read_fast(
    data: bytearray, path: str, settings: CorpusSettings, header: Header, delimiter: str
) -> pa.Table | None:
    """Read a file that leaves no doubt about its dialect, None for any other."""
    is_usual = settings.quote in (None, QUOTE) and settings.escape in (None, "none")
    if not is_usual or not header.is_first_record:
        return None
    names, start, line = _read_header(data, header.skipped, delimiter)
    others = DELIMITERS.keys() - {delimiter} if settings.delimiter is None else set()
    if not names or any(other in line for other in others) or len(set(names)) < len(names):
        return None
    check_width(path, len(names), settings.max_columns)
    quotes = scan_quotes(data, delimiter, len(names))
    is_doubtful = (settings.quote is None and _may_be_plain(data, delimiter, quotes, line)) or (
        settings.escape is None and _may_escape(data, delimiter)
    )
    if is_doubtful or not quotes.are_clean:
        return None
    try:
        return _parse(pa.py_buffer(data).slice(start), names, Dialect(delimiter), breaks=quotes.hold_breaks)
    except pa.ArrowInvalid:
        return None  # the slow way finds the line


def _may_be_plain(data: bytearray, delimiter: str, quotes: Quotes, header: str) -> bool:
    """Return whether double quotes may be plain characters, or single ones may enclose fields."""
    is_tsv = delimiter == "\t" and b'"' in data
    return quotes.may_join_rows or is_tsv or header.startswith("'") or has_single_quotes(data, delimiter)


def _may_escape(data: bytearray, delimiter: str) -> bool:
    return b"\\" in data and (may_be_spark(data, delimiter) or bool(find_mysql_signs(data, delimiter)))


def _read_header(data: bytearray, skipped: int, delimiter: str) -> tuple[list[str], int, str]:
    """Return the column names, where the first row starts, in bytes, and the lines of the header.

    Only the header counts: a character that is cut at the end of the block lies behind it.
    """
    lines = Lines(memoryview(data)[skipped : skipped + BLOCK])
    try:
        with LongFields():
            names = next((names for names in Dialect(delimiter).read(lines) if names), [])
    except (csv.Error, UnicodeDecodeError):
        return [], 0, ""
    text = "".join(lines.pending)
    return names, skipped + len(text.encode()), text


def _read_table(data: bytearray, reading: Reading, header: Header) -> pa.Table:
    """Parse a file under the dialect of its reading, the csv module reading what pyarrow would not."""
    schema = pa.schema([(name, pa.string()) for name in reading.names])
    lines = Lines(memoryview(data)[header.skipped :], keep=False)
    batches = []
    with LongFields():
        records = (fields for fields in reading.dialect.read(lines) if fields)
        if header.is_first_record:
            next(records)
        while rows := [reading.dialect.values(fields) for fields in islice(records, _ROWS)]:
            columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
            batches.append(pa.record_batch(columns, schema=schema))
    return pa.Table.from_batches(batches, schema)


def _parse(
    buffer: pa.Buffer, names: list[str], dialect: Dialect, block: int = BLOCK, *, breaks: bool
) -> pa.Table:
    """Parse rows with pyarrow; `breaks` says whether quoted fields hold line breaks."""
    try:
        return pyarrow.csv.read_csv(
            pa.BufferReader(buffer),
            read_options=pyarrow.csv.ReadOptions(column_names=names, block_size=block),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=dialect.delimiter, quote_char=dialect.quote or False, newlines_in_values=breaks
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
        return _parse(buffer, names, dialect, min(buffer.size + 1, 2**31 - 1), breaks=breaks)
