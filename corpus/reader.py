"""Files become one corpus."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from ..errors import InputError
from ..messages import display
from ..schema import DOC_ID, POSITION, TEXT, Corpus, InputFile
from ..settings import CorpusSettings
from .columns import check_unique, choose_id_column, choose_text_columns, make_ids, make_texts, treat_nulls
from .files import read_files
from .pairs import expand_pair_files
from .parts import Part, check_width
from .sources import find_sources
from .values import is_text, to_strings

logger = logging.getLogger(__name__)


def read_corpus(inputs: Sequence[str | Path], settings: CorpusSettings) -> Corpus:
    """Read files, folders, globs and standard input ("-") as one corpus.

    CSV and TSV columns are strings exactly as written; blank lines are skipped. Of a Stack Exchange
    Posts.xml the rows of questions are kept, with every attribute but Body. JSON values of mixed type
    become strings, as do columns whose types differ between files. A file of pairs (question1, question2)
    becomes its texts, by qid1 and qid2 where it has them, unless a text column is set. Documents without an
    id column get `file:row`, rows counted from 1. A column of the user that is called `doc_id` or `text` but
    is not the id or text becomes `doc_id_original` or `text_original`, and `dupmine_position` likewise.

    Raises `InputError` with file and line or row for what cannot be read, and `SettingsError` for a
    missing column or standard input without a format.
    """
    started = time.perf_counter()
    sources = find_sources(inputs, settings.format)
    parts = read_files(sources, settings)
    corpus = assemble(parts, settings)
    seconds = time.perf_counter() - started
    logger.info("read %d documents from %d files in %.1f s", len(corpus.documents), len(parts), seconds)
    return corpus


def assemble(parts: Sequence[Part], settings: CorpusSettings) -> Corpus:
    """Make a corpus of parts: find texts and ids, unite the columns. Raises as `read_corpus` does."""
    if settings.text_column is None:
        parts = expand_pair_files(parts, settings.nulls)
    text_names = choose_text_columns(parts, settings.text_column)
    id_name = choose_id_column(parts, settings.id_column)
    parts = [treat_nulls(part, text_names, settings.nulls) for part in parts]
    texts = _stack([make_texts(part, text_names) for part in parts])
    ids = _stack([make_ids(part, id_name) for part in parts])
    check_unique(ids, parts, id_name)
    logger.info("texts from column %s, ids from %s", ",".join(text_names), id_name or "positions")
    columns = {DOC_ID: ids, TEXT: texts}
    for name, column in _unite_columns(parts, settings.max_columns).items():
        is_same = (name == DOC_ID and name == id_name) or (name == TEXT and text_names == (TEXT,))
        if not (is_same and (is_text(column.type) or not len(column))):
            columns[_rename_taken(name, columns)] = column
    counts: dict[str, int] = {"invalid_utf8_replaced": 0}
    for part in parts:
        for key, count in part.counts.items():
            counts[key] = counts.get(key, 0) + count
        for option in part.guesses:
            counts[f"guessed_{option}"] = counts.get(f"guessed_{option}", 0) + 1
    files = [
        InputFile(part.path, part.format, part.table.num_rows, part.sha256, part.guesses)
        for part in parts
        if part.path is not None
    ]
    labels = parts[0].labels if id_name is None and len(parts) == 1 else None
    return Corpus(pa.table(columns), ",".join(text_names), id_name, tuple(files), counts, labels)


def _stack(columns: Sequence[pa.ChunkedArray]) -> pa.ChunkedArray:
    return pa.chunked_array([chunk for column in columns for chunk in column.chunks], pa.string())


def _rename_taken(name: str, taken: dict[str, pa.ChunkedArray]) -> str:
    """Return the name, with a suffix where it is taken or reserved."""
    new = name
    while new in taken or new == POSITION:
        new += "_original"
    if new != name:
        logger.info("the column %s is kept as %s", name, new)
    return new


def _unite_columns(parts: Sequence[Part], max_columns: int) -> dict[str, pa.ChunkedArray]:
    """Stack the parts' columns by name, with nulls where a part does not have one."""
    names = dict.fromkeys(name for part in parts for name in part.table.column_names)
    check_width("the files together", len(names), max_columns)
    columns = {}
    for name in names:
        kind = _common_type(name, parts)
        chunks: list[pa.Array] = []
        for part in parts:
            if part.has(name):
                chunks += _cast(part, name, kind).chunks
            else:
                chunks.append(pa.nulls(part.table.num_rows, kind))
        columns[name] = pa.chunked_array(chunks, kind)
    return columns


def _common_type(name: str, parts: Sequence[Part]) -> pa.DataType:
    """Return the type all parts agree on (nulls agree with any), else string."""
    kinds = [part.table.field(name).type for part in parts if part.has(name)]
    typed = list(dict.fromkeys(kind for kind in kinds if not pa.types.is_null(kind)))
    if not typed:
        return kinds[0]
    # Other readers of Parquet and Arrow may not support views yet.
    if len(typed) > 1 or pa.types.is_string_view(typed[0]):
        return pa.string()
    return typed[0]


def _cast(part: Part, name: str, kind: pa.DataType) -> pa.ChunkedArray:
    column = part.table.column(name)
    if column.type == kind:
        return column
    if pa.types.is_null(column.type):
        return pa.chunked_array([pa.nulls(len(column), kind)])
    try:
        return to_strings(column)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise InputError(
            f"{part.name}: column {display(name)} holds {display(column.type)}, another type than in the "
            "other files, and cannot become a string: rename it or read the files separately"
        ) from None
