"""Rows with different keys become columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .parts import check_width


class RowColumns:
    """The columns of the rows added so far, with None where a row did not have one."""

    def __init__(self, path: str, max_columns: int, *names: str) -> None:
        """Start with the columns `names`; there may be `max_columns` in the end."""
        self.rows = 0
        self._path, self._max_columns = path, max_columns
        self._columns: dict[str, list[Any]] = {name: [] for name in names}

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row. Raises `InputError` where there are too many columns with it."""
        if not row.keys() <= self._columns.keys():
            check_width(self._path, len(self._columns.keys() | row.keys()), self._max_columns)
        for name, value in row.items():
            column = self._columns.setdefault(name, [])
            column.extend([None] * (self.rows - len(column)))
            column.append(value)
        self.rows += 1

    def take(self) -> Iterator[tuple[str, list[Any]]]:
        """Yield and remove every column, with one value per row."""
        for name in list(self._columns):
            column = self._columns.pop(name)
            column.extend([None] * (self.rows - len(column)))
            yield name, column
