"""Columns, ids, pair files and what Python callers pass."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dupmine.corpus import corpus_from, read_corpus
from dupmine.errors import DupmineError, InputError
from dupmine.settings import CorpusSettings

from .test_readers import rows, write

AUTO = CorpusSettings()


def problem(data: object, **settings: object) -> str:
    with pytest.raises(DupmineError) as caught:
        corpus_from(data, CorpusSettings(**settings))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("columns", "text", "ids"),
    [
        (["body", "title", "Question"], "Question", None),
        (["TEXT", "text", "Id", "qid"], "text", "qid"),
        (["Body", "ID"], "Body", "ID"),
        (["title", "doc_id", "Id"], "title", "doc_id"),
    ],
)
def test_columns_are_found_by_convention(columns: list[str], text: str, ids: str | None) -> None:
    corpus = corpus_from(pa.table({name: [name] for name in columns}), AUTO)
    assert (corpus.text_column, corpus.id_column) == (text, ids)
    assert rows(corpus) == [(ids or "0", text)]


def test_several_text_columns_are_joined() -> None:
    table = pa.table({"title": ["a", "", None, ""], "body": ["b", "c", "d", None], "n": ["1", "2", "3", "4"]})
    corpus = corpus_from(table, CorpusSettings(text_column="title, body", id_column="n"))
    assert rows(corpus) == [("1", "a b"), ("2", "c"), ("3", "d"), ("4", "")]
    assert corpus.text_column == "title,body"
    both_null = pa.table({"title": ["a", None], "body": ["b", None]})
    assert problem(both_null, text_column="title,body").startswith(
        "row 1 (counted from 0): the text (column title, body) is null: "
    )


def test_a_comma_in_a_column_name() -> None:
    corpus = corpus_from(pa.table({"a,b": ["x"], "a": ["y"]}), CorpusSettings(text_column="a,b"))
    assert (rows(corpus), corpus.text_column) == ([("0", "x")], "a,b")


def test_own_columns_called_doc_id_and_text() -> None:
    same = corpus_from(pa.table({"text": ["t"], "doc_id": ["d"], "x": [1]}), AUTO)
    assert same.documents.to_pydict() == {"doc_id": ["d"], "text": ["t"], "x": [1]}
    other = pa.table({"text": ["t"], "doc_id": [7], "question": ["q"]})
    corpus = corpus_from(other, CorpusSettings(text_column="question"))
    assert corpus.documents.to_pydict() == {
        "doc_id": ["7"],
        "text": ["q"],
        "text_original": ["t"],
        "doc_id_original": [7],
        "question": ["q"],
    }


def test_an_own_column_called_as_the_position() -> None:
    corpus = corpus_from(pa.table({"text": ["t"], "dupmine_position": [3]}), AUTO)
    assert corpus.documents.column_names == ["doc_id", "text", "dupmine_position_original"]


def test_files_are_united_by_column(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "text,score,only_a\nx,007,1\n")
    write(tmp_path / "b.jsonl", '{"id": "b1", "text": "y", "score": 3, "none": null}\n')
    write(tmp_path / "c.jsonl", "")
    corpus = read_corpus([tmp_path], AUTO)
    assert corpus.documents.to_pydict() == {
        "doc_id": ["a.csv:1", "b1"],
        "text": ["x", "y"],
        "score": ["007", "3"],
        "only_a": ["1", None],
        "id": [None, "b1"],
        "none": [None, None],
    }
    assert [file.documents for file in corpus.files] == [1, 1, 0]


def test_columns_that_cannot_be_united(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "text,tags\nx,t\n")
    write(tmp_path / "b.jsonl", '{"text": "y", "tags": ["t"]}\n')
    with pytest.raises(InputError, match=r"b\.jsonl: column tags holds list<item: string>, another type"):
        read_corpus([tmp_path], AUTO)


PAIRS = {
    "id": [0, 1, 2],
    "qid1": [5, 3, 5],
    "qid2": [4, 5, 9],
    "question1": ['a\n"q"', "c", 'a\n"q"'],
    "question2": ["b", 'a\n"q"', ""],
    "is_duplicate": [0, 1, 0],
}
QUESTIONS = [("5", 'a\n"q"'), ("4", "b"), ("3", "c"), ("9", "")]


def test_a_pair_file_is_the_union_of_its_questions(tmp_path: Path) -> None:
    pq.write_table(pa.table(PAIRS), tmp_path / "p.parquet")
    pd.DataFrame(PAIRS).to_csv(tmp_path / "p.csv", index=False)
    for name, kind in (("p.parquet", pa.int64()), ("p.csv", pa.string())):
        corpus = read_corpus([tmp_path / name], AUTO)
        assert rows(corpus) == QUESTIONS
        assert (corpus.text_column, corpus.id_column) == ("question", "qid")
        assert corpus.documents.column_names == ["doc_id", "text", "qid", "question"]
        assert corpus.documents.schema.field("qid").type == kind
        assert corpus.files[0].documents == 4
    joined = read_corpus([tmp_path / "p.csv"], CorpusSettings(text_column="question1"))
    assert rows(joined) == [("0", 'a\n"q"'), ("1", "c"), ("2", 'a\n"q"')]


def test_several_pair_files_share_their_qids(tmp_path: Path) -> None:
    pq.write_table(pa.table(PAIRS).slice(0, 1), tmp_path / "a.parquet")
    pa_rest = pa.table(PAIRS).slice(1).to_pandas()
    pa_rest.to_csv(tmp_path / "b.csv", index=False)
    corpus = read_corpus([tmp_path], AUTO)
    assert rows(corpus) == QUESTIONS
    assert [file.documents for file in corpus.files] == [2, 2]
    write(tmp_path / "c.csv", "qid,question\n8,z\n3,y\n")
    with pytest.raises(InputError, match=r"the id 3 .* twice: \S*b\.csv, row 1 and \S*c\.csv, row 2"):
        read_corpus([tmp_path], AUTO)


def test_bad_pair_files() -> None:
    clash = {**PAIRS, "question2": ["b", "other", ""]}
    assert problem(pa.table(clash)) == (
        "qid 5 has two different questions: row 0 (counted from 0) and row 1 (counted from 0): give "
        "different questions different qids"
    )
    assert problem(pa.table({**PAIRS, "qid2": [4, None, 9]})) == (
        "row 1 (counted from 0): qid2 is null: give both questions of a pair a qid"
    )
    assert problem(pa.table({**PAIRS, "question1": ["a", "c", None]})) == (
        "row 2 (counted from 0): the text (column question1) is null: fill it, or set nulls to drop or empty"
    )
    empty = pa.table({name: pa.array([], pa.string()) for name in PAIRS})
    assert rows(corpus_from(empty, AUTO)) == []


TEXTS = ["a", "", "caf\u00e9"]


@pytest.mark.parametrize(
    "data",
    [
        TEXTS,
        tuple(TEXTS),
        pd.Series(TEXTS),
        pd.Series(TEXTS, dtype=object, index=[7, 7, 9]),
        pd.Index(TEXTS),
        iter(TEXTS),
        (text for text in TEXTS),
        dict.fromkeys(TEXTS).keys(),
        pl.Series(TEXTS),
        pa.array(TEXTS),
        pa.chunked_array([TEXTS[:1], TEXTS[1:]]),
        np.array(TEXTS),
    ],
    ids=lambda data: f"{type(data).__module__}.{type(data).__name__}",
)
def test_texts_from_python(data: object) -> None:
    # A column set for files does not get in the way of plain texts.
    corpus = corpus_from(data, CorpusSettings(text_column="question"))
    assert rows(corpus) == [("0", "a"), ("1", ""), ("2", "caf\u00e9")]
    assert corpus.documents.column_names == ["doc_id", "text"]
    assert (corpus.text_column, corpus.id_column, corpus.files) == ("text", None, ())


COLUMNS = {"question": ["a", "b"], "score": [1.5, 2.5]}


@pytest.mark.parametrize(
    "data",
    [
        pd.DataFrame(COLUMNS, index=[5, 5]),
        pd.DataFrame(COLUMNS).astype({"question": object}),
        pd.DataFrame(COLUMNS).astype({"question": "category"}),
        pl.DataFrame(COLUMNS),
        pa.table(COLUMNS),
        pa.RecordBatch.from_pydict(COLUMNS),
        pa.table(COLUMNS).to_reader(),
    ],
    ids=lambda data: f"{type(data).__module__}.{type(data).__name__}",
)
def test_tables_from_python(data: object) -> None:
    corpus = corpus_from(data, AUTO)
    documents = corpus.documents.to_pydict()
    assert documents == {"doc_id": ["0", "1"], "text": ["a", "b"], **COLUMNS}


def test_any_arrow_stream_is_a_table() -> None:
    with duckdb.connect() as connection:
        relation = connection.sql("select * from (values (7, 'a'), (9, 'b')) as t(qid, question)")
        assert rows(corpus_from(relation, AUTO)) == [("7", "a"), ("9", "b")]


def test_a_named_index_is_a_column() -> None:
    frame = pd.DataFrame({"qid": [7, 9], "text": ["a", "b"]}).set_index("qid")
    assert rows(corpus_from(frame, AUTO)) == [("7", "a"), ("9", "b")]


def test_paths_from_python(tmp_path: Path) -> None:
    a = write(tmp_path / "a.csv", "text\nx\n")
    b = write(tmp_path / "b.csv", "text\ny\n")
    assert rows(corpus_from(a, AUTO)) == [("a.csv:1", "x")]
    assert rows(corpus_from(str(b), AUTO)) == [("b.csv:1", "y")]
    assert rows(corpus_from([b, a], AUTO)) == [("b.csv:1", "y"), ("a.csv:1", "x")]
    assert rows(corpus_from([str(a)], AUTO)) == [("0", str(a))]
    assert rows(corpus_from([], AUTO)) == []


@pytest.mark.parametrize("data", [pd.DataFrame({"text": []}), pd.DataFrame(), pl.DataFrame({"text": []}), ()])
def test_empty_python_data(data: object) -> None:
    corpus = corpus_from(data, AUTO)
    assert rows(corpus) == []
    assert corpus.documents.schema.field("text").type == pa.string()


def test_bad_python_data() -> None:
    assert problem(["a", 3]) == "row 1 (counted from 0): expected a string, found int"
    for nothing in (["a", None], pd.Series(["a", None]), pd.Series(["a", pd.NA]), ["a", float("nan")]):
        assert problem(nothing) == (
            "row 1 (counted from 0): the text (column text) is null: fill it, or set nulls to drop or empty"
        )
    for rows_or_columns in ([{"text": "\ud800"}], {"text": ["\ud800"]}):
        assert problem(rows_or_columns) == (
            "the table: half of a surrogate pair (\\ud800 to \\udfff) is not text: remove it"
        )
    assert problem(["a", "\ud800"]) == (
        "row 1 (counted from 0): half of a surrogate pair (\\ud800 to \\udfff) is not text: remove it"
    )
    assert problem(3) == (
        "expected texts, dicts, a dict of columns, a pandas, polars, Arrow or Hugging Face table, or a path, "
        "found int"
    )
    assert problem(pd.DataFrame({"text": ["a", 3]})) == (
        "row 1 (counted from 0): column text is not a string here: quote the value, or name another column "
        "with text_column"
    )
    assert problem(pd.DataFrame({"text": ["a", None]})).startswith("row 1 (counted from 0): the text (column")
    assert problem(pd.DataFrame([["a", "b"]], columns=["text", "text"])) == (
        "the DataFrame: two columns are called 'text': rename one of them"
    )
    assert problem(pa.table({"text": [1]})).startswith("row 0 (counted from 0): column text holds int64")
    assert problem(pl.DataFrame({"id": [1, 1], "text": ["a", "b"]})).startswith(
        "the id 1 (column id) occurs twice: row 0 (counted from 0) and row 1 (counted from 0): "
    )


CELLS = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    ['"', "\r\n", ",", "NA", "\ufeff"]
)
TABLES = st.lists(
    st.tuples(st.text(st.characters(codec="utf-8"), min_size=1, max_size=6), CELLS),
    unique_by=lambda r: r[0],
    max_size=8,
)


def as_csv(table: list[tuple[str, str]], delimiter: str) -> bytes:
    sink = io.StringIO(newline="")
    writer = csv.writer(sink, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerows([("id", "text"), *table])
    return sink.getvalue().encode()


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=TABLES)
def test_any_table_survives_any_format(tmp_path: Path, table: list[tuple[str, str]]) -> None:
    records = [{"id": doc_id, "text": text} for doc_id, text in table]
    ascii_only = len(table) % 2 == 0
    lines = "\n".join(json.dumps(record, ensure_ascii=ascii_only) for record in records)
    paths = [
        write(tmp_path / "t.csv", as_csv(table, ",")),
        write(tmp_path / "t.tsv", as_csv(table, "\t")),
        write(tmp_path / "t.jsonl", lines),
        tmp_path / "t.parquet",
    ]
    columns = {"id": [doc_id for doc_id, _ in table], "text": [text for _, text in table]}
    pq.write_table(pa.table(columns, pa.schema({"id": pa.string(), "text": pa.string()})), paths[-1])
    for path in paths:
        assert rows(read_corpus([path], AUTO)) == table, path.name
