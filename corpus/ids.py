"""Ids as text: one form for an id in a column, in memory and in a look-up."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from ..errors import InputError
from ..messages import display
from .values import id_text, is_text, to_strings

__all__ = ["id_text", "to_ids"]


def to_ids(column: pa.ChunkedArray, name: str, label: str) -> pa.ChunkedArray:
    """Return a column as the text of ids, nulls as they are.

    Raises `InputError` for a type without such a text; `name` is that of the file, `label` of the column.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        kind, column = kind.value_type, column.cast(kind.value_type)
    if is_text(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind):
        return to_strings(column)
    if not _has_text(kind):
        problem = f"column {display(label)} holds {display(kind)}, not ids"
        raise InputError(f"{name}: {problem}: name another one with --id-column")
    texts = [None if _is_missing(value) else id_text(value) for value in _values(column)]
    return pa.chunked_array([pa.array(texts, pa.string())])


def _values(column: pa.ChunkedArray) -> list[Any]:
    kind = column.type
    is_period = isinstance(kind, pa.BaseExtensionType) and kind.extension_name == "pandas.period"
    if is_period or pa.types.is_timestamp(kind):
        return list(column.to_pandas())  # Python's values would lose the unit and nanoseconds
    if pa.types.is_float16(kind) or pa.types.is_float32(kind):
        return list(column.to_numpy())  # Python's values would show digits that these do not have
    return column.to_pylist()  # type: ignore[no-any-return]  # pyarrow has no stubs


def _is_missing(value: object) -> bool:
    return value is None or value != value or str(value) == "NaT"  # noqa: PLR0124  (NaN is not itself)


def _has_text(kind: pa.DataType) -> bool:
    types = pa.types
    if types.is_struct(kind):
        return bool(kind.num_fields == 1 and kind.field(0).name.startswith("$"))
    return not (types.is_nested(kind) or types.is_binary(kind) or types.is_fixed_size_binary(kind))
