"""Arrow columns: strings of any type, and columns of Python values."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def find_first_true(mask: pa.ChunkedArray) -> int:
    """Return the first row where `mask` is true, or -1."""
    return int(pc.index(mask, pa.scalar(True)).as_py())


def is_text(kind: pa.DataType) -> bool:
    """Return whether a type holds strings, dictionary-encoded or not."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    types = pa.types
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def to_strings(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Cast to `string`, in chunks that its 32-bit offsets can hold.

    Raises `pa.ArrowInvalid` or `pa.ArrowNotImplementedError` where the type has no such cast.
    """
    kind = column.type
    if kind == pa.string():
        return column
    if pa.types.is_dictionary(kind) and kind.value_type != pa.string():
        column = column.cast(kind.value_type)
    chunks = [half.cast(pa.string()) for chunk in column.chunks for half in _halve(chunk)]
    return pa.chunked_array(chunks, pa.string())


def _halve(chunk: pa.Array) -> list[pa.Array]:
    if chunk.nbytes < 2**30 or len(chunk) < 2:
        return [chunk]
    half = len(chunk) // 2
    return [*_halve(chunk.slice(0, half)), *_halve(chunk.slice(half))]


def encodes(text: str) -> bool:
    """Return whether a string can be encoded as UTF-8: half of a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def id_text(value: object) -> str:
    """Return an id as the user writes it: `10`, `10.5`, `2020-01-31`, a UUID of 36 characters.

    A float keeps its point, so 10.0 and 10 are two ids. MongoDB's `{"$oid": …}` is its content.
    """
    if isinstance(value, str):
        return value
    if _is_wrapped(value):
        return id_text(next(iter(value.values())))
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, np.datetime64) and "pandas" in sys.modules:
        return str(sys.modules["pandas"].Timestamp(value))
    return str(value)


def _is_wrapped(value: object) -> TypeGuard[Mapping[str, object]]:
    """Return whether a value is one of MongoDB with its type, as `{"$oid": "5f"}`."""
    return isinstance(value, Mapping) and len(value) == 1 and str(next(iter(value))).startswith("$")


def make_chunked(values: Any, kind: pa.DataType | None = None) -> pa.ChunkedArray:
    """Make a column of Python values or a series; missing values of pandas become nulls."""
    made = pa.array(values, kind, from_pandas=True)
    return made if isinstance(made, pa.ChunkedArray) else pa.chunked_array([made])


def make_column(values: Sequence[Any], max_columns: int) -> tuple[pa.ChunkedArray, int | None]:
    """Make a column of Python values; return it and, for mixed types, the first row without a string.

    Mixed values, and objects that Parquet cannot store or that have together more than `max_columns` keys,
    become strings: a string stays as it is, the rest becomes JSON.
    """
    try:
        kind = pa.infer_type(values, from_pandas=True) if _has_objects(values) else None
        if kind is None or (_is_storable(kind) and _count_leaves(kind) <= max_columns):
            return make_chunked(values), None
    except (pa.ArrowException, OverflowError, TypeError):
        pass
    first = next(i for i, value in enumerate(values) if not isinstance(value, str) and value is not None)
    texts = [value if isinstance(value, str) or value is None else _to_json(value) for value in values]
    return make_chunked(texts, pa.string()), first


def _to_json(value: object) -> str:
    """Return a value as JSON, or as its own text where JSON has no such value, as for a UUID."""
    if _is_wrapped(value) or not isinstance(value, dict | list | tuple | int | float | None):
        return id_text(value)
    return json.dumps(value, ensure_ascii=False, default=str)


def _has_objects(values: Sequence[Any]) -> bool:
    return any(isinstance(value, dict | list) for value in values)


def _count_leaves(kind: pa.DataType) -> int:
    """Return how many columns a type is stored as."""
    return sum(_count_leaves(kind.field(i).type) for i in range(kind.num_fields)) or 1


def _is_storable(kind: pa.DataType) -> bool:
    """Return whether Parquet can hold the type: it has no struct without fields."""
    if pa.types.is_struct(kind):
        return kind.num_fields > 0 and all(_is_storable(kind.field(i).type) for i in range(kind.num_fields))
    return not pa.types.is_list(kind) or _is_storable(kind.value_type)
