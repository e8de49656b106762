"""JSON lines: one object per line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from ..errors import InputError
from ..settings import CorpusSettings
from .messages import describe_error
from .parts import Part
from .rows import RowColumns
from .sources import Source
from .streams import PIECE, TextStream, open_text
from .values import make_column

LONGEST_LINE = 1 << 30  # bytes of one JSON object
MAX_DEPTH = 32  # levels of lists and objects: Parquet allows twice as many, Python some hundred
_TOO_DEEP = f"lists and objects more than {MAX_DEPTH} levels deep: remove or flatten them"


def read(source: Source, settings: CorpusSettings) -> Part:
    """Read a file of JSON lines. Raises `InputError` where it cannot be opened or parsed."""
    with open_text(source, settings) as stream:
        table, mixed = _read_table(stream, settings.max_columns)
        return stream.make_part(table, mixed=mixed)


def _read_table(stream: TextStream, max_columns: int) -> tuple[pa.Table, dict[str, int]]:
    """Return a table of all keys, and the columns of mixed type with their first row that is not a string."""
    path = stream.source.path
    columns = RowColumns(path, max_columns)
    for number, line in enumerate(_lines(stream), start=1):
        if line.strip():
            columns.add(_parse_object(line, f"{path}, line {number}"))
    mixed: dict[str, int] = {}
    arrays = {}
    for name, values in columns.take():
        arrays[name], first = make_column(values, max_columns)
        if first is not None:
            mixed[name] = first
    if columns.rows and not arrays:
        raise InputError(f"{path}: every line is an empty object: expected one with the text of a question")
    return pa.table(arrays), mixed


def _lines(stream: TextStream) -> Iterator[bytes]:
    pieces: list[bytes] = []  # of a line whose end is not read yet
    while piece := stream.read(PIECE):
        first, *rest = piece.split(b"\n")
        pieces.append(first)
        if rest:
            yield b"".join(pieces)
            yield from rest[:-1]
            pieces = rest[-1:]
        elif len(pieces) * PIECE > LONGEST_LINE:
            raise InputError(
                f"{stream.source.path}: a line is longer than {LONGEST_LINE >> 20:,} MiB: "
                "expected one JSON object per line"
            )
    yield b"".join(pieces)


def _parse_object(line: bytes, place: str) -> dict[str, Any]:
    try:
        value = json.loads(line.decode())
        if b"\\u" in line:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InputError(
            f"{place}: half of a surrogate pair (\\ud800 to \\udfff) is not text: remove it"
        ) from None
    except json.JSONDecodeError as error:
        raise InputError(
            f"{place}: invalid JSON ({error.msg}, column {error.colno}): expected one object per line"
        ) from None
    except ValueError as error:
        raise InputError(
            f"{place}: invalid JSON ({describe_error(error)}): expected one object per line"
        ) from None
    except RecursionError:
        raise InputError(f"{place}: {_TOO_DEEP}") from None
    if not isinstance(value, dict):
        raise InputError(f"{place}: expected a JSON object, found {type(value).__name__}")
    if line.count(b"[") + line.count(b"{") > MAX_DEPTH and _is_deep(value):
        raise InputError(f"{place}: {_TOO_DEEP}")
    return value


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        inner = (item.values() if isinstance(item, dict) else item for item in level)
        level = [item for items in inner for item in items if isinstance(item, dict | list)]
    return bool(level)
