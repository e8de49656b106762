"""Data of Python callers becomes a corpus: texts, rows, columns, frames, tables, paths."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..errors import InputError, speaks_python
from ..messages import describe_error, display
from ..schema import TEXT, Corpus
from ..settings import CorpusSettings
from .frames import find_labels, frame_table, is_missing, iterate, loaded, to_arrow
from .ids import id_text
from .objects import HALF_PAIR, make_table
from .parts import Part, check_names, check_utf8, check_width
from .reader import assemble, read_corpus
from .rows import RowColumns
from .values import encodes, make_chunked, make_column

_EXPECTED = (
    "expected texts, dicts, a dict of columns, a pandas, polars, Arrow or Hugging Face table, or a path"
)


@speaks_python
def corpus_from(data: object, settings: CorpusSettings) -> Corpus:
    """Make a corpus of Python data.

    A `str` or `Path` alone is a path (or folder, or glob) and a list of `Path` several. Strings in a list,
    series, array, index or any other iterable are texts, dicts in one are rows, and a dict of sequences is
    columns. A pandas or polars frame, an Arrow or Hugging Face table and anything with `__arrow_c_stream__`
    are read like a file with their columns. Without an id column, the labels of a pandas index are the ids,
    or else positions.

    Raises `InputError` and `SettingsError` as `read_corpus` does; rows are counted from 0 here.
    """
    if isinstance(data, str | Path):
        return read_corpus([data], settings)
    if isinstance(data, list | tuple) and data and all(isinstance(item, Path) for item in data):
        return read_corpus(data, settings)
    return _assemble(data, settings)


def _assemble(data: object, settings: CorpusSettings) -> Corpus:
    try:
        part, is_text = _read_table(data, settings.max_columns) or _read_items(data, settings.max_columns)
    except UnicodeEncodeError:
        raise InputError(f"the table: {HALF_PAIR}") from None
    if is_text:  # settings that name columns are about tables
        settings = settings.model_copy(update={"text_column": None, "id_column": None})
    check_width("the table", part.table.num_columns, settings.max_columns)
    check_names("the table", part.table.column_names)
    labels = find_labels(data)
    made_ids = None if labels is None else pa.array(map(id_text, labels), pa.string())
    part = replace(part, table=part.table.replace_schema_metadata(None), labels=labels, made_ids=made_ids)
    return assemble([check_utf8(part, settings.encoding_errors)], settings)


def pairs_from(data: Any) -> Iterable[Any]:
    """Return the pairs of an iterable of two texts each, or the rows of a table with two columns.

    Raises `InputError` for a table with more or fewer columns.
    """
    if isinstance(data, loaded("pandas", "DataFrame")):
        columns = [data.iloc[:, i].tolist() for i in range(len(data.columns))]
    elif (table := to_arrow(data)) is not None:
        columns = [column.to_pylist() for column in table.columns]
    else:
        pairs: Iterable[Any] = data.tolist() if isinstance(data, loaded("numpy", "ndarray")) else data
        return pairs
    if len(columns) != 2:
        raise InputError(f"expected a table with two columns of texts, found {len(columns)}: select two")
    return zip(*columns, strict=True)


def _read_table(data: Any, max_columns: int) -> tuple[Part, bool] | None:
    """Return the part of anything with named columns, which holds no texts alone; None for anything else."""
    if isinstance(data, loaded("pandas", "DataFrame")):
        table, mixed = frame_table(data, max_columns)
        return Part(table, mixed=mixed), False
    try:
        table = to_arrow(data)
    except InputError:
        raise
    except (pa.ArrowException, TypeError, ValueError) as error:
        problem = f"the {type(data).__name__} cannot be read as a table ({describe_error(error)})"
        raise InputError(problem) from None
    if table is not None:
        return Part(table), False
    return (_read_columns(data, max_columns), False) if isinstance(data, Mapping) else None


def _read_columns(data: Mapping[Any, Any], max_columns: int) -> Part:
    check_width("the dict", len(data), max_columns)
    mixed: dict[str, int] = {}
    columns = {}
    for key, values in data.items():
        items, name = iterate(values), str(key)
        if items is None or isinstance(values, Mapping):
            raise InputError(f"expected a dict of columns, found {type(values).__name__} in {display(name)}")
        columns[name], first = make_column(list(items), max_columns)
        if first is not None:
            mixed[name] = first
    if len({len(column) for column in columns.values()}) > 1:
        lengths = ", ".join(f"{display(name)} {len(column)}" for name, column in list(columns.items())[:30])
        raise InputError(f"the columns of the dict differ in length ({lengths})")
    return Part(pa.table(columns), mixed=mixed)


def _read_items(data: Any, max_columns: int) -> tuple[Part, bool]:
    """Return the part of an iterable, and whether it holds texts."""
    items = iterate(data)
    if items is None:
        raise InputError(f"{_EXPECTED}, found {type(data).__name__}")
    rest = iter(items)
    start = list(_take_missing(rest))
    if start and isinstance(start[-1], Mapping):
        return _read_rows(chain(start, rest), max_columns), False
    return Part(pa.table({TEXT: _make_texts([*start, *rest])})), True


def _take_missing(items: Iterator[Any]) -> Iterator[Any]:
    """Yield items up to the first that is not missing."""
    for item in items:
        yield item
        if not is_missing(item):
            return


def _make_texts(texts: Sequence[Any]) -> pa.ChunkedArray:
    values = [None if is_missing(text) and not isinstance(text, str) else text for text in texts]
    for row, text in enumerate(values):
        if not isinstance(text, str | None):
            raise InputError(f"row {row} (counted from 0): expected a string, found {type(text).__name__}")
        if text is not None and not encodes(text):
            raise InputError(f"row {row} (counted from 0): {HALF_PAIR}")
    return make_chunked(values, pa.string())


def _read_rows(items: Iterable[Any], max_columns: int) -> Part:
    columns = RowColumns("the rows", max_columns)
    for row, item in enumerate(items):
        if not isinstance(item, Mapping):
            raise InputError(f"row {row} (counted from 0): expected a dict, found {type(item).__name__}")
        columns.add({str(name): value for name, value in item.items()})
    table, mixed = make_table(columns, "the rows", max_columns)
    return Part(table, mixed=mixed)
