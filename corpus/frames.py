"""Tables and columns of other libraries, read without importing a library that the caller has not."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from ..errors import InputError
from ..messages import describe_error, display, display_all
from .parts import check_names, check_width
from .values import make_chunked, make_column


def loaded(module: str, *names: str) -> tuple[Any, ...]:
    """Return classes of a library that the caller has imported; what is not imported needs no check."""
    library = sys.modules.get(module)
    return tuple(getattr(library, name) for name in names if hasattr(library, name))


def to_arrow(data: Any) -> pa.Table | None:
    """Return a table of polars, Hugging Face or Arrow as an Arrow table, None for anything else.

    Raises `InputError` for a dictionary of several data sets; the libraries raise their own errors.
    """
    if isinstance(data, loaded("datasets", "DatasetDict", "IterableDatasetDict")):
        data = _only_split(data)
    if isinstance(data, loaded("datasets", "Dataset")):
        return data.with_format("arrow")[:]
    if isinstance(data, loaded("polars", "LazyFrame")):
        try:
            data = data.collect()
        except Exception as error:  # whatever the query and its sources raise
            raise InputError(f"the LazyFrame cannot be collected: {describe_error(error)}") from None
    if isinstance(data, loaded("polars", "DataFrame")):
        return data.to_arrow()
    if isinstance(data, pa.Table):
        return data
    is_column = isinstance(data, (*_columns(), pa.Array, pa.ChunkedArray))
    if not is_column and (hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__")):
        return pa.table(data)
    return None


def _columns() -> tuple[Any, ...]:
    return loaded("polars", "Series") + loaded("pandas", "Series", "Index") + loaded("numpy", "ndarray")


def _only_split(data: Any) -> Any:
    if len(data) == 1:
        return next(iter(data.values()))
    names = list(data)
    example = f", as data[{names[0]!r}]" if names else ""
    raise InputError(f"the {type(data).__name__} has the splits {display_all(names)}: pass one{example}")


def iterate(data: Any) -> Iterable[Any] | None:
    """Return the items of anything with one dimension, None for what has no items or no order.

    Raises `InputError` for an array of more dimensions and a set.
    """
    if isinstance(data, str | bytes | set | frozenset):
        if isinstance(data, set | frozenset):
            raise InputError(
                "a set has no order, by which documents without ids are known: pass a sorted list"
            )
        return None
    if getattr(data, "ndim", 1) != 1:
        raise InputError(f"expected one column of texts, found an array of shape {data.shape}")
    if isinstance(data, pa.Array | pa.ChunkedArray):
        return data.to_pylist()  # type: ignore[no-any-return]  # pyarrow has no stubs
    if isinstance(data, loaded("polars", "Series")):
        return data.to_list()  # type: ignore[no-any-return]  # polars may be missing
    if isinstance(data, _columns()):
        return data.tolist()  # type: ignore[no-any-return]  # pandas may be missing
    return data if isinstance(data, Iterable) else None


def is_missing(value: object) -> bool:
    """Return whether Python, numpy or pandas call a value missing."""
    return value is None or str(value) in {"nan", "<NA>", "NaT"}


def find_labels(data: Any) -> Any:
    """Return the index of a pandas frame or series if its labels are unique, None without."""
    index = getattr(data, "index", None)
    if not isinstance(data, loaded("pandas", "DataFrame", "Series")) or index is None:
        return None
    has_nulls = index.to_frame().isna().any(axis=None)
    return index if index.is_unique and not has_nulls else None


def frame_table(frame: Any, max_columns: int) -> tuple[pa.Table, dict[str, int]]:
    """Return a pandas frame as a table, and its columns of mixed type with their first row without a string.

    Named levels of the index are columns. Raises `InputError` with a column that cannot be read.
    """
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
        try:
            columns[name], first = _make_frame_column(frame.iloc[:, position], max_columns)
        except (pa.ArrowException, ValueError, TypeError) as error:
            raise InputError(
                f"column {display(name)} of the DataFrame cannot be read ({describe_error(error)}): "
                "convert or drop it"
            ) from None
        if first is not None:
            mixed[name] = first
    return pa.table(columns), mixed


def _make_frame_column(series: Any, max_columns: int) -> tuple[pa.ChunkedArray, int | None]:
    if isinstance(series.dtype, loaded("pandas", "SparseDtype")):
        series = series.sparse.to_dense()
    if series.dtype == object:
        return make_column(series.where(series.notna(), None).tolist(), max_columns)
    if series.dtype.kind == "c":
        return make_chunked([str(value) for value in series], pa.string()), 0
    return make_chunked(series), None
