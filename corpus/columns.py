"""Which columns hold the text and the id, and their value for each document."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import InputError, SettingsError
from ..messages import display, display_all
from .ids import to_ids
from .parts import Part
from .values import find_first_true, is_text, to_strings

logger = logging.getLogger(__name__)

TEXT_NAMES = (
    "text",
    "question",
    "query",
    "prompt",
    "sentence",
    "utterance",
    "content",
    "title",
    "body",
    "name",
    "message",
)
ID_NAMES = ("id", "qid", "doc_id", "Id", "ID", "_id", "uuid")
_SAMPLED = 1000  # values that tell whether a column holds texts
_NO_WORDS = r"^[\s\d.,:;/+()%$€£T-]*$|^[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}$|^https?://\S*$"


def choose_text_columns(parts: Sequence[Part], setting: str | None) -> tuple[str, ...]:
    """Return the columns that make the text: of the setting, the first conventional or the only one.

    Raises `SettingsError` for a column of the setting that a part does not have, `InputError` where no
    conventional name is in every part and several columns, or none, hold texts.
    """
    parts = [part for part in parts if not part.is_blank]
    if setting is not None:
        is_name = any(part.has(setting) for part in parts)
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
    if column is not None:
        return (column,)
    if all(next(_common_text_columns([part]), None) is None for part in parts):
        others = _columns_of_texts(parts)
        if len(others) == 1:
            _check_header(parts[0], others[0])
            logger.warning(
                "%s: texts are read from column %s, the only one with words (--text-column names another)",
                parts[0].name,
                display(others[0]),
            )
            return (others[0],)
    raise InputError(_explain_no_text(parts))


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


def _check_header(part: Part, name: str) -> None:
    """Raise `InputError` where the column of texts has a name that none would choose.

    One that looks like a text, or stands beside numbers and nulls, may be of a row. One with known names in
    it may be a header with a delimiter that is not known.
    """
    if part.path is None:
        return
    names = re.split(r"[^\w ]+|  +", name.lower())
    if len(part.table.column_names) == 1 and len(names) > 1 and {*TEXT_NAMES, *ID_NAMES}.intersection(names):
        raise InputError(
            f"{part.name}: the header is one column, {display(name)}: set --delimiter to what separates the "
            "names, or name the column with --text-column"
        )
    is_text = len(name.split()) > 3 or name.rstrip().endswith(("?", ".", "!"))
    others = [other for other in part.table.column_names if re.fullmatch(r"[+-]?\d+([.,]\d+)?|\\N", other)]
    if is_text or name == r"\N" or (others and name not in others):
        raise InputError(
            f"{part.name}: the first line may be a row and not a header, as it has the column "
            f"{display(name)}: set --no-header or --columns, or name the column with --text-column"
        )


def _columns_of_texts(parts: Sequence[Part]) -> list[str]:
    """Return the columns of all parts that hold words in each, but for those of ids."""
    names = [name for name in parts[0].table.column_names if name not in ID_NAMES]
    return [name for name in names if all(part.has(name) and _has_words(part, name) for part in parts)]


def _has_words(part: Part, name: str) -> bool:
    column = part.column(name)
    if not is_text(column.type) or name in part.mixed:
        return False
    values = to_strings(column.slice(0, _SAMPLED))
    return not pc.all(pc.fill_null(pc.match_substring_regex(values, _NO_WORDS), True)).as_py()


def _explain_no_text(parts: Sequence[Part]) -> str:
    for part in parts:
        if next(_common_text_columns([part]), None) is None:
            return (
                f"{part.name}: no text column: expected one called {', '.join(TEXT_NAMES)}; the columns are "
                f"{display_all(part.column_names())}: name one with --text-column"
            )
    examples = [f"{next(_common_text_columns([part]))} in {part.name}" for part in parts]
    return (
        f"the files have no text column in common: {' and '.join(dict.fromkeys(examples[:3]))}: "
        "read them separately, or rename the columns"
    )


def treat_nulls(part: Part, names: Sequence[str], nulls: str) -> Part:
    """Drop the rows whose texts are all null, or leave them to become empty, as `nulls` says, and count them.

    Raises `InputError` with the first such row and their number where `nulls` is "error".
    """
    missing = pc.is_null(require_texts(part, names[0]))
    for name in names[1:]:
        missing = pc.and_(missing, pc.is_null(require_texts(part, name)))
    count = int(pc.sum(missing).as_py() or 0)
    if not count:
        return part
    if nulls == "error":
        more = f", the first of {count:,}" if count > 1 else ""
        raise InputError(
            f"{part.place(find_first_true(missing))}: the text (column {display_all(names)}) is null{more}: "
            "fill it, or set --nulls to drop or empty"
        )
    counts = {**part.counts, f"null_texts_{nulls}": part.counts.get(f"null_texts_{nulls}", 0) + count}
    if nulls == "drop":
        part = part.take(np.flatnonzero(~missing.to_numpy()))
    return replace(part, counts=counts)


def make_texts(part: Part, names: Sequence[str]) -> pa.ChunkedArray:
    """Return the text of each row as `string`; several columns are joined by a space, missing ones skipped.

    Raises `InputError` with the first row whose text is not a string.
    """
    texts, *others = (pc.fill_null(require_texts(part, name), "") for name in names)
    for column in others:
        texts = _join(texts, column)
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
    column = part.column(name)
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
    if name is None or not part.has(name):
        return _number_rows(part)
    ids = to_ids(part.column(name), part.name, name)
    for mask, problem in ((pc.is_null(ids), "null"), (pc.equal(ids, ""), "empty")):
        row = find_first_true(mask)
        if row >= 0:
            raise InputError(
                f"{part.place(row)}: the id (column {display(name)}) is {problem}: "
                "fill it, or name another column with --id-column"
            )
    return ids


def _number_rows(part: Part) -> pa.ChunkedArray:
    if part.made_ids is not None:
        return pa.chunked_array([part.made_ids])
    numbers = np.arange(part.table.num_rows) if part.rows is None else part.rows
    rows = pa.array(numbers + (part.label is not None)).cast(pa.string())
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
