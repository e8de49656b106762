"""What one input holds before the parts become a corpus."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..errors import InputError
from ..schema import Rows


@dataclass(frozen=True, slots=True)
class Part:
    """The table of one file, or of one object from memory (`path` and `label` are then None).

    `path` is the file as the user gave it, `label` what ids are made from. `mixed` names the columns whose
    values had no common type and became strings, each with the first row that was no string. `rows` maps
    the table's rows to those of the file where they are not the same.
    """

    table: pa.Table
    path: str | None = None
    label: str | None = None
    format: str = ""
    sha256: str = ""
    mixed: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    rows: Rows | None = None

    @property
    def name(self) -> str:
        """Return what messages call this part."""
        return self.path or "the table"

    @property
    def is_blank(self) -> bool:
        """Return whether the part says nothing at all, as an empty JSONL file does."""
        return not self.table.num_rows and not self.table.num_columns

    def has(self, column: str) -> bool:
        """Return whether there is a column of that name, without a look at all the others."""
        return bool(self.table.schema.get_field_index(column) >= 0)

    def place(self, row: int) -> str:
        """Return the place of a row for a message: files count from 1, objects in memory from 0."""
        row = int(row if self.rows is None else self.rows[row])
        return f"row {row} (counted from 0)" if self.path is None else f"{self.path}, row {row + 1}"


def one_line(error: BaseException) -> str:
    """Return the message of a foreign error on one line, at most 200 characters, all of them printable."""
    text = " ".join(str(error).split())[:200] or type(error).__name__
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


def shown(value: object) -> str:
    """Return a name or id from the data for a message: on one line, and not longer than one."""
    text = str(value)
    text = text if len(text) <= 80 else f"{text[:80]}…"
    return text if text.isprintable() and text else repr(text)


def listed(names: Sequence[str]) -> str:
    """Return column names for a message, the first 30 of them."""
    more = f" and {len(names) - 30} more" if len(names) > 30 else ""
    return ", ".join(map(shown, names[:30])) + more


def first_true(mask: pa.ChunkedArray) -> int:
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
    if column.type == pa.string():
        return column
    kind = column.type
    if pa.types.is_dictionary(kind) and kind.value_type != pa.string():
        column = column.cast(kind.value_type)
    chunks = [part.cast(pa.string()) for chunk in column.chunks for part in _halved(chunk)]
    return pa.chunked_array(chunks, pa.string())


def _halved(chunk: pa.Array) -> list[pa.Array]:
    if chunk.nbytes < 2**30 or len(chunk) < 2:
        return [chunk]
    half = len(chunk) // 2
    return [*_halved(chunk.slice(0, half)), *_halved(chunk.slice(half))]


def encodes(text: str) -> bool:
    """Return whether a string has a form in UTF-8: half of a surrogate pair has none."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def make_column(values: Sequence[Any], max_columns: int) -> tuple[pa.ChunkedArray, int | None]:
    """Make a column of Python values, and say where it first held no string if their types are mixed.

    Mixed values, and objects that Parquet cannot store or that have together more than `max_columns` keys,
    become strings: a string as it is, the rest as JSON.
    """
    try:
        kind = pa.infer_type(values, from_pandas=True) if _has_objects(values) else None
        if kind is None or (_is_storable(kind) and _leaves(kind) <= max_columns):
            made = pa.array(values, from_pandas=True)
            column = made if isinstance(made, pa.ChunkedArray) else pa.chunked_array([made])
            return column, None
    except (pa.ArrowException, OverflowError, TypeError):
        pass
    first = next(i for i, value in enumerate(values) if not isinstance(value, str) and value is not None)
    texts = [value if isinstance(value, str) or value is None else _as_json(value) for value in values]
    made = pa.array(texts, pa.string())
    return (made if isinstance(made, pa.ChunkedArray) else pa.chunked_array([made])), first


def _as_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _has_objects(values: Sequence[Any]) -> bool:
    return any(isinstance(value, dict | list) for value in values)


def _leaves(kind: pa.DataType) -> int:
    """Return how many columns a type is stored as."""
    return sum(_leaves(kind.field(i).type) for i in range(kind.num_fields)) or 1


def _is_storable(kind: pa.DataType) -> bool:
    """Return whether Parquet can hold the type: it has no struct without fields."""
    if pa.types.is_struct(kind):
        return kind.num_fields > 0 and all(_is_storable(kind.field(i).type) for i in range(kind.num_fields))
    return not pa.types.is_list(kind) or _is_storable(kind.value_type)


def check_names(name: str, columns: Sequence[str]) -> None:
    """Raise `InputError` where two columns have one name."""
    seen: set[str] = set()
    for column in columns:
        if column in seen:
            raise InputError(f"{name}: two columns are called {column[:80]!r}: rename one of them")
        seen.add(column)


def check_utf8(part: Part, errors: str) -> Part:
    """Check the strings of a table that came from elsewhere; replace and count what is invalid if told to.

    Raises `InputError` with the row and the column.
    """
    table, replaced = part.table, 0
    for position, name in enumerate(table.column_names):
        column = table.column(position)
        try:
            column.validate(full=True)
        except pa.ArrowInvalid as error:
            if not is_text(column.type) or pa.types.is_dictionary(column.type):
                raise InputError(
                    f"{part.name}: column {shown(name)} is damaged ({one_line(error)})"
                ) from None
            repaired, row, count = _repair(column)
            if errors == "strict":
                raise InputError(
                    f"{part.place(row)}: invalid UTF-8 in column {shown(name)}: mend it, or read it with "
                    "--encoding-errors replace"
                ) from None
            replaced += count
            table = table.set_column(position, name, repaired)
    counts = {"invalid_utf8_replaced": replaced + part.counts.get("invalid_utf8_replaced", 0)}
    return replace(part, table=table, counts={**part.counts, **counts})


def _repair(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, int, int]:
    """Return the column made valid, its first invalid row and the number of sequences replaced."""
    binary = pa.large_binary() if pa.types.is_large_string(column.type) else pa.binary()
    texts: list[str | None] = []
    first, count = -1, 0
    for row, value in enumerate(column.cast(binary).to_pylist()):
        text = None if value is None else value.decode("utf-8", "replace")
        texts.append(text)
        marks = 0 if text is None else text.count("\ufffd") - value.count(b"\xef\xbf\xbd")
        first = row if marks and first < 0 else first
        count += marks
    return pa.chunked_array([pa.array(texts, column.type)]), first, count


FREE = 64 << 20  # bytes that any file may expand to


def check_expansion(path: str, packed: int, expanded: int, most: int) -> None:
    """Raise `InputError` where `packed` bytes of a file become more than `most` times as many, and `FREE`."""
    allowed = max(FREE, packed * most)
    if expanded > allowed:
        raise InputError(
            f"{path}: {packed:,} bytes of it expand to more than {allowed >> 20:,} MiB, expected at most "
            f"{most:,} times as much: if it is no decompression bomb, set corpus.max_expansion higher"
        )


def check_width(name: str, columns: int, most: int) -> None:
    """Raise `InputError` where a table has more than `most` columns."""
    if columns > most:
        raise InputError(
            f"{name}: expected at most {most:,} columns, found {columns:,}: "
            "leave out what is not needed, or set corpus.max_columns higher"
        )
