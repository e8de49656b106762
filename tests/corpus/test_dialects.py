"""Tables in every dialect: what was written is read back, or refused with a line; no row is lost silently."""

from __future__ import annotations

import csv
import io
import os
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from dupmine.corpus.files import read_files
from dupmine.corpus.parts import Part
from dupmine.corpus.sources import find_sources
from dupmine.errors import InputError
from dupmine.settings import CorpusSettings

from .test_readers import write

# The long form: DUPMINE_FUZZ_EXAMPLES=10000.
many = settings(
    max_examples=int(os.environ.get("DUPMINE_FUZZ_EXAMPLES", "200")),
    deadline=None,
    derandomize="DUPMINE_FUZZ_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
Table = list[list[str]]

# What people ask, with whatever delimited files stumble over.
PIECES = [
    "What is love?", "How", " ", "a", "1", "42", "20-01-31", '"', "'", '""', "''", ",", ";", "\t", "|", "\\",
    '\\"', "\\N", "\\n", "\n", "\r\n", "\n2,", "\n3\t", ",1", "é", "\u2028", "NULL", "C:\\dir\\", "#", "x\\,",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES), max_size=6).map("".join)
WORDS = st.sampled_from(
    ["How do I learn Python?", "Why?", 'What is a 5" screen?', 'Who said "Hi"?', "So, how?"]
)
# MySQL's mark of a null is a text of nobody.
FIELDS = (TEXTS | WORDS).filter(lambda text: text != "\\N")
HEADERS = [["text"], ["id", "text"], ["text", "label"], ["id", "text", "label"]]


@st.composite
def tables(draw: st.DrawFn, fields: st.SearchStrategy[str] = FIELDS) -> Table:
    """Return a header and rows: ids are numbers or codes, labels 0 or 1."""
    header = draw(st.sampled_from(HEADERS))
    code = draw(st.sampled_from(["{}", "q{}", "2020-{}"]))
    rows = draw(st.lists(fields, max_size=6))
    values = [
        {"id": code.format(i), "text": text, "label": str(len(text) % 2)} for i, text in enumerate(rows, 1)
    ]
    return [header, *([row[name] for name in header] for row in values)]


def read(path: Path, **options: object) -> Part:
    values = CorpusSettings(**options)
    return read_files(find_sources([path], values.format), values)[0]


def check(path: Path, table: Table, *, exactly: bool | None = True, **options: object) -> None:
    """Read a file: the rows of the table, or an error with a line.

    Not `exactly` so where another program writes the same file for another table: then no row may be lost.
    With None it is exactly so unless something is guessed.
    """
    try:
        part = read(path, **options)
    except InputError as error:
        assert re.search(r", line \d+: ", str(error)), error  # noqa: PT017  (either outcome is right)
        event(f"refused: {re.sub('.*, line [0-9]+: ', '', str(error))[:50]}")
        return
    event("read with guesses" if part.guesses else "read")
    rows = [list(row.values()) for row in part.table.to_pylist()]
    if exactly or (exactly is None and not part.guesses):
        assert [part.table.column_names, *rows] == table
    # A single column cannot tell lines from rows: where they are joined, that is said.
    is_said = len(table[0]) == 1 and part.guesses.get("quote") == '"'
    assert len(rows) >= len(table) - 1 or is_said


def written(table: Table, **dialect: Any) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out, **dialect).writerows(table)
    return out.getvalue().encode()


@pytest.mark.parametrize("dialect", csv.list_dialects())
@many
@given(table=tables())
def test_dialects_of_python(tmp_path: Path, dialect: str, table: Table) -> None:
    name = "q.tsv" if dialect == "excel-tab" else "q.csv"
    check(write(tmp_path / name, written(table, dialect=dialect)), table)


