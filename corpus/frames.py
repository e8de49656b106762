"""Data of Python callers becomes a corpus: texts, data frames, Arrow tables, paths."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..errors import InputError
from ..schema import TEXT, Corpus
from ..settings import CorpusSettings
from .messages import describe_error, display
from .parts import Part, check_names, check_utf8, check_width
from .reader import assemble, read_corpus
from .values import encodes, make_chunked, make_column


def corpus_from(data: object, settings: CorpusSettings) -> Corpus:
    """Make a corpus of Python data.

    A `str` or `Path` alone is a path (or folder, or glob) and a list of `Path` several; a list, tuple,
    array or series of strings are texts with the ids "0", "1", …; a pandas or polars DataFrame, an Arrow
    table and anything with `__arrow_c_stream__` are read like a file with their columns, with positions as
    ids where there is no id column. A named pandas index is a column, an unnamed one is not.

    Raises `InputError` and `SettingsError` as `read_corpus` does; rows are counted from 0 here.
    """
    if isinstance(data, str | Path):
        return read_corpus([data], settings)
    if isinstance(data, list | tuple) and data and all(isinstance(item, Path) for item in data):
        return read_corpus(data, settings)
    texts = _as_texts(data)
    if texts is not None:
        table, mixed = pa.table({TEXT: _text_column(texts)}), dict[str, int]()
        # Settings that name columns are about tables.
        settings = settings.model_copy(update={"text_column": None, "id_column": None})
    else:
        table, mixed = _as_table(data, settings.max_columns)
    check_width("the table", table.num_columns, settings.max_columns)
    check_names("the table", table.column_names)
    part = Part(table.replace_schema_metadata(None), mixed=mixed)
    return assemble([check_utf8(part, settings.encoding_errors)], settings)


def _as_texts(data: Any) -> Sequence[Any] | None:
    """Return the items of a one-dimensional object, None for anything else."""
    if isinstance(data, list | tuple):
        return data
    if isinstance(data, pa.Array | pa.ChunkedArray):
        return data.to_pylist()  # type: ignore[no-any-return]  # pyarrow has no stubs
    if isinstance(data, _loaded("polars", "Series")):
        return data.to_list()  # type: ignore[no-any-return]  # polars may be missing
    if isinstance(data, (_loaded("pandas", "Series"), _loaded("numpy", "ndarray"))):
        return data.tolist()  # type: ignore[no-any-return]  # pandas may be missing
    return None


def _loaded(module: str, name: str) -> Any:
    """Return a class of a library that the caller has imported; what is not imported needs no check."""
    return getattr(sys.modules.get(module), name, ())


def _text_column(texts: Sequence[Any]) -> pa.ChunkedArray:
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            missing = str(text) in {"None", "nan", "<NA>"}  # as Python, numpy and pandas write it
            kind = "null" if missing else type(text).__name__
            raise InputError(f"row {row} (counted from 0): expected a string, found {kind}")
    try:
        return make_chunked(texts, pa.string())
    except UnicodeEncodeError:
        row = next(i for i, text in enumerate(texts) if not encodes(text))
        raise InputError(
            f"row {row} (counted from 0): half of a surrogate pair (\\ud800 to \\udfff) is not text: "
            "remove it"
        ) from None


def _as_table(data: Any, max_columns: int) -> tuple[pa.Table, dict[str, int]]:
    if isinstance(data, _loaded("pandas", "DataFrame")):
        return _pandas_table(data, max_columns)
    try:
        if isinstance(data, pa.Table):
            return data, {}
        if isinstance(data, _loaded("polars", "DataFrame")):
            return data.to_arrow(), {}
        if hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__"):
            return pa.table(data), {}
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InputError(
            f"the {type(data).__name__} cannot be read as a table ({describe_error(error)})"
        ) from None
    raise InputError(
        f"expected texts, a pandas, polars or Arrow table, or a path, found {type(data).__name__}"
    )


def _pandas_table(frame: Any, max_columns: int) -> tuple[pa.Table, dict[str, int]]:
    if any(name is not None for name in frame.index.names):
        try:
            frame = frame.reset_index()
        except ValueError as error:
            raise InputError(f"the index of the DataFrame cannot become a column ({error})") from None
    check_width("the DataFrame", len(frame.columns), max_columns)
    check_names("the DataFrame", [str(name) for name in frame.columns])
    mixed: dict[str, int] = {}
    columns = {}
    for position, name in enumerate(map(str, frame.columns)):
        series = frame.iloc[:, position]
        try:
            if series.dtype == object:
                columns[name], first = make_column(series.where(series.notna(), None).tolist(), max_columns)
                if first is not None:
                    mixed[name] = first
            else:
                columns[name] = make_chunked(series)
        except (pa.ArrowException, ValueError, TypeError) as error:
            raise InputError(
                f"column {display(name)} of the DataFrame cannot be read ({describe_error(error)})"
            ) from None
    return pa.table(columns), mixed
