"""Choose the dialect of a delimited file by what the whole file tells."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

from ..errors import InputError
from ..settings import CorpusSettings
from .columns import ID_NAMES, TEXT_NAMES
from .dialects import NO_DELIMITER, QUOTE, Dialect
from .escapes import choose_program, find_mysql_signs, find_runs, may_be_spark
from .pairs import PAIR_NAMES, QID_NAMES
from .readings import Header, Reading, examine, looks_like_rows

ESCAPES = ("spark", "mysql")
DELIMITERS = {",": ",", ";": ";", "\t": "tab", "|": "|", NO_DELIMITER: "none"}  # as --delimiter names them
_KNOWN = {
    name.lower() for name in (*TEXT_NAMES, *ID_NAMES, *QID_NAMES, *(n for names in PAIR_NAMES for n in names))
}
_HINT = (
    ": quote a field that holds the delimiter, a quote or a newline, or set --delimiter, --quote or --escape"
)


def choose_reading(
    data: bytearray,
    path: str,
    settings: CorpusSettings,
    header: Header,
    delimiter: str | None,
    default: str,
) -> Reading:
    """Return the reading under which every row fits.

    Raises `InputError` with the line where none does, or where two do that differ.
    """
    readings = []
    for candidate in [delimiter] if delimiter else _find_delimiters(data, header, default):
        reading = _choose_quoting(data, path, settings, header, candidate)
        readings.append(reading)
        if reading.fits and len(reading.names) > 1 and _is_known(reading):
            return reading
    fitting = [reading for reading in readings if reading.fits]
    several = [reading for reading in readings if len(reading.names) > 1]
    # One column is what any file has under a delimiter that it does not use.
    meant = [reading for reading in several if reading.fits or reading.records or _is_known(reading)]
    if fitting and (not meant or any(reading.fits for reading in meant)):
        # A single column needs no escapes where each line is a text.
        reading = min(
            fitting, key=lambda reading: (len(reading.names) == 1, reading.dialect.escape is not None)
        )
        if reading.dialect.delimiter == NO_DELIMITER and delimiter is None and not _is_known(reading):
            _check_lines(data, path)
        return reading
    best = max(meant or readings, key=lambda reading: (_is_known(reading), len(reading.names) > 1))
    raise InputError(_explain(best, path, header))


def find_names(line: str) -> str | None:
    """Return the delimiter under which a line has names of columns, None for a text."""
    for sign in (",", ";", "\t", "|"):
        names = [name.strip('" ').lower() for name in line.split(sign)]
        if len(names) > 1 and _KNOWN.intersection(names) and all(0 < len(name.split()) < 3 for name in names):
            return sign
    return None


def _check_lines(data: bytearray, path: str) -> None:
    """Raise `InputError` where the names of columns stand below the first line, as under a title."""
    lines = data[:10_000].decode("utf-8", "replace").splitlines()
    number = next((number for number, line in enumerate(lines, start=1) if find_names(line)), None)
    if number is not None:
        raise InputError(
            f"{path}, line {number}: here seem to be the names of the columns: remove the lines above, or "
            "set --delimiter none if each line is a text"
        )


def _explain(reading: Reading, path: str, header: Header) -> str:
    problem = str(reading.problem)
    if not reading.names and "empty" in problem:
        return f"{path}: {problem}"
    return f"{path}, line {reading.line}: {problem}{_HINT if 'fields, found' in problem else ''}"


def _is_known(reading: Reading) -> bool:
    return any(name.strip().lower() in _KNOWN for name in reading.names)


def _find_delimiters(data: bytearray, header: Header, default: str) -> Iterator[str]:
    """Yield the default, then the other delimiters in the first line, then that a line is one field."""
    end = data.find(b"\n", header.skipped)
    first = data[header.skipped : end if end >= 0 else len(data)].decode("utf-8", "replace")
    yield default
    if not first.strip():
        first = data[header.skipped : header.skipped + 10_000].decode("utf-8", "replace")
    others = [delimiter for delimiter in (",", ";", "\t", "|") if delimiter in first and delimiter != default]
    yield from others
    is_single = default not in first and not others and header.is_first_record
    if is_single or (header.names is not None and len(header.names) == 1):
        yield NO_DELIMITER


def _choose_quoting(
    data: bytearray, path: str, settings: CorpusSettings, header: Header, delimiter: str
) -> Reading:
    """Return the reading with a delimiter: one that fits, else the one that goes furthest."""

    @cache
    def read(quote: str | None, escape: str | None) -> Reading:
        return examine(data, Dialect(delimiter, quote, escape), header)

    quotes: list[str | None] = [None if settings.quote == "none" else settings.quote]
    if settings.quote is None:
        quotes = [QUOTE, None] if b'"' in data or b"'" in data else [QUOTE]
    if settings.escape is None:
        escape = _choose_escape(data, path, delimiter, quotes, read)
    else:
        escape = None if settings.escape == "none" else settings.escape
    readings = [read(quote, escape) for quote in quotes]
    if len(quotes) == 1:
        return readings[0]
    quoted, plain = readings
    if plain.has_single_quotes and read("'", escape).fits:
        return _choose_single(plain, read("'", escape), path)
    if quoted.fits:
        return _choose_quotes(quoted, plain, path)
    if plain.fits and plain.has_plain_quotes:
        return plain
    if not plain.fits and read("'", escape).fits:
        return read("'", escape)
    return max((reading for reading in readings if not reading.fits), key=lambda reading: reading.line)


def _choose_single(plain: Reading, single: Reading, path: str) -> Reading:
    """Return the reading in which single quotes enclose fields, if they enclose the names of columns too."""
    if all(name.startswith("'") for name in plain.names):
        return single
    line = plain.doubled["'"]
    raise InputError(
        f"{path}, line {line}: single quotes may enclose fields or be plain characters: set --quote"
    )


def _choose_escape(
    data: bytearray,
    path: str,
    delimiter: str,
    quotes: list[str | None],
    read: Callable[[str | None, str | None], Reading],
) -> str | None:
    """Return what a backslash means: nothing, or what it does to Spark or MySQL."""
    if b"\\" not in data:
        return None
    literal = [reading for quote in quotes if (reading := read(quote, None)).fits]
    literal = [reading for reading in literal if reading.dialect.quote or reading.has_plain_quotes]
    if literal:
        signs = find_mysql_signs(data, delimiter)
        records = {read(quote, "mysql").records for quote in quotes if signs and read(quote, "mysql").fits}
        if "nulls" in signs and records & {reading.records for reading in literal if reading.nulls}:
            return "mysql"
        if max(records, default=0) > literal[0].records:
            raise InputError(_explain_backslash(data, path, data.find(b"\\")))
        _check_spark(data, path, delimiter, literal[0], read)
        return None
    fitting = [escape for escape in ESCAPES if any(read(quote, escape).fits for quote in quotes)]
    if len(fitting) < 2:
        return fitting[0] if fitting else None
    program = choose_program(data, delimiter)
    sizes = [
        {read(quote, escape).records for quote in quotes if read(quote, escape).fits} for escape in fitting
    ]
    if program is None or sizes[0] != sizes[1]:
        start = next((start for start, _, after in find_runs(data) if after != b'"'), 0)
        raise InputError(_explain_backslash(data, path, start))
    return program


def _check_spark(
    data: bytearray,
    path: str,
    delimiter: str,
    literal: Reading,
    read: Callable[[str | None, str | None], Reading],
) -> None:
    """Raise `InputError` where a file whose quotes fit would have more rows by Spark's escapes."""
    if literal.fits and literal.dialect.quote and may_be_spark(data, delimiter):
        escaped = read(literal.dialect.quote, "spark")
        if escaped.fits and escaped.records > literal.records:
            raise InputError(_explain_backslash(data, path, data.find(b'\\"')))


