"""Files become one corpus."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from ..errors import InputError
from ..schema import DOC_ID, POSITION, TEXT, Corpus, InputFile
from ..settings import CorpusSettings
from .columns import check_unique, choose_id, choose_texts, make_ids, make_texts
from .formats import read_part
from .pairs import unite_questions
from .parts import Part, check_width, is_text, shown, to_strings
from .sources import find_sources

logger = logging.getLogger(__name__)


def read_corpus(inputs: Sequence[str | Path], settings: CorpusSettings) -> Corpus:
    """Read files, folders, globs and standard input ("-") as one corpus.

    CSV and TSV columns are strings exactly as written; blank lines hold no row. Of a Stack Exchange
    Posts.xml the rows of questions are kept, with every attribute but Body. JSON values of mixed type
    become strings, as do columns whose types differ between files. A pair file (qid1, qid2, question1,
    question2) becomes its questions by qid, unless a text column is set. Documents without id column get
    `file:row`, rows counted from 1. A user's column that is called `doc_id` or `text` but is not the id
    or text moves to `doc_id_original` or `text_original`, and `dupmine_position` likewise.

    Raises `InputError` with file and line or row for what cannot be read, and `SettingsError` for a
    column that is not there or standard input without a format.
    """
    started = time.perf_counter()
    sources = find_sources(inputs, settings.format)
    parts = [read_part(source, settings) for source in sources]
    corpus = assemble(parts, settings)
    seconds = time.perf_counter() - started
    logger.info("read %d documents from %d files in %.1f s", len(corpus.documents), len(parts), seconds)
    return corpus


def assemble(parts: Sequence[Part], settings: CorpusSettings) -> Corpus:
    """Make a corpus of parts: find texts and ids, unite the columns. Raises as `read_corpus` does."""
    if settings.text_column is None:
        parts = unite_questions(parts)
    text_names = choose_texts(parts, settings.text_column)
    id_name = choose_id(parts, settings.id_column)
    texts = _stacked([make_texts(part, text_names) for part in parts])
    ids = _stacked([make_ids(part, id_name) for part in parts])
    check_unique(ids, parts, id_name)
    logger.info("texts from column %s, ids from %s", ",".join(text_names), id_name or "positions")
    columns = {DOC_ID: ids, TEXT: texts}
    for name, column in _united(parts, settings.max_columns).items():
        own = (name == DOC_ID and name == id_name) or (name == TEXT and text_names == (TEXT,))
        if not (own and (is_text(column.type) or not len(column))):
            columns[_free(name, columns)] = column
    counts: dict[str, int] = {"invalid_utf8_replaced": 0}
    for part in parts:
        for key, count in part.counts.items():
            counts[key] = counts.get(key, 0) + count
    files = [InputFile(p.path, p.format, p.table.num_rows, p.sha256) for p in parts if p.path is not None]
    return Corpus(pa.table(columns), ",".join(text_names), id_name, tuple(files), counts)


def _stacked(columns: Sequence[pa.ChunkedArray]) -> pa.ChunkedArray:
    return pa.chunked_array([chunk for column in columns for chunk in column.chunks], pa.string())


def _free(name: str, taken: dict[str, pa.ChunkedArray]) -> str:
    """Return the name, or one with a suffix where it is taken or dupmine's own."""
    free = name
    while free in taken or free == POSITION:
        free += "_original"
    if free != name:
        logger.info("the column %s is kept as %s", name, free)
    return free


def _united(parts: Sequence[Part], max_columns: int) -> dict[str, pa.ChunkedArray]:
    """Stack the parts' columns by name, nulls where a part does not have one."""
    names = dict.fromkeys(name for part in parts for name in part.table.column_names)
    check_width("the files together", len(names), max_columns)
    united = {}
    for name in names:
        kind = _common_type(name, parts)
        chunks: list[pa.Array] = []
        for part in parts:
            if part.has(name):
                chunks += _as_type(part, name, kind).chunks
            else:
                chunks.append(pa.nulls(part.table.num_rows, kind))
        united[name] = pa.chunked_array(chunks, kind)
    return united


def _common_type(name: str, parts: Sequence[Part]) -> pa.DataType:
    """Return the type all parts agree on (nulls agree with any), else string."""
    kinds = [part.table.field(name).type for part in parts if part.has(name)]
    typed = list(dict.fromkeys(kind for kind in kinds if not pa.types.is_null(kind)))
    if not typed:
        return kinds[0]
    # Views are young: what reads Parquet and Arrow elsewhere may not know them.
    if len(typed) > 1 or pa.types.is_string_view(typed[0]):
        return pa.string()
    return typed[0]


def _as_type(part: Part, name: str, kind: pa.DataType) -> pa.ChunkedArray:
    column = part.table.column(name)
    if column.type == kind:
        return column
    if pa.types.is_null(column.type):
        return pa.chunked_array([pa.nulls(len(column), kind)])
    try:
        return to_strings(column)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise InputError(
            f"{part.name}: column {shown(name)} holds {shown(column.type)}, another type than in the other "
            "files, and cannot become a string: rename it or read the files apart"
        ) from None
