"""JSON: objects one a line, in an array, one after the other, or in the only array of an object."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import pyarrow as pa

from ..errors import InputError
from ..messages import describe_error, display, display_all
from ..schema import TEXT
from ..settings import CorpusSettings
from .columns import TEXT_NAMES
from .parts import Part
from .rows import RowColumns
from .sources import Source
from .streams import PIECE, TextStream, open_text
from .values import encodes, make_column

LONGEST_LINE = 1 << 30  # bytes of one JSON object
MAX_DEPTH = 32  # levels of lists and objects: Parquet allows twice as many, Python some hundred
_TOO_DEEP = f"lists and objects more than {MAX_DEPTH} levels deep: remove or flatten them"
ID = "id"  # of rows that are known by the key of an object
HALF_PAIR = "half of a surrogate pair (\\ud800 to \\udfff) is not text: remove it"
_LINES = "expected one object per line"


def read(source: Source, settings: CorpusSettings) -> Part:
    """Read a file of JSON. Raises `InputError` where it cannot be opened or parsed."""
    with open_text(source, settings) as stream:
        columns = RowColumns(source.path, settings.max_columns)
        if source.format == "jsonl" and not _is_document(stream.peek()):
            for number, line in enumerate(_lines(stream), start=1):
                if line.strip():
                    columns.add(_parse_object(line, f"{source.path}, line {number}"))
        else:
            for row in _rows_of_document(bytes(stream.read_all()).decode(), source.path):
                columns.add(row)
        table, mixed = make_table(columns, source.path, settings.max_columns)
        return stream.make_part(table, mixed=mixed)


def make_table(columns: RowColumns, name: str, max_columns: int) -> tuple[pa.Table, dict[str, int]]:
    """Return a table of all keys, and the columns of mixed type with their first row that is not a string."""
    mixed: dict[str, int] = {}
    arrays = {}
    for column, values in columns.take():
        arrays[column], first = make_column(values, max_columns)
        if first is not None:
            mixed[column] = first
    if columns.rows and not arrays:
        raise InputError(f"{name}: every object is empty: expected one with the text of a question")
    return pa.table(arrays), mixed


def _is_document(start: bytes) -> bool:
    """Return whether a file of JSON lines starts as an array, or as an object that its line does not end."""
    line = start.lstrip().split(b"\n", 1)[0].strip()
    return line in (b"[", b"{") or line.startswith((b"[{", b"[ {"))


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
    except json.JSONDecodeError as error:
        raise InputError(f"{place}: invalid JSON ({error.msg}, column {error.colno}): {_LINES}") from None
    except ValueError as error:
        raise InputError(f"{place}: invalid JSON ({describe_error(error)}): {_LINES}") from None
    except RecursionError:
        raise InputError(f"{place}: {_TOO_DEEP}") from None
    if not isinstance(value, dict):
        raise InputError(f"{place}: expected a JSON object, found {type(value).__name__}")
    if b"\\u" in line:
        _check_text(value, place)
    if line.count(b"[") + line.count(b"{") > MAX_DEPTH and _is_deep(value):
        raise InputError(f"{place}: {_TOO_DEEP}")
    return value


def _check_text(value: object, place: str) -> None:
    if not encodes(json.dumps(value, ensure_ascii=False)):
        raise InputError(f"{place}: {HALF_PAIR}")


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        inner = (item.values() if isinstance(item, dict) else item for item in level)
        level = [item for items in inner for item in items if isinstance(item, dict | list)]
    return bool(level)


def _rows_of_document(text: str, path: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of JSON that is not one object per line."""
    values = _parse_values(text, path)
    found = values if len(values) != 1 else _find_items(values[0], path)
    items = _transpose(found, path) if isinstance(found, Mapping) else iter(found)
    for number, item in enumerate(items, start=1):
        row = {TEXT: item} if isinstance(item, str) else item
        if not isinstance(row, dict):
            raise InputError(
                f"{path}, row {number}: expected a JSON object or a text, found {type(item).__name__}"
            )
        if _is_deep(row):
            raise InputError(f"{path}, row {number}: {_TOO_DEEP}")
        if "\\u" in text:
            _check_text(row, f"{path}, row {number}")
        yield row


