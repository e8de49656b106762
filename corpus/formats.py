"""One reader per format: a source becomes a table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from ..errors import InputError
from ..settings import CorpusSettings
from .delimited import read_delimited
from .parquet import read_parquet
from .parts import Part, make_column, one_line
from .posts import read_posts
from .rows import RowColumns
from .sources import Source
from .streams import PIECE, TextStream, open_text

LONGEST_LINE = 1 << 30  # bytes of one JSON object
DEEPEST = 32  # levels of lists and objects: Parquet has room for twice as many, Python for some hundred


def read_part(source: Source, settings: CorpusSettings) -> Part:
    """Read one source. Raises `InputError` where it cannot be opened or parsed."""
    if source.format == "parquet":
        return read_parquet(source, settings)
    counts: dict[str, int] = {}
    mixed: dict[str, int] = {}
    most = settings.max_columns
    with open_text(source, settings) as stream:
        if source.format == "jsonl":
            table, mixed = _read_jsonl(stream, most)
        elif source.format == "stackexchange":
            table, counts = read_posts(stream, most)
        else:
            table = read_delimited(stream, "\t" if source.format == "tsv" else ",", most)
        sha256 = stream.sha256()
        counts["invalid_utf8_replaced"] = stream.replaced
    return Part(table, source.path, source.label, source.format, sha256, mixed, counts)


def _read_jsonl(stream: TextStream, max_columns: int) -> tuple[pa.Table, dict[str, int]]:
    """Return a table of all keys, and the columns of mixed type with their first row that is no string."""
    path = stream.source.path
    columns = RowColumns(path, max_columns)
    for number, line in enumerate(_lines(stream), start=1):
        if line.strip():
            columns.add(_json_object(line, f"{path}, line {number}"))
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
    begun: list[bytes] = []  # pieces of a line whose end is not read yet
    while piece := stream.read(PIECE):
        first, *rest = piece.split(b"\n")
        begun.append(first)
        if rest:
            yield b"".join(begun)
            yield from rest[:-1]
            begun = rest[-1:]
        elif len(begun) * PIECE > LONGEST_LINE:
            raise InputError(
                f"{stream.source.path}: a line is longer than {LONGEST_LINE >> 20:,} MiB: "
                "expected one JSON object per line"
            )
    yield b"".join(begun)


def _json_object(line: bytes, place: str) -> dict[str, Any]:
    try:
        value = json.loads(line.decode())
        if b"\\u" in line:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InputError(
            f"{place}: half of a surrogate pair (\\ud800 to \\udfff) is no text: remove it"
        ) from None
    except json.JSONDecodeError as error:
        raise InputError(
            f"{place}: invalid JSON ({error.msg}, column {error.colno}): expected one object per line"
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place}: invalid JSON ({one_line(error)}): expected one object per line") from None
    if not isinstance(value, dict):
        raise InputError(f"{place}: expected a JSON object, found {type(value).__name__}")
    if line.count(b"[") + line.count(b"{") > DEEPEST and _is_deep(value):
        raise InputError(
            f"{place}: lists and objects more than {DEEPEST} levels deep: remove or flatten them"
        )
    return value


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST + 1):
        inner = (item.values() if isinstance(item, dict) else item for item in level)
        level = [item for items in inner for item in items if isinstance(item, dict | list)]
    return bool(level)
