"""Which columns hold the text and the id, and what they hold for each document."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import InputError, SettingsError
from .parts import Part, first_true, is_text, listed, shown, to_strings

TEXT_NAMES = ("text", "question", "title", "body")
ID_NAMES = ("id", "qid", "doc_id", "Id", "ID")


def choose_texts(parts: Sequence[Part], given: str | None) -> tuple[str, ...]:
    """Return the columns whose values make the text: those given, or the first conventional one.

    Raises `SettingsError` for a given column that a part does not have, `InputError` where no
    conventional name stands in every part.
    """
    parts = [part for part in parts if not part.is_blank]
    if given is not None:
        whole = any(given in part.table.column_names for part in parts)
        names = [given] if whole else [name.strip() for name in given.split(",") if name.strip()]
        if not names:
            raise SettingsError(f"setting text_column: expected the name of a column, not {given!r}")
        for part in parts:
            _require(part, names, "--text-column")
        return tuple(names)
    if not parts:
        return (TEXT_NAMES[0],)
    found = next(_common_texts(parts), None)
    if found is None:
        raise InputError(_no_text(parts))
    return (found,)


def choose_id(parts: Sequence[Part], given: str | None) -> str | None:
    """Return the column of ids: the one given, or the first conventional one, or None.

    Raises `SettingsError` for a given column that a part does not have.
    """
    parts = [part for part in parts if not part.is_blank]
    if given is not None:
        for part in parts:
            _require(part, [given], "--id-column")
        return given if parts else None
    columns = [part.table.column_names for part in parts]
    everywhere = (name for name in ID_NAMES if columns and all(name in names for names in columns))
    somewhere = (name for name in ID_NAMES if any(name in names for names in columns))
    return next(everywhere, None) or next(somewhere, None)


def _common_texts(parts: Sequence[Part]) -> Iterator[str]:
    """Yield the columns of all parts that are called like a text, whatever their case, best first."""
    columns = list(dict.fromkeys(name for part in parts for name in part.table.column_names))
    for wanted in TEXT_NAMES:
        for column in sorted(columns, key=lambda column: column != wanted):
            if column.lower() == wanted and all(column in part.table.column_names for part in parts):
                yield column


def _no_text(parts: Sequence[Part]) -> str:
    expected = ", ".join(TEXT_NAMES)
    for part in parts:
        if next(_common_texts([part]), None) is None:
            return (
                f"{part.name}: no text column: expected one called {expected}; the columns are "
                f"{listed(part.table.column_names)}: name one with --text-column"
            )
    found = [f"{next(_common_texts([part]))} in {part.name}" for part in parts]
    return (
        f"the files have no text column in common: {' and '.join(dict.fromkeys(found[:3]))}: "
        "read them apart, or rename the columns"
    )


def _require(part: Part, names: Sequence[str], flag: str) -> None:
    columns = part.table.column_names
    for name in names:
        if name not in columns:
            lower = {column.lower(): column for column in columns}
            near = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.5)
            hint = f"did you mean {shown(lower[near[0]])}? " if near else ""
            raise SettingsError(
                f"{part.name}: no column {shown(name)} ({flag}): {hint}the columns are {listed(columns)}"
            )


def make_texts(part: Part, names: Sequence[str]) -> pa.ChunkedArray:
    """Return the text of each row as `string`; several columns are joined by a space, missing ones skipped.

    Raises `InputError` with the first row whose text is null or no string.
    """
    columns = [require_texts(part, name) for name in names]
    missing = pc.is_null(columns[0])
    for column in columns[1:]:
        missing = pc.and_(missing, pc.is_null(column))
    row = first_true(missing)
    if row >= 0:
        raise InputError(
            f"{part.place(row)}: the text (column {listed(names)}) is null: "
            "give it a text, an empty one if need be, or remove the row"
        )
    texts = columns[0]
    for column in columns[1:]:
        texts = _joined(pc.fill_null(texts, ""), pc.fill_null(column, ""))
    return texts


def _joined(left: pa.ChunkedArray, right: pa.ChunkedArray) -> pa.ChunkedArray:
    """Join two columns without nulls by a space where both have a text."""
    # Not by null_handling="skip": pyarrow 26 leaves out the rows where every part is null.
    both = pc.and_(pc.not_equal(left, ""), pc.not_equal(right, ""))
    return pc.binary_join_element_wise(left, right, pc.if_else(both, " ", ""))


def require_texts(part: Part, name: str) -> pa.ChunkedArray:
    """Return a column as `string`. Raises `InputError` with the first row that holds something else."""
    if not part.table.num_rows:
        return pa.chunked_array([], pa.string())  # whatever type a library gives an empty column
    column = part.table.column(name)
    if name in part.mixed:
        raise InputError(
            f"{part.place(part.mixed[name])}: column {shown(name)} is not a string here: "
            "quote the value, or name another column with --text-column"
        )
    if not is_text(column.type) and not pa.types.is_null(column.type):
        row = max(first_true(pc.is_valid(column)), 0)
        raise InputError(
            f"{part.place(row)}: column {shown(name)} holds {shown(column.type)}, not strings: convert it, "
            "or name another column with --text-column"
        )
    return to_strings(column)


def make_ids(part: Part, name: str | None) -> pa.ChunkedArray:
    """Return the id of each row as `string`: of the column, or `file:row`, or the position in memory.

    Raises `InputError` for a null or empty id and a type that has no text.
    """
    if name is None or name not in part.table.column_names:
        return _numbered(part)
    column = part.table.column(name)
    try:
        ids = to_strings(column)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise InputError(
            f"{part.name}: column {shown(name)} holds {shown(column.type)}, not ids: "
            "name another one with --id-column"
        ) from None
    for mask, what in ((pc.is_null(ids), "null"), (pc.equal(ids, ""), "empty")):
        row = first_true(mask)
        if row >= 0:
            raise InputError(
                f"{part.place(row)}: the id (column {shown(name)}) is {what}: "
                "fill it, or name another column with --id-column"
            )
    return ids


def _numbered(part: Part) -> pa.ChunkedArray:
    first = 0 if part.label is None else 1
    rows = pa.array(np.arange(first, first + part.table.num_rows)).cast(pa.string())
    if part.label is not None:
        rows = pc.binary_join_element_wise(pa.scalar(part.label), rows, ":")
    return pa.chunked_array([rows])


def check_unique(ids: pa.ChunkedArray, parts: Sequence[Part], name: str | None) -> None:
    """Raise `InputError` with the first id that two documents have, and both their places."""
    if len(pc.unique(ids)) == len(ids):
        return
    seen: dict[str, str] = {}
    start = 0
    for part in parts:
        for row, doc_id in enumerate(ids.slice(start, part.table.num_rows).to_pylist()):
            if doc_id in seen:
                column = "" if name is None else f" (column {shown(name)})"
                raise InputError(
                    f"the id {shown(doc_id)}{column} is there twice: {seen[doc_id]} and {part.place(row)}: "
                    "ids must be unique, mend it or name another column with --id-column"
                )
            seen[doc_id] = part.place(row)
        start += part.table.num_rows
    raise AssertionError("some id was there twice")
