"""A file of pairs, such as Kaggle's Quora file, becomes the corpus of its texts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import InputError
from ..messages import display
from ..schema import Rows
from .columns import TEXT_NAMES, require_texts, treat_nulls
from .ids import to_ids
from .parts import Part
from .values import find_first_true, to_strings

logger = logging.getLogger(__name__)

PAIR_NAMES = (
    ("question1", "question2"),
    ("question_1", "question_2"),
    ("sentence1", "sentence2"),
    ("sentence_1", "sentence_2"),
    ("text1", "text2"),
    ("text_1", "text_2"),
)
QID_NAMES = ("qid1", "qid2")
_TEXT, _ID = "question", "qid"


def find_pair_columns(part: Part) -> tuple[str, str] | None:
    """Return the two columns of texts of a pair file, None for another file."""
    columns = set(part.table.column_names)
    names = next((names for names in PAIR_NAMES if columns.issuperset(names)), None)
    if names is None or columns.issuperset(QID_NAMES):
        return names
    has_text = any(column.lower() in TEXT_NAMES for column in columns)
    return None if has_text else names


def expand_pair_files(parts: Sequence[Part], nulls: str) -> list[Part]:
    """Replace pair files by their texts, each once, in order of appearance.

    With qids a question is one qid, and the qids of several files are one space of ids; the new columns are
    `qid` and `question`. Without qids equal texts are one. The pairs' other columns belong to no single
    text and are left out. Raises `InputError` naming a qid with two different questions.
    """
    names = [find_pair_columns(part) for part in parts]
    with_qids = [part for part, pair in zip(parts, names, strict=True) if pair and _has_qids(part)]
    expanded_qids = iter(_expand_qids(with_qids, nulls))
    return [
        part if pair is None else next(expanded_qids) if _has_qids(part) else _expand_texts(part, pair, nulls)
        for part, pair in zip(parts, names, strict=True)
    ]


def _has_qids(part: Part) -> bool:
    return set(QID_NAMES) <= set(part.table.column_names)


def _expand_texts(part: Part, names: tuple[str, str], nulls: str) -> Part:
    """Return the different texts of a file without qids, with ids made of row and column."""
    part = _without_nulls(part, names, nulls)
    texts = pc.fill_null(_interleave([_texts(part, name) for name in names]), "")
    first = _first_of_each(texts.dictionary_encode().indices.to_numpy())
    rows = first // 2
    numbers = rows if part.rows is None else part.rows[rows]
    places = pa.array(numbers + (part.label is not None)).cast(pa.string())
    sides = pa.array(names).take(pa.array(first % 2))
    label = [] if part.label is None else [pa.scalar(part.label)]
    ids = pc.binary_join_element_wise(*label, places, sides, ":")
    return _replace_by(part, pa.table({_TEXT: _as_strings(texts.take(pa.array(first)))}), rows, ids)


def _expand_qids(parts: Sequence[Part], nulls: str) -> list[Part]:
    if not parts:
        return []
    pairs = [find_pair_columns(part) or PAIR_NAMES[0] for part in parts]
    parts = [_without_nulls(part, names, nulls) for part, names in zip(parts, pairs, strict=True)]
    qids = _all_qids(parts)
    questions = pa.concat_arrays(
        [
            pc.fill_null(_interleave([_texts(part, name) for name in names]), "")
            for part, names in zip(parts, pairs, strict=True)
        ]
    )
    first = _first_of_each(qids.dictionary_encode().indices.to_numpy())
    _check_qids(qids, questions, first, parts)
    expanded = []
    start = 0
    for part in parts:
        end = start + 2 * part.table.num_rows
        chosen = first[(first >= start) & (first < end)]
        rows = pa.array(chosen)
        table = pa.table({_ID: qids.take(rows), _TEXT: _as_strings(questions.take(rows))})
        expanded.append(_replace_by(part, table, (chosen - start) // 2, None))
        start = end
    return expanded


def _replace_by(part: Part, table: pa.Table, rows: Rows, made_ids: pa.Array | None) -> Part:
    logger.info("%s: %d pairs become %d texts", part.name, part.table.num_rows, len(table))
    rows = rows if part.rows is None else part.rows[rows]
    return replace(part, table=table, mixed={}, rows=rows, made_ids=made_ids, labels=None)


def _without_nulls(part: Part, names: Sequence[str], nulls: str) -> Part:
    """Treat the nulls of both columns: a pair is dropped where either text is null."""
    for name in names:
        part = treat_nulls(part, [name], nulls)
    return part


def _texts(part: Part, name: str) -> pa.Array:
    # Large strings: all questions become one array.
    return require_texts(part, name).cast(pa.large_string()).combine_chunks()


def _as_strings(texts: pa.Array) -> pa.ChunkedArray:
    return to_strings(pa.chunked_array([texts]))


def _interleave(sides: Sequence[pa.Array]) -> pa.Array:
    """Return the values of two columns, the two of a row one after the other."""
    order = np.arange(2 * len(sides[0])).reshape(2, -1).T.ravel()
    return pa.concat_arrays(sides).take(pa.array(order))


def _all_qids(parts: Sequence[Part]) -> pa.Array:
    sides = [part.table.column(name) for part in parts for name in QID_NAMES]
    all_integer = len({side.type for side in sides}) == 1 and pa.types.is_integer(sides[0].type)
    columns = [[_qids(part, name, as_strings=not all_integer) for name in QID_NAMES] for part in parts]
    return pa.concat_arrays([_interleave(pair) for pair in columns])


def _qids(part: Part, name: str, *, as_strings: bool) -> pa.Array:
    column = part.table.column(name)
    row = find_first_true(pc.is_null(column))
    if row >= 0:
        raise InputError(f"{part.place(row)}: {name} is null: give both questions of a pair a qid")
    return (to_ids(column, part.name, name) if as_strings else column).combine_chunks()


def _first_of_each(codes: Rows) -> Rows:
    """Return where each code appears first, ascending."""
    return np.sort(np.unique(codes, return_index=True)[1]).astype(np.int64)


def _check_qids(qids: pa.Array, questions: pa.Array, first: Rows, parts: Sequence[Part]) -> None:
    """Raise `InputError` with the first qid that has two different questions."""
    codes = qids.dictionary_encode().indices.to_numpy()
    texts = questions.dictionary_encode().indices.to_numpy()
    clashing = np.flatnonzero(texts != texts[first[codes]]) if len(codes) else codes
    if len(clashing):
        position = int(clashing[0])
        places = [_pair_place(int(place), parts) for place in (first[codes[position]], position)]
        raise InputError(
            f"qid {display(qids[position].as_py())} has two different questions: {' and '.join(places)}: "
            "give different questions different qids"
        )


def _pair_place(position: int, parts: Sequence[Part]) -> str:
    for part in parts:
        if position < 2 * part.table.num_rows:
            return part.place(position // 2)
        position -= 2 * part.table.num_rows
    raise AssertionError("the position is outside all parts")
