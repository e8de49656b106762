"""What one input holds before the parts become a corpus, and the checks that every part passes."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..errors import InputError, SettingsError
from ..messages import describe_error, display, display_all
from ..schema import Rows
from .values import is_text

FREE_EXPANSION = 64 << 20  # bytes that any file may expand to


@dataclass(frozen=True, slots=True)
class Part:
    """The table of one file, or of one object from memory (`path` and `label` are then None).

    `path` is the file as the user named it, `label` what ids are made from. `mixed` names the columns whose
    values had no common type and became strings, each with the first row that was not a string. `rows` maps
    the table's rows to those of the file where the two differ. `made_ids` are ids for where the table has
    none, and `labels` the pandas index that they are the text of. `guesses` holds what the reader guessed by
    the name of the option that would set it.
    """

    table: pa.Table
    path: str | None = None
    label: str | None = None
    format: str = ""
    sha256: str = ""
    mixed: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    rows: Rows | None = None
    made_ids: pa.Array | None = None
    labels: Any = None
    guesses: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Return what messages call this part."""
        return self.path or "the table"

    @property
    def is_blank(self) -> bool:
        """Return whether the part has neither rows nor columns, as an empty JSONL file."""
        return not self.table.num_rows and not self.table.num_columns

    def has(self, name: str) -> bool:
        """Return whether there is exactly one column of that name, or a field inside one as `data.text`."""
        return self.find_column(name) is not None

    def find_column(self, name: str) -> pa.ChunkedArray | None:
        """Return a column, or the field inside one that a dotted name leads to; None without it."""
        if self.table.schema.get_field_index(name) >= 0:
            return self.table.column(name)
        outer, *inner = name.split(".")
        if not inner or self.table.schema.get_field_index(outer) < 0:
            return None
        column = self.table.column(outer)
        for field_name in inner:
            if not pa.types.is_struct(column.type) or column.type.get_field_index(field_name) < 0:
                return None
            column = pc.struct_field(column, field_name)
        return column

    def column(self, name: str) -> pa.ChunkedArray:
        """Return the column that `has` found."""
        column = self.find_column(name)
        assert column is not None, name
        return column

    def column_names(self) -> list[str]:
        """Return the names of the columns, and dotted names instead of those that hold objects."""
        return [name for field in self.table.schema for name in _leaf_names(field.name, field.type)]

    def take(self, rows: Rows) -> Part:
        """Return the part with some of its rows."""
        return replace(
            self,
            table=self.table.take(pa.array(rows)),
            rows=rows if self.rows is None else self.rows[rows],
            made_ids=None if self.made_ids is None else self.made_ids.take(pa.array(rows)),
            labels=None if self.labels is None else self.labels.take(rows),
        )

    def place(self, row: int) -> str:
        """Return the place of a row for a message: files count from 1, objects in memory from 0."""
        row = int(row if self.rows is None else self.rows[row])
        return f"row {row} (counted from 0)" if self.path is None else f"{self.path}, row {row + 1}"

    def require_column(self, name: str, option: str) -> None:
        """Raise `SettingsError` where there is no column `name`, which `option` asks for."""
        if name in self.table.column_names or self.has(name):
            return
        columns = self.column_names()
        by_lower = {column.lower(): column for column in columns}
        near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
        hint = f"did you mean {display(by_lower[near[0]])}? " if near else ""
        raise SettingsError(
            f"{self.name}: no column {display(name)} ({option}): {hint}the columns are {display_all(columns)}"
        )


def _leaf_names(name: str, kind: pa.DataType) -> list[str]:
    if not pa.types.is_struct(kind):
        return [name]
    fields = [kind.field(i) for i in range(kind.num_fields)]
    return [leaf for field in fields for leaf in _leaf_names(f"{name}.{field.name}", field.type)]


def check_names(name: str, columns: Sequence[str]) -> None:
    """Raise `InputError` where two columns have the same name."""
    seen: set[str] = set()
    for column in columns:
        if column in seen:
            raise InputError(f"{name}: two columns are called {column[:80]!r}: rename one of them")
        seen.add(column)


def check_width(name: str, columns: int, max_columns: int) -> None:
    """Raise `InputError` where a table has more than `max_columns` columns."""
    if columns > max_columns:
        raise InputError(
            f"{name}: expected at most {max_columns:,} columns, found {columns:,}: "
            "leave out what is not needed, or set corpus.max_columns higher"
        )


def check_expansion(path: str, packed: int, expanded: int, max_expansion: int) -> None:
    """Raise `InputError` where `packed` bytes expand to more than 64 MiB and `max_expansion` times."""
    allowed = max(FREE_EXPANSION, packed * max_expansion)
    if expanded > allowed:
        raise InputError(
            f"{path}: {packed:,} bytes of it expand to more than {allowed >> 20:,} MiB, expected at most "
            f"{max_expansion:,} times as much: if this is not a decompression bomb, set "
            "corpus.max_expansion higher"
        )


def check_utf8(part: Part, errors: str) -> Part:
    """Check the strings of a table that another library made; with `errors="replace"` repair and count them.

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
                    f"{part.name}: column {display(name)} is damaged ({describe_error(error)})"
                ) from None
            repaired, row, count = _repair(column)
            if errors == "strict":
                raise InputError(
                    f"{part.place(row)}: invalid UTF-8 in column {display(name)}: correct it, or read it "
                    "with --encoding-errors replace"
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
