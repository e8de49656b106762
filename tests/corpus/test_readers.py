"""Files become a corpus: what stands in them is what comes out."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dupmine.corpus import read_corpus
from dupmine.disk.folder import TABLES
from dupmine.errors import InputError
from dupmine.schema import Corpus, InputFile
from dupmine.settings import CorpusSettings

AUTO = CorpusSettings()

POSTS = """<?xml version="1.0" encoding="utf-8"?>
<posts>
  <row Id="4" PostTypeId="1" Title="Sort a &lt;list&gt;?" Body="x" Tags="|python|list|" Score="7" />
  <row Id="5" PostTypeId="2" ParentId="4" Body="an answer" Score="3" />
  <row Id="6" PostTypeId="1" Title="Was hei\u00dft das?" Body="y" CreationDate="2020-01-02T03:04:05.678" />
</posts>
"""


def rows(corpus: Corpus) -> list[tuple[str, str]]:
    documents = corpus.documents
    return list(zip(documents["doc_id"].to_pylist(), documents["text"].to_pylist(), strict=True))


def write(path: Path, data: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed


def test_csv_is_read_as_written(tmp_path: Path) -> None:
    text = '\ufeffid,question,n\r\n007,"a ""b"",\nc",1.0\r\n\r\n1e3,NA,\r\n3,"",null\r\n'
    path = write(tmp_path / "q.csv", text)
    corpus = read_corpus([path], AUTO)
    assert corpus.documents.to_pydict() == {
        "doc_id": ["007", "1e3", "3"],
        "text": ['a "b",\nc', "NA", ""],
        "id": ["007", "1e3", "3"],
        "question": ['a "b",\nc', "NA", ""],
        "n": ["1.0", "", "null"],
    }
    assert set(corpus.documents.schema.types) == {pa.string()}
    assert (corpus.text_column, corpus.id_column) == ("question", "id")
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    assert corpus.files == (InputFile(str(path), "csv", 3, checksum),)
    assert corpus.counts == {"invalid_utf8_replaced": 0}


def test_tsv_keeps_commas(tmp_path: Path) -> None:
    path = write(tmp_path / "q.tsv", 'qid\ttext\n1\ta, b\n2\t"c\td"\n')
    assert rows(read_corpus([path], AUTO)) == [("1", "a, b"), ("2", "c\td")]


def test_single_column_csv_tells_empty_texts_from_blank_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "q.csv", '\n\ntext\na\n\n""\nb')
    assert rows(read_corpus([path], AUTO)) == [("q.csv:1", "a"), ("q.csv:2", ""), ("q.csv:3", "b")]


def test_jsonl_keeps_types(tmp_path: Path) -> None:
    lines = [
        '{"id": 7, "text": "2020-01-01", "tags": ["a"], "mixed": 1}',
        "",
        '{"id": 8, "text": "\\u00e9\\ud83d\\ude00\u2028x", "mixed": "one", "extra": {}}',
    ]
    corpus = read_corpus([write(tmp_path / "q.jsonl", "\r\n".join(lines))], AUTO)
    assert corpus.documents.to_pydict() == {
        "doc_id": ["7", "8"],
        "text": ["2020-01-01", "\u00e9\U0001f600\u2028x"],
        "id": [7, 8],
        "tags": [["a"], None],
        "mixed": ["1", "one"],
        "extra": [None, "{}"],
    }
    assert corpus.documents.schema.field("id").type == pa.int64()


def test_parquet_keeps_types_and_reads_every_kind_of_string(tmp_path: Path) -> None:
    kinds = [pa.large_string(), pa.dictionary(pa.int32(), pa.string())]
    for kind in kinds:
        table = pa.table({"title": pa.array(["a", "b"], kind), "score": pa.array([1, None], pa.int16())})
        pq.write_table(table, tmp_path / "q.parquet")
        documents = read_corpus([tmp_path / "q.parquet"], AUTO).documents
        assert documents["text"].type == pa.string()
        assert documents["text"].to_pylist() == ["a", "b"]
        assert documents["doc_id"].to_pylist() == ["q.parquet:1", "q.parquet:2"]
        assert documents["score"].type == pa.int16()
        assert documents["score"].to_pylist() == [1, None]


def test_posts_xml_gives_the_titles_of_questions(tmp_path: Path) -> None:
    corpus = read_corpus([write(tmp_path / "Posts.xml", POSTS)], AUTO)
    assert corpus.documents.to_pydict() == {
        "doc_id": ["4", "6"],
        "text": ["Sort a <list>?", "Was hei\u00dft das?"],
        "Id": ["4", "6"],
        "Title": ["Sort a <list>?", "Was hei\u00dft das?"],
        "PostTypeId": ["1", "1"],
        "Tags": ["|python|list|", None],
        "Score": ["7", None],
        "CreationDate": [None, "2020-01-02T03:04:05.678"],
    }
    assert corpus.counts == {"posts_not_questions": 1, "invalid_utf8_replaced": 0}
    assert corpus.files[0].documents == 2


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1"])
def test_posts_xml_in_other_encodings(tmp_path: Path, encoding: str) -> None:
    text = '<posts><row Id="1" PostTypeId="1" Title="Was hei\u00dft das?" /></posts>'
    data = f'<?xml version="1.0" encoding="{encoding}"?>{text}'.encode(encoding)
    assert rows(read_corpus([write(tmp_path / "Posts.xml", data)], AUTO)) == [("1", "Was hei\u00dft das?")]


@pytest.mark.parametrize(("ending", "pack"), [(".gz", gzip.compress), (".zst", zstd)])
@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("q.csv", "id,text\n1,caf\u00e9\n", ("1", "caf\u00e9")),
        ("q.tsv", "id\ttext\n1\tcaf\u00e9\n", ("1", "caf\u00e9")),
        ("q.ndjson", '{"id": 1, "text": "caf\u00e9"}', ("1", "caf\u00e9")),
        ("p.xml", POSTS, ("4", "Sort a <list>?")),
    ],
)
def test_compressed_files(
    tmp_path: Path,
    ending: str,
    pack: Callable[[bytes], bytes],
    name: str,
    text: str,
    expected: tuple[str, str],
) -> None:
    path = write(tmp_path / (name + ending), pack(text.encode()))
    corpus = read_corpus([path], AUTO)
    assert rows(corpus)[0] == expected
    assert corpus.files[0].sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_several_compressed_members_are_one_file(tmp_path: Path) -> None:
    for ending, pack in ((".gz", gzip.compress), (".zst", zstd)):
        path = write(tmp_path / f"q.csv{ending}", pack(b"id,text\n1,a\n") + pack(b"2,b\n"))
        assert rows(read_corpus([path], AUTO)) == [("1", "a"), ("2", "b")]


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"text\na\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    corpus = read_corpus(["-"], CorpusSettings(format="csv"))
    assert rows(corpus) == [("stdin:1", "a")]
    assert corpus.files == (InputFile("-", "csv", 1, hashlib.sha256(data).hexdigest()),)


def test_standard_input_as_parquet(monkeypatch: pytest.MonkeyPatch) -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"id": [3], "text": ["a"]}), sink)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(sink.getvalue())))
    assert rows(read_corpus(["-"], CorpusSettings(format="parquet"))) == [("3", "a")]


def test_folders_are_sorted_and_globs_match(tmp_path: Path) -> None:
    write(tmp_path / "b.csv", "text\nb\n")
    write(tmp_path / "a" / "z.jsonl", '{"text": "z"}\n')
    write(tmp_path / "notes.docx", "no corpus")
    write(tmp_path / ".hidden.csv", "text\nhidden\n")
    expected = [("z.jsonl:1", "z"), ("b.csv:1", "b")]
    assert rows(read_corpus([tmp_path], AUTO)) == expected
    assert rows(read_corpus([tmp_path], CorpusSettings(format="csv"))) == expected[1:]
    assert rows(read_corpus([str(tmp_path / "**" / "*.jsonl"), tmp_path], AUTO)) == expected
    assert rows(read_corpus([tmp_path / "b.csv", tmp_path], AUTO)) == expected[::-1]


def test_what_dupmine_wrote_is_left_out_of_a_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "q.csv", "text\na\n")
    for name in ("manifest.json", *(f"{table}.parquet" for table in TABLES)):
        write(tmp_path / "duplicates" / name, "")
    for name in ("generations/00000000.json", "states/00000000.parquet", "segments/00000001/texts.parquet"):
        write(tmp_path / "store" / name, "")
    assert rows(read_corpus([tmp_path], AUTO)) == [("q.csv:1", "a")]
    assert f"{tmp_path / 'duplicates'} is a result of dupmine and is left out" in caplog.messages
    assert f"{tmp_path / 'store'} is a store of dupmine and is left out" in caplog.messages
    (tmp_path / "duplicates" / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"clusters\.parquet: broken Parquet file"):
        read_corpus([tmp_path], AUTO)


def test_a_name_with_glob_signs_is_a_file_first(tmp_path: Path) -> None:
    path = write(tmp_path / "q[1].csv", "text\na\n")
    assert rows(read_corpus([path], AUTO)) == [("q[1].csv:1", "a")]


def test_equal_base_names_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("x", "y"):
        write(tmp_path / folder / "q.csv", f"text\n{folder}\n")
    monkeypatch.chdir(tmp_path)
    assert rows(read_corpus(["x/q.csv", "y"], AUTO)) == [("x/q.csv:1", "x"), ("y/q.csv:1", "y")]


def test_format_overrules_the_name(tmp_path: Path) -> None:
    path = write(tmp_path / "dump.dat.gz", gzip.compress(b"text\na\n"))
    assert rows(read_corpus([path], CorpusSettings(format="csv"))) == [("dump.dat.gz:1", "a")]


def test_replaced_bytes_are_counted(tmp_path: Path) -> None:
    data = "text\nok \ufffd\n".encode() + b"caf\xe9\n\xff\xfe\n"
    corpus = read_corpus([write(tmp_path / "q.csv", data)], CorpusSettings(encoding_errors="replace"))
    assert [text for _, text in rows(corpus)] == ["ok \ufffd", "caf\ufffd", "\ufffd\ufffd"]
    assert corpus.counts == {"invalid_utf8_replaced": 3}


def test_sequences_across_reads_stay_whole(tmp_path: Path) -> None:
    for shift in range(4):
        text = "x" * ((1 << 20) - 5 - shift) + "\U0001f600" * 3
        path = write(tmp_path / "q.csv", f"text\n{text}\n")
        assert rows(read_corpus([path], AUTO)) == [("q.csv:1", text)]


@pytest.mark.parametrize("size", [1 << 20, 20 << 20])
def test_long_texts(tmp_path: Path, size: int) -> None:
    text = "a" * size
    csv = write(tmp_path / "q.csv", f"id,text\n1,{text}\n2,b\n")
    assert rows(read_corpus([csv], AUTO)) == [("1", text), ("2", "b")]
    jsonl = write(tmp_path / "q.jsonl", json.dumps({"id": 1, "text": text}))
    assert rows(read_corpus([jsonl], AUTO)) == [("1", text)]


def test_empty_corpora_are_valid(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "q.parquet")
    write(tmp_path / "q.csv", "id,text\n")
    write(tmp_path / "q.jsonl", "\n")
    write(tmp_path / "q.xml", "<posts/>")
    for name in ("no.csv", "no.tsv", "no.jsonl"):
        write(tmp_path / name, "")
    for name in ("q.csv", "q.jsonl", "q.parquet", "q.xml", "no.csv", "no.tsv", "no.jsonl"):
        corpus = read_corpus([tmp_path / name], AUTO)
        assert rows(corpus) == []
        assert corpus.documents.schema.field("doc_id").type == pa.string()
        assert corpus.documents.schema.field("text").type == pa.string()
        assert corpus.files[0].documents == 0


PLAIN_QUOTES = 'n\tleft\tright\n1\t"A" cat" is\tno dog\n\n2\t"open\tshut"er\r\n3\t\t"\n'


def test_tsv_whose_quotes_are_plain_characters(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "q.tsv", PLAIN_QUOTES)
    with caplog.at_level("INFO", logger="dupmine"):
        corpus = read_corpus([path], CorpusSettings(text_column="left", id_column="n"))
    assert rows(corpus) == [("1", '"A" cat" is'), ("2", '"open'), ("3", "")]
    assert corpus.documents["right"].to_pylist() == ["no dog", 'shut"er', '"']
    message = f"{path}: quotes are read as plain characters, as it seems; set --quote to be sure"
    assert message in caplog.messages
    assert corpus.files[0].guessed == {"quote": "none"}
    assert corpus.counts == {"invalid_utf8_replaced": 0, "guessed_quote": 1}


def test_a_tsv_row_longer_than_a_block_with_plain_quotes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dupmine.corpus.delimited._parse.__defaults__", (64,))
    path = write(tmp_path / "q.tsv", PLAIN_QUOTES + f'4\t"{"long " * 40}\tx\n')
    corpus = read_corpus([path], CorpusSettings(text_column="left"))
    assert corpus.documents["text"].to_pylist()[-1] == '"' + "long " * 40


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("q.tsv", PLAIN_QUOTES + "4\n", "q.tsv, line 6: expected 3 fields, found 1"),
        ("q.tsv", 'text\nfirst\n"second\n', "q.tsv, line 3: a quote opened in this row is never closed"),
        ("q.tsv", '"n"\ttext\n1\t"a\n', "q.tsv, line 2: a quote opened in this row is never closed"),
    ],
)
def test_quotes_that_fit_in_no_way(tmp_path: Path, name: str, text: str, problem: str) -> None:
    with pytest.raises(InputError, match=re.escape(problem)):
        read_corpus([write(tmp_path / name, text)], CorpusSettings())
