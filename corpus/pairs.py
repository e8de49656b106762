"""A file of question pairs, such as Kaggle's Quora file, becomes the corpus of its questions."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import InputError
from ..schema import Rows
from .columns import require_texts
from .messages import display
from .parts import Part
from .values import find_first_true, to_strings

logger = logging.getLogger(__name__)

PAIR_COLUMNS = ("qid1", "qid2", "question1", "question2")


def is_pair_file(part: Part) -> bool:
    """Return whether the part has the columns of a pair file."""
    return set(PAIR_COLUMNS) <= set(part.table.column_names)


def expand_pair_files(parts: Sequence[Part]) -> list[Part]:
    """Replace pair files by their questions: `qid` and `question`, each qid once, in order of appearance.

    The qids of several pair files are one space of ids. The pairs' other columns belong to no single
    question and are left out. Raises `InputError` naming a qid with two different questions.
    """
    pair_files = [part for part in parts if is_pair_file(part)]
    if not pair_files:
        return list(parts)
    qids, questions = _interleave(pair_files)
    first = _first_rows(qids, questions, pair_files)
    expanded = []
    start = 0
    for part in parts:
        if not is_pair_file(part):
            expanded.append(part)
            continue
        end = start + 2 * part.table.num_rows
        expanded.append(_questions_of(part, qids, questions, first[(first >= start) & (first < end)], start))
        start = end
    return expanded


def _interleave(parts: Sequence[Part]) -> tuple[pa.Array, pa.Array]:
    """Return qids and questions of all pairs, the two sides of a pair one after the other."""
    qids: list[pa.Array] = []
    questions: list[pa.Array] = []
    sides = [part.table.column(name) for part in parts for name in PAIR_COLUMNS[:2]]
    all_integer = len({side.type for side in sides}) == 1 and pa.types.is_integer(sides[0].type)
    for part in parts:
        n = part.table.num_rows
        order = pa.array(np.arange(2 * n).reshape(2, n).T.ravel())
        ids = [_qids(part, name, as_strings=not all_integer) for name in PAIR_COLUMNS[:2]]
        texts = [_question(part, name) for name in PAIR_COLUMNS[2:]]
        qids.append(pa.concat_arrays(ids).take(order))
        questions.append(pa.concat_arrays(texts).take(order))
    return pa.concat_arrays(qids), pa.concat_arrays(questions)


def _qids(part: Part, name: str, *, as_strings: bool) -> pa.Array:
    column = part.table.column(name)
    row = find_first_true(pc.is_null(column))
    if row >= 0:
        raise InputError(f"{part.place(row)}: {name} is null: give both questions of a pair a qid")
    try:
        return (to_strings(column) if as_strings else column).combine_chunks()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise InputError(f"{part.name}: column {name} holds {display(column.type)}, not ids") from None


def _question(part: Part, name: str) -> pa.Array:
    column = require_texts(part, name)
    row = find_first_true(pc.is_null(column))
    if row >= 0:
        raise InputError(f"{part.place(row)}: {name} is null: fill it, with an empty text if need be")
    # Large strings: all questions become one array.
    return column.cast(pa.large_string()).combine_chunks()


def _first_rows(qids: pa.Array, questions: pa.Array, parts: Sequence[Part]) -> Rows:
    """Return where each qid appears first, ascending."""
    codes = qids.dictionary_encode().indices.to_numpy()
    texts = questions.dictionary_encode().indices.to_numpy()
    _, first = np.unique(codes, return_index=True)
    clashing = np.flatnonzero(texts != texts[first[codes]]) if len(codes) else codes
    if len(clashing):
        row = int(clashing[0])
        places = [_pair_place(int(position), parts) for position in (first[codes[row]], row)]
        raise InputError(
            f"qid {display(qids[row].as_py())} has two different questions: {places[0]} and {places[1]}: "
            "give different questions different qids"
        )
    return first.astype(np.int64)


def _pair_place(position: int, parts: Sequence[Part]) -> str:
    for part in parts:
        if position < 2 * part.table.num_rows:
            return part.place(position // 2)
        position -= 2 * part.table.num_rows
    raise AssertionError("the position is outside all parts")


def _questions_of(part: Part, qids: pa.Array, questions: pa.Array, first: Rows, start: int) -> Part:
    rows = pa.array(first)
    texts = to_strings(pa.chunked_array([questions.take(rows)]))
    table = pa.table({"qid": qids.take(rows), "question": texts})
    logger.info("%s: %d pairs become %d questions", part.name, part.table.num_rows, len(first))
    return replace(part, table=table, mixed={}, rows=(first - start) // 2)
