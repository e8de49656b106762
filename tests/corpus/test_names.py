"""Names of columns and files, pairs without ids, nulls and ids, without options."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dupmine.corpus import read_corpus
from dupmine.corpus.labelled import read_pairs
from dupmine.errors import DupmineError
from dupmine.formats import FORMATS
from dupmine.schema import Corpus
from dupmine.settings import CorpusSettings, PairSettings

from .test_guesses import PLAIN, texts_of
from .test_readers import rows, write
from .test_readers_errors import problem

AUTO = CorpusSettings()


def test_text_columns_by_other_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("query", "prompt", "sentence", "utterance", "content", "name", "message", "Prompt"):
        path = write(tmp_path / "q.csv", f"{name},answer\nHow?,yes\n")
        assert read_corpus([path], AUTO).text_column == name
    assert caplog.messages == []
    path = write(tmp_path / "q.csv", "id,frage,n,day\n1,Wie?,3,2020-01-02\n")
    assert texts_of(path) == ["Wie?"]
    assert (
        f"{path}: texts are read from column frage, the only one with words (--text-column names another)"
        in caplog.messages
    )
    assert problem(write(tmp_path / "h.csv", "1,How do I learn?\n2,Why?\n")) == (
        "h.csv: the first line may be a row and not a header, as it has the column How do I learn?: set "
        "--no-header or --columns, or name the column with --text-column"
    )
    assert texts_of(tmp_path / "h.csv", header=False) == ["How do I learn?", "Why?"]
    assert problem(write(tmp_path / "v.csv", "1,hello\n2,world\n")).startswith(
        "v.csv: the first line may be a row and not a header, as it has the column hello"
    )
    assert problem(write(tmp_path / "w.csv", "id^text\n1^Why?\n")) == (
        "w.csv: the header is one column, id^text: set --delimiter to what separates the names, or name the "
        "column with --text-column"
    )
    assert texts_of(tmp_path / "w.csv", delimiter="^") == ["Why?"]
    assert problem(write(tmp_path / "t.csv", "My export\n\nid,text\n1,Why?\n")) == (
        "t.csv, line 3: here seem to be the names of the columns: remove the lines above, or set --delimiter "
        "none if each line is a text"
    )
    assert "no text column" in problem(write(tmp_path / "n.csv", "id,n\n1,3\n"))


PAIR_HEADERS = ["question1,question2", "question_1,question_2", "sentence1,sentence2", "text1,text2"]


@pytest.mark.parametrize("header", PAIR_HEADERS)
@pytest.mark.parametrize("label", ["", ",similar"])
def test_pair_files_without_qids(tmp_path: Path, header: str, label: str) -> None:
    end = ",1" if label else ""
    path = write(
        tmp_path / "q.csv", f"test_id,{header}{label}\n7,How?,Why?{end}\n8,How?,When?{end}\n9,,How?{end}\n"
    )
    first, second = header.split(",")
    corpus = read_corpus([path], AUTO)
    assert rows(corpus) == [
        (f"q.csv:1:{first}", "How?"),
        (f"q.csv:1:{second}", "Why?"),
        (f"q.csv:2:{second}", "When?"),
        (f"q.csv:3:{first}", ""),
    ]
    assert corpus.id_column is None
    if label:
        pairs = read_pairs(path, PairSettings())
        assert (pairs.left, pairs.right, pairs.label.tolist()) == (
            ["How?", "How?"],
            ["Why?", "When?"],
            [1.0, 1.0],
        )


def test_labelled_pairs_in_other_dialects(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", f"sentence1;sentence2;label\n{PLAIN};So, why?;1\n".encode("cp1252"))
    pairs = read_pairs(path, PairSettings())
    assert (pairs.left, pairs.right) == ([PLAIN], ["So, why?"])
    with pytest.raises(DupmineError, match="expected 3 fields, found 1"):
        read_pairs(write(tmp_path / "w.csv", "a;b;label\nx;y;1\nx\n"), PairSettings(text_columns="a,b"))


def test_nulls(tmp_path: Path) -> None:
    path = tmp_path / "q.parquet"
    pq.write_table(pa.table({"text": ["a", None, "b", None]}), path)
    assert problem(path) == (
        "q.parquet, row 2: the text (column text) is null, the first of 2: fill it, or set "
        "--nulls to drop or empty"
    )
    dropped = read_corpus([path], CorpusSettings(nulls="drop"))
    assert rows(dropped) == [("q.parquet:1", "a"), ("q.parquet:3", "b")]
    assert dropped.counts["null_texts_drop"] == 2
    empty = read_corpus([path], CorpusSettings(nulls="empty"))
    assert [text for _, text in rows(empty)] == ["a", "", "b", ""]
    assert empty.counts["null_texts_empty"] == 2
    pairs = write(tmp_path / "p.jsonl", '{"qid1": 1, "qid2": 2, "question1": "a", "question2": null}\n')
    assert rows(read_corpus([pairs], CorpusSettings(nulls="empty"))) == [("1", "a"), ("2", "")]
    assert rows(read_corpus([pairs], CorpusSettings(nulls="drop"))) == []


def test_names_of_inputs(tmp_path: Path) -> None:
    for path, url in (
        ("https://host/q.csv", "https://host/q.csv"),
        (Path("s3://bucket/q.csv"), "s3://bucket/q.csv"),
    ):
        with pytest.raises(DupmineError) as caught:
            read_corpus([path], AUTO)
        assert str(caught.value) == f"{url}: only local files are read: download it and name the file"
    for empty in ("", " "):
        with pytest.raises(DupmineError, match="an input is an empty name: name a file, a folder"):
            read_corpus([empty], AUTO)


def test_links(tmp_path: Path) -> None:
    write(tmp_path / "real" / "a.csv", "text\na\n")
    data = tmp_path / "data"
    data.mkdir()
    (data / "linked").symlink_to(tmp_path / "real")
    (data / "again").symlink_to(data)
    write(data / "b.csv", "text\nb\n")
    assert rows(read_corpus([data], AUTO)) == [("b.csv:1", "b"), ("a.csv:1", "a")]
    (data / "notes.docx").symlink_to(tmp_path / "nowhere.docx")
    assert len(rows(read_corpus([data], AUTO))) == 2
    (data / "c.csv").symlink_to(tmp_path / "nowhere.csv")
    expected = f"c.csv: no such file: it is a link to {tmp_path}/nowhere.csv, which does not exist"
    assert problem(data / "c.csv") == expected
    assert problem(data / "*.csv") == expected
    assert problem(data) == expected


def test_text_files_beside_data_are_not_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "q.csv", "text\na\n")
    write(tmp_path / "README.txt", "about\n")
    assert texts_of(tmp_path) == ["a"]
    assert caplog.messages == [
        f"{tmp_path}: 1 files such as README.txt are not read beside data of other formats: name "
        "them to read them"
    ]
    (tmp_path / "q.csv").unlink()
    assert texts_of(tmp_path) == ["about"]


def ids_of(corpus: Corpus) -> list[str]:
    return [doc_id for doc_id, _ in rows(corpus)]


def test_ids_of_parquet(tmp_path: Path) -> None:
    raw = [bytes(range(i, i + 16)) for i in range(2)]
    uuids = pa.ExtensionArray.from_storage(pa.uuid(), pa.array(raw, pa.binary(16)))
    path = tmp_path / "q.parquet"
    kinds: dict[str, tuple[pa.Array, list[str]]] = {
        "uuid": (uuids, ["00010203-0405-0607-0809-0a0b0c0d0e0f", "01020304-0506-0708-090a-0b0c0d0e0f10"]),
        "float": (pa.array([10.0, 0.1]), ["10.0", "0.1"]),
        "date": (pa.array([0, 1], pa.date32()), ["1970-01-01", "1970-01-02"]),
        "dictionary": (pa.array(["x", "y"]).dictionary_encode(), ["x", "y"]),
        "dictionary of integers": (pa.array([7, 8]).dictionary_encode(), ["7", "8"]),
    }
    for column, expected in kinds.values():
        pq.write_table(pa.table({"id": column, "text": ["a", "b"]}), path)
        corpus = read_corpus([path], AUTO)
        assert ids_of(corpus) == expected
        sink = io.BytesIO()
        pq.write_table(corpus.documents, sink)
        assert pq.read_table(sink)["doc_id"].to_pylist() == expected
    pq.write_table(pa.table({"id": pa.array([10.5, None]), "text": ["a", "b"]}), path)
    assert problem(path).startswith("q.parquet, row 2: the id (column id) is null: ")


def test_the_docs_name_every_format() -> None:
    page = (Path(__file__).parents[2] / "docs" / "inputs.md").read_text(encoding="utf-8")
    for entry in FORMATS.values():
        assert all(f"`{ending}`" in page for ending in entry.endings if entry.name != "stackexchange"), (
            entry.name
        )


def test_messages_are_printable(tmp_path: Path) -> None:
    hostile = "q\x1b[31m\u202e\n.csv"
    with pytest.raises(DupmineError) as caught:
        read_corpus([write(tmp_path / hostile, "id,text\n1\n")], AUTO)
    message = str(caught.value)
    assert "q\\x1b[31m\\u202e\\n.csv, line 2: expected 2 fields" in message
    path = write(tmp_path / "w.jsonl", json.dumps({"id": "x\x1b", "text": 3}))
    assert message.isprintable()
    assert problem(path).isprintable()
