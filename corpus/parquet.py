"""Parquet; the size in memory is checked before a file is read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..errors import InputError
from ..settings import CorpusSettings
from .messages import describe_error, explain_unreadable
from .parts import Part, check_expansion, check_names, check_utf8, check_width
from .sources import Source
from .streams import standard_input


def read(source: Source, settings: CorpusSettings) -> Part:
    """Read a Parquet file. Raises `InputError` where it cannot be opened or read, or expands too far."""
    try:
        # Mapped, so that a large file is hashed and decoded without a copy in memory.
        regular = not source.is_stdin and Path(source.path).is_file() and Path(source.path).stat().st_size
        data = _map(source.path) if regular else pa.py_buffer(_read_bytes(source))
    except OSError as error:
        raise InputError(explain_unreadable(source.path, error)) from None
    try:
        table = _read_table(data, source.path, settings)
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{source.path}: broken Parquet file ({describe_error(error)}): make or download it again"
        ) from None
    check_names(source.path, table.column_names)
    part = Part(table, source.path, source.label, source.format, hashlib.sha256(data).hexdigest())
    return check_utf8(part, settings.encoding_errors)


def _map(path: str) -> pa.Buffer:
    with pa.memory_map(path) as file:
        return file.read_buffer()


def _read_bytes(source: Source) -> bytes:
    return standard_input().read() if source.is_stdin else Path(source.path).read_bytes()


def _read_table(data: pa.Buffer, path: str, settings: CorpusSettings) -> pa.Table:
    file = pq.ParquetFile(pa.BufferReader(data))
    check_width(path, file.metadata.num_columns, settings.max_columns)
    for expanded in _size_bounds(data, file):
        check_expansion(path, data.size, expanded, settings.max_expansion)
    return file.read().replace_schema_metadata(None)


def _size_bounds(data: pa.Buffer, file: pq.ParquetFile) -> Iterator[int]:
    """Yield lower bounds of the bytes that the file takes in memory, each closer than the one before."""
    yield _declared_size(file)
    leaves = [file.schema.column(i) for i in range(len(file.schema))]
    strings = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
    # As dictionaries: a string that a million rows refer to is stored once.
    packed = pq.ParquetFile(pa.BufferReader(data), read_dictionary=strings)
    expanded = 0
    for group, name in product(range(file.metadata.num_row_groups), strings):
        try:
            column = packed.read_row_group(group, columns=[name])
        except pa.ArrowCapacityError:
            continue  # more than 2 GiB of different strings, which no small file holds
        expanded += sum(_count_string_bytes(chunk) for part in column.columns for chunk in part.chunks)
        yield expanded


def _declared_size(file: pq.ParquetFile) -> int:
    """Return the size that the file declares for its columns, at least their width for every value."""
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    widths = [max(file.schema.column(i).length, 8) for i in range(len(file.schema))]
    return sum(
        max(chunk.total_uncompressed_size, chunk.num_values * width, group.num_rows * width)
        for group in groups
        for chunk, width in ((group.column(i), width) for i, width in enumerate(widths))
    )


def _count_string_bytes(array: Any) -> int:
    """Return the bytes of an array's strings without dictionaries."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        return pc.sum(pc.binary_length(array.dictionary).take(array.indices)).as_py() or 0
    if pa.types.is_struct(kind):
        return sum(_count_string_bytes(child) for child in array.flatten())
    if pa.types.is_map(kind):
        return _count_string_bytes(array.keys) + _count_string_bytes(array.items)
    if pa.types.is_nested(kind):
        return _count_string_bytes(array.flatten())
    return int(array.nbytes)
