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
from ..messages import describe_error, explain_unreadable
from ..settings import CorpusSettings
from .contents import check_contents
from .opening import open_bytes
from .parts import FREE_EXPANSION, Part, check_expansion, check_names, check_utf8, check_width
from .sources import Source

_BLOCK = 1 << 20


def read(source: Source, settings: CorpusSettings) -> Part:
    """Read a Parquet file. Raises `InputError` where it cannot be opened or read, or expands too far."""
    stamp = _stamp(source)
    try:
        with _open(source, settings) as file:
            table = _read_table(file, source.path, settings)
            sha256 = _digest(file)
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError) as error:
        if isinstance(error, OSError) and error.errno:
            raise InputError(explain_unreadable(source.path, error)) from None
        _check_start(source, settings)
        raise InputError(
            f"{source.path}: broken Parquet file ({describe_error(error)}): make or download it again"
        ) from None
    if _stamp(source) != stamp:
        raise InputError(
            f"{source.path}: the file changed while it was read: read it again when it is complete"
        )
    check_names(source.path, table.column_names)
    part = Part(table, source.path, source.label, source.format, sha256)
    return check_utf8(part, settings.encoding_errors)


def _open(source: Source, settings: CorpusSettings) -> pa.NativeFile:
    """Open a file to be read at any position. A mapped file that is truncated would end the process."""
    if _is_regular(source) and Path(source.path).stat().st_size:
        return pa.OSFile(source.path)
    with open_bytes(source) as (file, packed):
        if packed is None:
            return pa.BufferReader(file.read())
        data = file.read(max(FREE_EXPANSION, packed * settings.max_expansion) + 1)
        check_expansion(source.path, packed, len(data), settings.max_expansion)
        return pa.BufferReader(data)


def _is_regular(source: Source) -> bool:
    return not (source.is_stdin or source.archive) and Path(source.path).is_file()


def _check_start(source: Source, settings: CorpusSettings) -> None:
    """Raise `InputError` where a regular file or a member of an archive is something else than Parquet."""
    if not (source.archive or _is_regular(source)):
        return
    with _open(source, settings) as file:
        head = file.read(4096)
    if not head.startswith(b"PAR1"):
        check_contents(head, source.path, source.format)


def _stamp(source: Source) -> tuple[int, int, int] | None:
    """Return what differs once a regular file is written to or replaced."""
    if not _is_regular(source):
        return None
    facts = Path(source.path).stat()
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


def _digest(file: pa.NativeFile) -> str:
    file.seek(0)
    total = hashlib.sha256()
    while block := file.read(_BLOCK):
        total.update(block)
    return total.hexdigest()


def _read_table(source: pa.NativeFile, path: str, settings: CorpusSettings) -> pa.Table:
    file = pq.ParquetFile(source)
    check_width(path, file.metadata.num_columns, settings.max_columns)
    for expanded in _size_bounds(source, file):
        check_expansion(path, source.size(), expanded, settings.max_expansion)
    return file.read().replace_schema_metadata(None)


def _size_bounds(source: pa.NativeFile, file: pq.ParquetFile) -> Iterator[int]:
    """Yield lower bounds of the bytes that the file takes in memory, each closer than the one before."""
    yield _declared_size(file)
    leaves = [file.schema.column(i) for i in range(len(file.schema))]
    strings = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
    # As dictionaries: a string that a million rows refer to is stored once.
    packed = pq.ParquetFile(source, read_dictionary=strings)
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