@many
@given(
    table=tables(),
    name=st.sampled_from(["q.csv", "q.tsv"]),
    delimiter=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_delimiters_and_quoting(
    tmp_path: Path, table: Table, name: str, delimiter: str, quoting: int, end: str
) -> None:
    data = written(table, delimiter=delimiter, quoting=quoting, lineterminator=end)
    check(write(tmp_path / name, data), table)
    option = "tab" if delimiter == "\t" else delimiter
    check(tmp_path / name, table, delimiter=option, quote='"', escape="none")


@many
@given(
    table=tables(),
    separator=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_tables_of_pandas(tmp_path: Path, table: Table, separator: str, quoting: Any) -> None:
    frame = pd.DataFrame(table[1:], columns=table[0])
    text = frame.to_csv(index=False, sep=separator, quoting=quoting)
    check(write(tmp_path / "q.csv", text), table)


def as_spark(table: Table, separator: str, *, quote_all: bool) -> str:
    """Write as Spark does: a backslash before quotes, and before the backslashes that stand before one."""

    def field(text: str) -> str:
        if text and not quote_all and not (set(text) & {separator, '"', "\n", "\r"}):
            return text
        inner = re.sub(r'(\\*)"', r'\1\1\\"', text)
        return '"' + re.sub(r"(\\+)\Z", r"\1\1", inner) + '"'

    return "".join(separator.join(map(field, row)) + "\n" for row in table)


@many
@given(table=tables(), separator=st.sampled_from(",;\t"), quote_all=st.booleans())
def test_tables_of_spark(tmp_path: Path, table: Table, separator: str, quote_all: bool) -> None:
    path = write(tmp_path / "q.csv", as_spark(table, separator, quote_all=quote_all))
    check(path, table, exactly=None)
    option = "tab" if separator == "\t" else separator
    check(path, table, delimiter=option, quote='"', escape="spark")


def as_mysql(table: Table, kind: str) -> str:
    """Write as MySQL does: with tabs (outfile), with quotes (enclosed), or in batch mode (batch)."""
    signs = {"\\": "\\\\", "\0": "\\0"}
    if kind == "outfile":
        signs |= {"\t": "\\\t", "\n": "\\\n"}
    elif kind == "enclosed":
        signs |= {'"': '\\"'}
    else:
        signs |= {"\t": "\\t", "\n": "\\n"}
    quote, separator = ('"', ",") if kind == "enclosed" else ("", "\t")
    fields = ([quote + "".join(signs.get(c, c) for c in text) + quote for text in row] for row in table)
    return "".join(separator.join(row) + "\n" for row in fields)


@pytest.mark.parametrize("kind", ["outfile", "enclosed", "batch"])
@many
@given(table=tables(FIELDS.map(lambda text: text.replace("\r", "") or "empty")))
def test_dumps_of_mysql(tmp_path: Path, kind: str, table: Table) -> None:
    path = write(tmp_path / ("q.csv" if kind == "enclosed" else "q.tsv"), as_mysql(table, kind))
    check(path, table, exactly=False)
    check(path, table, escape="mysql", quote='"' if kind == "enclosed" else "none")


@many
@given(
    table=tables(FIELDS.filter(bool)),
    delimiter=st.sampled_from(",;\t|"),
    options=st.sampled_from(
        [
            {"quoting": csv.QUOTE_MINIMAL, "escapechar": "\\", "doublequote": False},
            {"quoting": csv.QUOTE_ALL, "escapechar": "\\", "doublequote": False},
            {"quoting": csv.QUOTE_NONE, "escapechar": "\\"},
            {"quoting": csv.QUOTE_NONE, "escapechar": "~"},
            {"quoting": csv.QUOTE_MINIMAL, "quotechar": "'"},
            {"quoting": csv.QUOTE_ALL, "quotechar": "'"},
            {"quoting": csv.QUOTE_NONNUMERIC, "quotechar": "`"},
        ]
    ),
)
def test_other_quotes_and_escapes(
    tmp_path: Path, table: Table, delimiter: str, options: dict[str, object]
) -> None:
    path = write(tmp_path / "q.csv", written(table, delimiter=delimiter, **options))
    check(path, table, exactly=False)
    quote = "none" if options["quoting"] == csv.QUOTE_NONE else str(options.get("quotechar", '"'))
    name = "tab" if delimiter == "\t" else delimiter
    check(path, table, delimiter=name, quote=quote, escape=str(options.get("escapechar", "none")))