def _explain_backslash(data: bytearray, path: str, start: int) -> str:
    line = data.count(b"\n", 0, start) + 1
    return (
        f"{path}, line {line}: a backslash here may be an escape or a plain character: set --escape to "
        "mysql, spark or none"
    )


def _choose_quotes(quoted: Reading, plain: Reading, path: str) -> Reading:
    """Choose whether quotes enclose fields, under which every row fits, or are plain characters.

    Raises `InputError` with the line of a quoted field whose lines could as well be rows of their own.
    """
    may_be_plain = plain.fits and plain.has_plain_quotes
    if may_be_plain and not quoted.multiline and _is_unneeded(quoted, plain):
        return plain
    ids = {i for i, name in enumerate(quoted.names) if name in ID_NAMES}
    verdicts = [(looks_like_rows(span, quoted.typed, ids), span) for span in quoted.spans]
    quoted.spans = [span for verdict, span in verdicts if verdict is not False]
    is_open = may_be_plain and len(quoted.names) > 1
    suspect = next((span for verdict, span in verdicts if verdict or (verdict is None and is_open)), None)
    # Under escapes a row may take several lines, so lines tell nothing, but the number of rows does.
    has_more_rows = may_be_plain and quoted.dialect.escape is not None and plain.records > quoted.records
    if suspect is not None or has_more_rows:
        raise InputError(_explain_suspect(suspect.line if suspect else quoted.multiline_at, path))
    return quoted


def _is_unneeded(quoted: Reading, plain: Reading) -> bool:
    """Return whether a TSV file has some quoted fields that would not need quotes, beside unquoted ones."""
    return quoted.dialect.delimiter == "\t" and plain.unneeded > 0


def _explain_suspect(line: int, path: str) -> str:
    return (
        f"{path}, line {line}: a quote opened in this row is closed in a later one, and the lines between "
        "look like rows: set --quote none if quotes are plain, --quote '\"' if they enclose fields"
    )
