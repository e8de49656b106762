"""Data of Python callers in every shape: the same documents as in a file, and the index of a frame back."""

from __future__ import annotations

import decimal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import datasets
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from dupmine.corpus import corpus_from
from dupmine.corpus.ids import id_text
from dupmine.corpus.memory import pairs_from
from dupmine.errors import InputError
from dupmine.settings import CorpusSettings

from .test_readers import rows
from .test_tables import problem

AUTO = CorpusSettings()
ROWS = [{"id": 7, "question": "How?", "n": 1.5}, {"id": 9, "question": "Why?", "n": None}]
COLUMNS = {"id": [7, 9], "question": ["How?", "Why?"], "n": [1.5, None]}

SHAPES: dict[str, Callable[[], object]] = {
    "list of dicts": lambda: ROWS,
    "tuple of dicts": lambda: tuple(ROWS),
    "generator of dicts": lambda: (row for row in ROWS),
    "dict of columns": lambda: COLUMNS,
    "dict of series": lambda: {name: pd.Series(values) for name, values in COLUMNS.items()},
    "dict of arrays": lambda: {name: np.array(values, object) for name, values in COLUMNS.items()},
    "lazy frame": lambda: pl.LazyFrame(COLUMNS),
    "data set": lambda: datasets.Dataset.from_dict(COLUMNS),
    "selected data set": lambda: datasets.Dataset.from_list([*ROWS, ROWS[0]]).select([0, 1]),
    "one split": lambda: datasets.DatasetDict({"train": datasets.Dataset.from_dict(COLUMNS)}),
    "iterable data set": lambda: datasets.Dataset.from_dict(COLUMNS).to_iterable_dataset(),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_tables_in_other_shapes(shape: str) -> None:
    corpus = corpus_from(SHAPES[shape](), AUTO)
    assert rows(corpus) == [("7", "How?"), ("9", "Why?")]
    assert corpus.documents["n"].to_pylist() == [1.5, None]
    assert (corpus.text_column, corpus.id_column) == ("question", "id")


def test_texts_in_other_shapes() -> None:
    column = datasets.Dataset.from_dict(COLUMNS)["question"]
    assert rows(corpus_from(column, AUTO)) == [("0", "How?"), ("1", "Why?")]
    mapped = map(str.upper, ["a", "b"])
    assert rows(corpus_from(mapped, AUTO)) == [("0", "A"), ("1", "B")]


def test_what_is_no_corpus_says_what_to_do() -> None:
    splits = datasets.DatasetDict({name: datasets.Dataset.from_dict(COLUMNS) for name in ("train", "test")})
    assert problem(splits) == "the DatasetDict has the splits train, test: pass one, as data['train']"
    assert problem({"a", "b"}) == (
        "a set has no order, by which documents without ids are known: pass a sorted list"
    )
    assert problem(b"text") == (
        "expected texts, dicts, a dict of columns, a pandas, polars, Arrow or Hugging Face table, or a path, "
        "found bytes"
    )
    assert problem(np.array([["a", "b"]])) == "expected one column of texts, found an array of shape (1, 2)"
    assert problem([{"text": "a"}, "b"]) == "row 1 (counted from 0): expected a dict, found str"
    assert problem(["a", {"text": "b"}]) == "row 1 (counted from 0): expected a string, found dict"
    assert problem({"text": "a"}) == "expected a dict of columns, found str in text"
    assert problem({"text": ["a"], "id": [1, 2]}) == (
        "the columns of the dict differ in length (text 1, id 2)"
    )
    assert problem(pd.DataFrame({"words": ["a b"], "more": ["c d"]})).endswith(
        "the columns are words, more: name one with text_column"
    )


def test_labels_of_an_index_are_ids_and_come_back() -> None:
    frame = pd.DataFrame({"question": ["How?", "Why?", None]}, index=["b", "a", "c"])
    corpus = corpus_from(frame, CorpusSettings(nulls="drop"))
    assert rows(corpus) == [("b", "How?"), ("a", "Why?")]
    assert list(corpus.labels) == ["b", "a"]
    assert corpus.id_column is None
    series = pd.Series(["x", "y"], index=pd.period_range("2020-01", periods=2, freq="M"))
    assert rows(corpus_from(series, AUTO)) == [("2020-01", "x"), ("2020-02", "y")]
    repeated = corpus_from(frame.set_index(pd.Index([5, 5, 6])).dropna(), AUTO)
    assert (rows(repeated), repeated.labels) == ([("0", "How?"), ("1", "Why?")], None)
    with_ids = corpus_from(frame.dropna().assign(id=[1, 2]), AUTO)
    assert (rows(with_ids), with_ids.labels) == ([("1", "How?"), ("2", "Why?")], None)


def test_an_index_of_several_levels() -> None:
    frame = pd.DataFrame({"text": ["a", "b"]}, index=pd.MultiIndex.from_tuples([(1, "x"), (1, "y")]))
    corpus = corpus_from(frame, AUTO)
    assert rows(corpus) == [("(1, 'x')", "a"), ("(1, 'y')", "b")]
    assert corpus.labels.equals(frame.index)
    assert rows(corpus_from(frame.set_index(pd.MultiIndex.from_tuples([(1, 2), (1, None)])), AUTO)) == [
        ("0", "a"),
        ("1", "b"),
    ]


def test_ids_of_half_precision_and_of_mongodb() -> None:
    table = pa.table({"id": pa.array([0.1, 2.0], pa.float32()), "text": ["a", "b"]})
    assert rows(corpus_from(table, AUTO)) == [("0.1", "a"), ("2.0", "b")]
    assert id_text(np.float32(0.1)) == "0.1"
    rows_of_two = [{"_id": {"$oid": "5f1"}, "text": "a"}, {"_id": 7, "text": "b"}]
    assert rows(corpus_from(rows_of_two, AUTO)) == [("5f1", "a"), ("7", "b")]


def test_frames_with_unusual_columns() -> None:
    frame = pd.DataFrame({0: ["How do I?", "Why?"], 1: [1, 2]})
    frame["sparse"] = pd.arrays.SparseArray([0.0, 1.0])
    frame["complex"] = [1 + 2j, 3j]
    frame["stamp"] = pd.Series([uuid.UUID(int=1), None], dtype=object)
    documents = corpus_from(frame, AUTO).documents
    assert documents["text"].to_pylist() == ["How do I?", "Why?"]
    assert documents["sparse"].to_pylist() == [0.0, 1.0]
    assert documents["complex"].to_pylist() == ["(1+2j)", "3j"]
    assert str(documents["stamp"][0]) == str(uuid.UUID(int=1))


UUID = uuid.UUID("a1b2c3d4-e5f6-0718-293a-4b5c6d7e8f90")
IDS: list[tuple[object, str]] = [
    ("x", "x"),
    (10, "10"),
    (np.int64(10), "10"),
    (10.0, "10.0"),
    (np.float64(0.1), "0.1"),
    (UUID, "a1b2c3d4-e5f6-0718-293a-4b5c6d7e8f90"),
    (pd.Period("2020-01", "M"), "2020-01"),
    (pd.Timestamp("2020-01-02 03:04"), "2020-01-02 03:04:00"),
    (np.datetime64("2020-01-02T03:04"), "2020-01-02 03:04:00"),
    (pd.Timestamp("2020-01-02").date(), "2020-01-02"),
    (decimal.Decimal("1.50"), "1.50"),
    (True, "True"),
    ({"$oid": "5f1"}, "5f1"),
]


@pytest.mark.parametrize(("value", "text"), IDS, ids=lambda value: f"{type(value).__name__}-{value}"[:40])
def test_ids_have_one_text_everywhere(value: object, text: str) -> None:
    assert id_text(value) == text
    if not isinstance(value, dict):
        frame = pd.DataFrame({"id": [value], "text": ["a"]})
        assert rows(corpus_from(frame, AUTO)) == [(text, "a")]
        assert rows(corpus_from(pd.Series(["a"], index=[value]), AUTO)) == [(text, "a")]
    assert rows(corpus_from([{"id": value, "text": "a"}], AUTO)) == [(text, "a")]


def test_uuids_of_duckdb() -> None:
    with duckdb.connect() as connection:
        relation = connection.sql(f"select '{UUID}'::uuid as id, 'a' as text")
        assert rows(corpus_from(relation, AUTO)) == [(str(UUID), "a")]


def pairs() -> Iterator[tuple[str, str]]:
    yield from [("a", "b"), ("c", "d")]


@pytest.mark.parametrize(
    "data",
    [
        list(pairs()),
        pairs(),
        np.array(list(pairs())),
        pd.DataFrame(list(pairs())),
        pl.DataFrame({"x": ["a", "c"], "y": ["b", "d"]}),
        pa.table({"x": ["a", "c"], "y": ["b", "d"]}),
        zip(pd.Series(["a", "c"]), ["b", "d"], strict=True),
    ],
    ids=lambda data: type(data).__name__,
)
def test_pairs_in_any_shape(data: object) -> None:
    assert [tuple(pair) for pair in pairs_from(data)] == [("a", "b"), ("c", "d")]


def test_pairs_of_more_columns() -> None:
    with pytest.raises(InputError, match="expected a table with two columns of texts, found 3: select two"):
        pairs_from(pd.DataFrame({"a": ["x"], "b": ["y"], "c": ["z"]}))


def test_paths_in_messages_speak_python(tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text("id,n\n1,2\n")
    assert problem(tmp_path / "q.csv").endswith("the columns are id, n: name one with text_column")
