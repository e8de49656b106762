"""Formats and archives as they come, and files that are not what their name says."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dupmine.corpus import read_corpus
from dupmine.settings import CorpusSettings

from .test_guesses import PLAIN, TABLE, guesses_of, texts_of
from .test_readers import rows, write, zstd
from .test_readers_errors import problem

AUTO = CorpusSettings()

WRONG_NAMES = {
    "web page": ("q.csv", b"<!DOCTYPE html>\n<html>", "not CSV but a web page"),
    "page under XML": ("q.xml", b"<html><body>", "not Stack Exchange Posts.xml but a web page"),
    "LFS pointer": (
        "q.csv",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        "not CSV but a pointer of Git LFS: run git lfs pull",
    ),
    "LFS pointer under Parquet": (
        "q.parquet",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        "not Parquet but a pointer of Git LFS: run git lfs pull",
    ),
    "Parquet": ("q.csv", b"PAR1\x15\x04", "not CSV but a Parquet file: read it with --format parquet"),
    "JSON": ("q.csv", b'[{"text": "a"}]', "not CSV but JSON: read it with --format json"),
    "LFS pointer under zip": (
        "q.zip",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        "not a zip archive but a pointer of Git LFS: run git lfs pull",
    ),
    "LFS pointer under gzip": (
        "q.csv.gz",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        "q.csv.gz: not gzip but a pointer of Git LFS: run git lfs pull",
    ),
    "page with a comment": (
        "q.csv",
        b"\xef\xbb\xbf<!-- saved -->\n<HTML><body>404",
        "not CSV but a web page",
    ),
    "error of a server": ("q.csv", b"<Error><Code>AccessDenied</Code></Error>", "not CSV but XML: "),
    "git-annex pointer": ("q.csv", b"/annex/objects/SHA256E-s1--4d7a.csv\n", "a pointer of git-annex: run "),
    "NumPy": ("q.csv", b"\x93NUMPY\x01\0v\0{'descr': '<i8'}\n", "not CSV but a NumPy file: "),
    "unfinished copy": ("q.csv", b"\0" * 100, "q.csv: not CSV but NUL bytes, as of a copy that "),
    "PDF": ("q.txt", b"%PDF-1.7", "not text lines but a PDF: extract its text first"),
    "SQLite": ("q.jsonl", b"SQLite format 3\x00", "not JSON lines but an SQLite database: "),
    "old Excel": (
        "q.csv",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "an old Office document: save it as .xlsx or as CSV",
    ),
}


@pytest.mark.parametrize("kind", WRONG_NAMES)
def test_files_under_wrong_names_are_named(tmp_path: Path, kind: str) -> None:
    name, data, message = WRONG_NAMES[kind]
    assert message in problem(write(tmp_path / name, data))


def workbook(table: list[list[object]], *, title: str = "Sheet") -> bytes:
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active.title = title
    for row in table:
        book.active.append(row)
    sink = io.BytesIO()
    book.save(sink)
    return sink.getvalue()


def test_an_archive_or_workbook_under_a_wrong_name(tmp_path: Path) -> None:
    book = workbook([["id", "text"], [1, "a"]])
    assert problem(write(tmp_path / "q.csv", book)) == (
        "q.csv: not CSV but an Excel workbook: read it with --format xlsx"
    )
    assert texts_of(tmp_path / "q.csv", format="xlsx") == ["a"]
    assert problem(write(tmp_path / "z.csv", zipped({"a.csv": b"text\na\n"}))) == (
        "z.csv: not CSV but a zip archive: rename it to end in .zip"
    )


@pytest.mark.parametrize(
    ("pack", "name"),
    [(gzip.compress, "gzip"), (bz2.compress, "bzip2"), (lzma.compress, "xz"), (zstd, "zstd")],
)
def test_compression_is_found_whatever_the_name(tmp_path: Path, pack: type[bytes], name: str) -> None:
    path = write(tmp_path / "q.csv", pack(TABLE.encode()))
    assert texts_of(path) == ["Why?", PLAIN]
    assert guesses_of(path) == {"compression": name}


@pytest.mark.parametrize(("ending", "pack"), [(".bz2", bz2.compress), (".xz", lzma.compress)])
def test_more_compressions(tmp_path: Path, ending: str, pack: type[bytes]) -> None:
    path = write(tmp_path / f"q.csv{ending}", pack(b"text\na\n") + pack(b"b\n"))
    assert texts_of(path) == ["a", "b"]
    assert guesses_of(path) == {}
    broken = pack(b"text\na\n" * 99)[:-9]
    assert problem(write(tmp_path / f"w.csv{ending}", broken)).startswith(f"w.csv{ending}: broken ")


def test_compression_other_than_named(tmp_path: Path) -> None:
    path = write(tmp_path / "q.csv.bz2", gzip.compress(TABLE.encode()))
    assert texts_of(path) == ["Why?", PLAIN]
    assert guesses_of(path) == {"compression": "gzip"}


def zipped(files: dict[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return sink.getvalue()


def test_zip_archives(tmp_path: Path) -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": ["d"]}), sink)
    path = write(
        tmp_path / "q.zip",
        zipped(
            {
                "data/b.csv": b"text\nb\n",
                "data/a.csv.gz": gzip.compress(b"text\na\n"),
                "c.parquet": sink.getvalue(),
                "README.md": b"no data",
                "__MACOSX/b.csv": b"\x00",
                "data/.hidden.csv": b"text\nx\n",
            }
        ),
    )
    corpus = read_corpus([path], AUTO)
    assert rows(corpus) == [("c.parquet:1", "d"), ("a.csv.gz:1", "a"), ("b.csv:1", "b")]
    assert [file.path for file in corpus.files] == [
        f"{path}/c.parquet",
        f"{path}/data/a.csv.gz",
        f"{path}/data/b.csv",
    ]
    assert rows(read_corpus([tmp_path], AUTO)) == rows(corpus)
    assert problem(write(tmp_path / "e.zip", zipped({"README.md": b""}))) == (
        "e.zip: the archive has no file to read: expected names ending in .csv, .tsv, .tab, .jsonl, "
        ".ndjson, .json, .txt, .parquet, .xlsx, .xlsm, .xml, found README.md"
    )
    assert problem(write(tmp_path / "w.zip", b"PK\x03\x04")).startswith("w.zip: broken zip archive (")
    bomb = zipped({"q.csv": b"text\n" + b"a" * (70 << 20)})
    assert "bytes of it expand to more than 64 MiB" in problem(write(tmp_path / "bomb.zip", bomb))
    damaged = bytearray(zipped({"q.csv": b"text\n" + bytes(range(97, 123)) * 99}))
    damaged[45] ^= 255
    assert problem(write(tmp_path / "d.zip", bytes(damaged))).startswith("d.zip/q.csv: broken zip file (")


def test_what_is_not_read_of_an_archive_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    inner = zipped({"more.csv": b"text\nc\n"})
    path = write(tmp_path / "q.zip", zipped({"a.csv": b"text\na\n", "README.txt": b"b\n", "more.zip": inner}))
    assert texts_of(path) == ["a"]
    assert caplog.messages == [
        f"{path}: 1 files such as README.txt are not read beside data of other formats: name them to "
        "read them",
        f"{path}: 1 files such as more.zip are not read: their endings are unknown",
    ]
    assert texts_of(write(tmp_path / "t.zip", zipped({"README.txt": b"b\n"}))) == ["b"]
    book = workbook([["text"], ["a"]])
    assert problem(write(tmp_path / "x.zip", book)) == (
        "x.zip: not an archive of data but an Office document: rename it to end in .xlsx"
    )


ARRAY = '[\n {"id": 1, "text": "a"},\n {"id": 2, "text": "b", "x": {"y": [1]}}\n]'
TWO = [("1", "a"), ("2", "b")]
JSON = {
    "an array": ("q.json", ARRAY, TWO),
    "an array under .jsonl": ("q.jsonl", ARRAY, TWO),
    "lines under .json": ("q.json", '{"id": 1, "text": "a"}\n{"id": 2, "text": "b"}\n', TWO),
    "objects one after the other": ("q.jsonl", '{\n"id": 1, "text": "a"\n}\n{"id": 2, "text": "b"}', TWO),
    "an array inside": ("q.json", f'{{"version": "1", "data": {ARRAY}, "tags": ["x"]}}', TWO),
    "a document with tags": (
        "q.json",
        '{"id": "1", "text": "a", "tags": ["x", "y"], "users": [{"name": "z"}]}',
        [("1", "a")],
    ),
    "an answer with a title": (
        "q.json",
        '{"title": "All", "message": "ok", "data": [{"id": 1, "text": "a"}]}',
        [("1", "a")],
    ),
    "split by pandas": (
        "q.json",
        '{"columns": ["id", "text"], "index": [0, 1], "data": [[1, "a"], [2, "b"]]}',
        TWO,
    ),
    "texts": ("q.json", '["a", "b"]', [("q.json:1", "a"), ("q.json:2", "b")]),
    "columns": ("q.json", '{"id": [1, 2], "text": ["a", "b"]}', TWO),
    "rows by id": ("q.json", '{"1": {"text": "a"}, "2": {"text": "b", "n": 3}}', TWO),
    "columns of pandas": ("q.json", '{"id": {"0": 1, "1": 2}, "text": {"0": "a", "1": "b"}}', TWO),
    "one object": ("q.json", '{"id": 1, "text": "a"}', [("1", "a")]),
    "ids of MongoDB": (
        "q.json",
        '[{"_id": {"$oid": "5f1"}, "text": "a"}, {"_id": {"$oid": "5f2"}, "text": "b"}]',
        [("5f1", "a"), ("5f2", "b")],
    ),
    "nothing": ("q.json", "[]", []),
}


@pytest.mark.parametrize("kind", JSON)
def test_json(tmp_path: Path, kind: str) -> None:
    name, data, expected = JSON[kind]
    assert rows(read_corpus([write(tmp_path / name, data)], AUTO)) == expected


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            '{"a": [{"text": "x"}], "b": [{"text": "y"}]}',
            "an object with one inside, found an object with a, b",
        ),
        ('{"a": {"text": "x"}}\n3', "q.json, row 2: expected a JSON object or a text, found int"),
        (
            '[{"text": "a"},\n {"text": }]',
            "q.json, line 2: invalid JSON (Expecting value, column 11): expected an ",
        ),
        ("3", "q.json: expected an array of JSON objects, found int"),
        ('{"id": [1], "text": ["a", "b"]}', "the arrays of the object differ in length (id 1, text 2)"),
        ('["a", "b\\ud800"]', "q.json, row 2: half of a surrogate pair (\\ud800 to \\udfff)"),
        ("[" * 5000, "q.json: lists and objects more than 32 levels deep"),
    ],
)
def test_json_that_is_no_table(tmp_path: Path, data: str, message: str) -> None:
    assert message in problem(write(tmp_path / "q.json", data))


def test_nested_fields(tmp_path: Path) -> None:
    lines = '{"id": 1, "data": {"text": "How?", "meta": {"x": 1}}}\n{"id": 2, "data": {"text": "Why?"}}\n'
    path = write(tmp_path / "q.jsonl", lines)
    assert rows(read_corpus([path], CorpusSettings(text_column="data.text"))) == [
        ("1", "How?"),
        ("2", "Why?"),
    ]
    assert problem(path).endswith("the columns are id, data.text, data.meta.x: name one with --text-column")
    assert problem(path, text_column="data.txt").startswith(
        "q.jsonl: no column data.txt (--text-column): did you mean data.text? "
    )
    pq.write_table(pa.table({"a": [{"b": "x"}]}), tmp_path / "q.parquet")
    assert texts_of(tmp_path / "q.parquet", text_column="a.b") == ["x"]


def test_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "q.txt", 'How, "and" why?\r\n\n  \nWhy?\nLast')
    corpus = read_corpus([path], AUTO)
    assert rows(corpus) == [("q.txt:1", 'How, "and" why?'), ("q.txt:4", "Why?"), ("q.txt:5", "Last")]
    assert corpus.counts["blank_lines"] == 2
    table = write(tmp_path / "t.txt", "id\ttext\n1\ta\n")
    assert problem(table) == (
        "t.txt: the first line has names of columns, as in a table: set --format tsv, or --format txt for "
        "a text a line"
    )
    assert problem(write(tmp_path / "n.txt", "1\ta\n2\tb\n")) == (
        "n.txt: every line has 1 tabs, as in a table: set --format tsv, or --format txt for a text a line"
    )
    assert texts_of(table, format="tsv") == ["a"]
    assert problem(write(tmp_path / "a.txt", '[\n {"text": "a"}\n]\n')).startswith(
        "a.txt: the lines are JSON: "
    )
    assert problem(write(tmp_path / "j.txt", '{"text": "a"}\n')) == (
        "j.txt: the lines are JSON: set --format jsonl, or --format txt for a text a line"
    )
    assert texts_of(table, format="txt") == ["id\ttext", "1\ta"]


def test_excel(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table: list[list[object]] = [["id", "text", "when", None], [1.0, "How?"], [], [2, "Why?", None, "x"]]
    path = write(tmp_path / "q.xlsx", workbook(table))
    corpus = read_corpus([path], AUTO)
    assert rows(corpus) == [("1", "How?"), ("2", "Why?")]
    assert corpus.documents["column4"].to_pylist() == [None, "x"]
    assert caplog.messages == []
    book = openpyxl.load_workbook(path)
    book.create_sheet("more").append(["text"])
    book.save(path)
    assert len(rows(read_corpus([path], AUTO))) == 2
    assert "only the first of 2 sheets is read, Sheet" in caplog.text
    assert problem(write(tmp_path / "e.xlsx", workbook([]))) == (
        "e.xlsx: the workbook has no rows: expected a sheet with a row of column names"
    )
    assert problem(write(tmp_path / "w.xlsx", b"PK\x03\x04 no more")).startswith(
        "w.xlsx: broken Excel file ("
    )
    titled: list[list[object]] = [["My table"], [], ["id", "text"], [1, "a"]]
    assert problem(write(tmp_path / "t.xlsx", workbook(titled))) == (
        "t.xlsx: the first row has one cell, My table, and others up to 2: remove what stands above the "
        "names of the columns, or set --columns"
    )
    assert texts_of(write(tmp_path / "x.xlsx", workbook([["text"], ["a_x000D_b"]]))) == ["a\rb"]
    assert texts_of(write(tmp_path / "n.xlsx", workbook([["a", 1], ["b", 2]])), columns="text,n") == [
        "a",
        "b",
    ]
