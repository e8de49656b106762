"""Which columns hold the text and the id, and their value for each document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import InputError, SettingsError
from .messages import display, display_all
from .parts import Part
from .values import find_first_true, is_text, to_strings

TEXT_NAMES = ("text", "question", "title", "body")
ID_NAMES = ("id", "qid", "doc_id", "Id", "ID")


def choose_text_columns(parts: Sequence[Part], setting: str | None) -> tuple[str, ...]:
    """Return the columns that make the text: those of the setting, or the first conventional one.

    Raises `SettingsError` for a column of the setting that a part does not have, `InputError` where no
    conventional name is in every part.
    """
    parts = [part for part in parts if not part.is_blank]
    if setting is not None:
        is_name = any(setting in part.table.column_names for part in parts)
        names = [setting] if is_name else [name.strip() for name in setting.split(",") if name.strip()]
        if not names:
            raise SettingsError(f"setting text_column: expected the name of a column, not {setting!r}")
        for part in parts:
            for name in names:
                part.require_column(name, "--text-column")
        return tuple(names)
    if not parts:
        return (TEXT_NAMES[0],)
    column = next(_common_text_columns(parts), None)
    if column is None:
        raise InputError(_explain_no_text(parts))
    return (column,)


def choose_id_column(parts: Sequence[Part], setting: str | None) -> str | None:
    """Return the column of ids: that of the setting, or the first conventional one, or None.

    Raises `SettingsError` for a column of the setting that a part does not have.
    """
    parts = [part for part in parts if not part.is_blank]
    if setting is not None:
        for part in parts:
            part.require_column(setting, "--id-column")
        return setting if parts else None
    columns = [part.table.column_names for part in parts]
    in_all = (name for name in ID_NAMES if columns and all(name in names for names in columns))
    in_any = (name for name in ID_NAMES if any(name in names for names in columns))
    return next(in_all, None) or next(in_any, None)


def _common_text_columns(parts: Sequence[Part]) -> Iterator[str]:
    """Yield the columns of all parts that have a conventional name in any case, best first."""
    columns = list(dict.fromkeys(name for part in parts for name in part.table.column_names))
    for name in TEXT_NAMES:
        for column in sorted(columns, key=lambda column: column != name):
            if column.lower() == name and all(column in part.table.column_names for part in parts):
                yield column


def _explain_no_text(parts: Sequence[Part]) -> str:
    for part in parts:
        if next(_common_text_columns([part]), None) is None:
            return (
                f"{part.name}: no text column: expected one called {', '.join(TEXT_NAMES)}; the columns are "
                f"{display_all(part.table.column_names)}: name one with --text-column"
            )
    examples = [f"{next(_common_text_columns([part]))} in {part.name}" for part in parts]
    return (
        f"the files have no text column in common: {' and '.join(dict.fromkeys(examples[:3]))}: "
        "read them separately, or rename the columns"
    )


def make_texts(part: Part, names: Sequence[str]) -> pa.ChunkedArray:
    """Return the text of each row as `string`; several columns are joined by a space, missing ones skipped.

    Raises `InputError` with the first row whose text is null or not a string.
    """
    columns = [require_texts(part, name) for name in names]
    missing = pc.is_null(columns[0])
    for column in columns[1:]:
        missing = pc.and_(missing, pc.is_null(column))
    row = find_first_true(missing)
    if row >= 0:
        raise InputError(
            f"{part.place(row)}: the text (column {display_all(names)}) is null: "
            "fill it, with an empty text if need be, or remove the row"
        )
    texts = columns[0]
    for column in columns[1:]:
        texts = _join(pc.fill_null(texts, ""), pc.fill_null(column, ""))
    return texts


def _join(left: pa.ChunkedArray, right: pa.ChunkedArray) -> pa.ChunkedArray:
    """Join two columns without nulls by a space where both have a text."""
    # Not by null_handling="skip": pyarrow 26 leaves out the rows where every part is null.
    both = pc.and_(pc.not_equal(left, ""), pc.not_equal(right, ""))
    return pc.binary_join_element_wise(left, right, pc.if_else(both, " ", ""))


def require_texts(part: Part, name: str) -> pa.ChunkedArray:
    """Return a column as `string`. Raises `InputError` with the first row that holds another type."""
    if not part.table.num_rows:
        return pa.chunked_array([], pa.string())  # libraries give an empty column any type
    column = part.table.column(name)
    if name in part.mixed:
        raise InputError(
            f"{part.place(part.mixed[name])}: column {display(name)} is not a string here: "
            "quote the value, or name another column with --text-column"
        )
    if not is_text(column.type) and not pa.types.is_null(column.type):
        row = max(find_first_true(pc.is_valid(column)), 0)
        raise InputError(
            f"{part.place(row)}: column {display(name)} holds {display(column.type)}, not strings: "
            "convert it, or name another column with --text-column"
        )
    return to_strings(column)


def make_ids(part: Part, name: str | None) -> pa.ChunkedArray:
    """Return the id of each row as `string`: of the column, or `file:row`, or the position in memory.

    Raises `InputError` for a null or empty id and a type that has no text.
    """
    if name is None or name not in part.table.column_names:
        return _number_rows(part)
    column = part.table.column(name)
    try:
        ids = to_strings(column)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise InputError(
            f"{part.name}: column {display(name)} holds {display(column.type)}, not ids: "
            "name another one with --id-column"
        ) from None
    for mask, problem in ((pc.is_null(ids), "null"), (pc.equal(ids, ""), "empty")):
        row = find_first_true(mask)
        if row >= 0:
            raise InputError(
                f"{part.place(row)}: the id (column {display(name)}) is {problem}: "
                "fill it, or name another column with --id-column"
            )
    return ids


def _number_rows(part: Part) -> pa.ChunkedArray:
    first = 0 if part.label is None else 1
    rows = pa.array(np.arange(first, first + part.table.num_rows)).cast(pa.string())
    if part.label is not None:
        rows = pc.binary_join_element_wise(pa.scalar(part.label), rows, ":")
    return pa.chunked_array([rows])


def check_unique(ids: pa.ChunkedArray, parts: Sequence[Part], name: str | None) -> None:
    """Raise `InputError` with the first id that two documents have, and both their places."""
    if len(pc.unique(ids)) == len(ids):
        return
    places: dict[str, str] = {}
    start = 0
    for part in parts:
        for row, doc_id in enumerate(ids.slice(start, part.table.num_rows).to_pylist()):
            if doc_id in places:
                column = "" if name is None else f" (column {display(name)})"
                raise InputError(
                    f"the id {display(doc_id)}{column} occurs twice: {places[doc_id]} and {part.place(row)}: "
                    "ids must be unique: correct it or name another column with --id-column"
                )
            places[doc_id] = part.place(row)
        start += part.table.num_rows
    raise AssertionError("an id occurs twice, but in no two rows")