def _parse_values(text: str, path: str) -> list[Any]:
    """Return the JSON values of a file, one after the other."""
    decoder = json.JSONDecoder()
    values = []
    place = _skip_space(text, 0)
    try:
        while place < len(text):
            value, place = decoder.raw_decode(text, place)
            values.append(value)
            place = _skip_space(text, place)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}, line {error.lineno}: invalid JSON ({error.msg}, column {error.colno}): expected "
            "an array of objects"
        ) from None
    except RecursionError:
        raise InputError(f"{path}: {_TOO_DEEP}") from None
    except ValueError as error:
        raise InputError(f"{path}: invalid JSON ({describe_error(error)})") from None
    return values


def _skip_space(text: str, place: int) -> int:
    while place < len(text) and text[place].isspace():
        place += 1
    return place


def _find_items(value: Any, path: str) -> Sequence[Any] | Mapping[str, Sequence[Any]]:
    """Return the array of a document, or its columns where it is an object of them."""
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected an array of JSON objects, found {type(value).__name__}")
    found = _find_inside(value)
    if found is None:
        raise InputError(
            f"{path}: expected an array of JSON objects, or an object with one inside, found an object with "
            f"{display_all(list(value))}: write the array to a file of its own"
        )
    return found


def _find_inside(value: dict[str, Any]) -> Sequence[Any] | Mapping[str, Sequence[Any]] | None:
    """Return the rows or columns inside an object, or itself where it is the only row."""
    arrays = {key: inner for key, inner in value.items() if isinstance(inner, list)}
    if not arrays:
        return _find_nested(value)
    if _is_split(arrays) and len(arrays) == len(value):
        return [dict(zip(value["columns"], row, strict=True)) for row in value["data"]]
    if _rank(value) < min(map(_rank, chain(*arrays.values())), default=0):
        return [value]  # a document with a list of tags, say
    of_objects = [inner for inner in arrays.values() if any(isinstance(item, dict) for item in inner)]
    if len(of_objects) == 1:
        return of_objects[0]
    if not of_objects and len(arrays) == 1 and len(value) > 1:
        return next(iter(arrays.values()))
    return arrays if not of_objects and len(arrays) == len(value) else None


def _is_split(arrays: dict[str, list[Any]]) -> bool:
    """Return whether these are the names of columns and the rows under them, as pandas splits a table."""
    width = len(arrays.get("columns", ()))
    return {"columns", "data"} <= arrays.keys() <= {"columns", "index", "data"} and all(
        isinstance(row, list) and len(row) == width for row in arrays["data"]
    )


def _rank(item: Any) -> int:
    """Return how good a text an item has: 0 is best, more than any name for none."""
    if isinstance(item, dict):
        return next(
            (i for i, name in enumerate(TEXT_NAMES) if isinstance(item.get(name), str)), len(TEXT_NAMES)
        )
    return TEXT_NAMES.index("title") if isinstance(item, str) else len(TEXT_NAMES)


def _find_nested(value: dict[str, Any]) -> Sequence[Any] | Mapping[str, Sequence[Any]] | None:
    """Return the rows or columns of an object of objects, or an object of values as the only row."""
    if not any(isinstance(inner, dict) for inner in value.values()):
        return [value]
    if not all(isinstance(inner, dict) for inner in value.values()):
        return None
    if any(name.lower() in TEXT_NAMES for inner in value.values() for name in inner):
        return [{ID: key, **inner} for key, inner in value.items()]  # rows by id
    keys = [list(inner) for inner in value.values()]
    if all(names == keys[0] for names in keys):
        return {key: list(inner.values()) for key, inner in value.items()}  # as pandas writes columns
    return None


def _transpose(columns: Mapping[str, Sequence[Any]], path: str) -> Iterator[dict[str, Any]]:
    lengths = {key: len(values) for key, values in columns.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{display(key)} {length}" for key, length in list(lengths.items())[:30])
        raise InputError(f"{path}: the arrays of the object differ in length ({shown}): expected columns")
    yield from (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
