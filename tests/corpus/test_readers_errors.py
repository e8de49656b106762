"""Bad input: one line that says what, where and what to do."""

from __future__ import annotations

import gzip
import os
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dupmine.corpus import read_corpus
from dupmine.corpus.columns import TEXT_NAMES
from dupmine.errors import DupmineError, InputError, SettingsError
from dupmine.settings import CorpusSettings

from .test_readers import write, zstd

AUTO = CorpusSettings()
NAMES = ", ".join(TEXT_NAMES)


def problem(path: Path | str, **settings: object) -> str:
    """Return the message of reading `path`, without the temporary folder."""
    with pytest.raises(DupmineError) as caught:
        read_corpus([path], CorpusSettings(**settings))
    message = str(caught.value)
    assert "\n" not in message
    folder = Path(path).parent if Path(path).suffix or "*" in str(path) else Path(path)
    return message.replace(f"{folder}/", "")


BAD_FILES = [
    (
        "q.csv",
        'id,text\n1,"a\nb"\n2,c,d\n',
        "q.csv, line 4: expected 2 fields, found 3: quote a field that holds the delimiter, a quote or a "
        "newline, or set --delimiter, --quote or --escape",
    ),
    (
        "q.tsv",
        "id\ttext\n1\n",
        "q.tsv, line 2: expected 2 fields, found 1: quote a field that holds the delimiter, a quote or a "
        "newline, or set --delimiter, --quote or --escape",
    ),
    (
        "q.csv",
        'id,text\n1,"a"\n2,"b"\n3,"c\n4,d\n',
        "q.csv, line 4: a quote opened in this row is never closed: close or double it",
    ),
    (
        "q.csv",
        '"a\nb",c\nx,y\n',
        f"q.csv: no text column: expected one called {NAMES}; the columns are 'a\\nb', c: "
        "name one with --text-column",
    ),
    ("q.csv", "id,text,id\n", "q.csv: two columns are called 'id': rename one of them"),
    (
        "q.csv",
        "id,text\n1,caf\u00e9\n2,caf".encode() + b"\xe9\n",
        "q.csv, line 3: invalid UTF-8 (byte 0xe9): read it with --encoding and the name of its encoding, or "
        "with --encoding-errors replace",
    ),
    (
        "q.csv",
        "id,quest,note\n1,a,b\n",
        f"q.csv: no text column: expected one called {NAMES}; the columns are id, quest, note: "
        "name one with --text-column",
    ),
    (
        "q.csv",
        "id,text\n1,a\n2,b\n1,c\n",
        "the id 1 (column id) occurs twice: q.csv, row 1 and q.csv, row 3: ids must be unique: correct it or "
        "name another column with --id-column",
    ),
    (
        "q.csv",
        "id,text\n1,a\n,b\n",
        "q.csv, row 2: the id (column id) is empty: fill it, or name another column with --id-column",
    ),
    (
        "q.jsonl",
        '{"text": "a"}\n{"text": }\n',
        "q.jsonl, line 2: invalid JSON (Expecting value, column 10): expected one object per line",
    ),
    ("q.jsonl", "[" * 100_000, "q.jsonl, line 1: lists and objects more than 32 levels deep"),
    ("q.jsonl", '{"text": "a"}\n["b"]\n', "q.jsonl, line 2: expected a JSON object, found list"),
    (
        "q.jsonl",
        '{"text": "a"}\n\n{"text": "b\\ud800"}\n',
        "q.jsonl, line 3: half of a surrogate pair (\\ud800 to \\udfff) is not text: remove it",
    ),
    (
        "q.jsonl",
        '{"text": "a"}\n{"text": null}\n',
        "q.jsonl, row 2: the text (column text) is null: fill it, or set --nulls to drop or empty",
    ),
    (
        "q.jsonl",
        '{"text": "a"}\n{"text": 3}\n',
        "q.jsonl, row 2: column text is not a string here: quote the value, or name another column with "
        "--text-column",
    ),
    (
        "q.jsonl",
        '{"text": null}\n{"text": 3}\n',
        "q.jsonl, row 2: column text holds int64, not strings: convert it, or name another column with "
        "--text-column",
    ),
    (
        "q.jsonl",
        '{"id": 1, "text": "a"}\n{"text": "b"}\n',
        "q.jsonl, row 2: the id (column id) is null: fill it, or name another column with --id-column",
    ),
    (
        "q.jsonl",
        '{"id": [1], "text": "a"}\n',
        "q.jsonl: column id holds list<item: int64>, not ids: name another one with --id-column",
    ),
    (
        "q.jsonl",
        "{}\n",
        "q.jsonl: every object is empty: expected one with the text of a question",
    ),
    ("q.parquet", "PAR1 and no more PAR1", "q.parquet: broken Parquet file ("),
    ("q.parquet", "", "q.parquet: broken Parquet file ("),
    ("q.parquet.gz", "x", "q.parquet.gz: Parquet is compressed inside: decompress the file first"),
    (
        "q.xml",
        '<posts>\n<row Id="1" PostTypeId="1"\n</posts>',
        "q.xml, line 3: broken XML (not well-formed (invalid token): line 3, column 0)",
    ),
    ("q.xml", '<posts>\n<row Id="1" PostTypeId="2" />\n', "q.xml, line 3: broken XML (no element found"),
    (
        "q.xml",
        '<!DOCTYPE posts [<!ENTITY a "b">]><posts/>',
        "q.xml: the XML declares a DTD or entities (DTDForbidden): refused as unsafe, remove the declaration",
    ),
    ("q.xml", "<users/>", "q.xml: expected a Stack Exchange Posts.xml with root posts, found users"),
    (
        "q.xml",
        '<posts><row Id="1" PostTypeId="1" /></posts>',
        "q.xml, row 1: the text (column Title) is null: fill it, or set --nulls to drop or empty",
    ),
    ("q.csv.gz", "no gzip", "q.csv.gz: broken gzip file (Not a gzipped file (b'no')): make or download it"),
    ("q.csv.gz", gzip.compress(b"text\n" * 99)[:-9], "q.csv.gz: broken gzip file (Compressed file ended"),
    ("q.csv.zst", zstd(b"text\n" * 99)[:-3], "q.csv.zst: broken zstd file (Truncated compressed stream)"),
    ("q.jsonl.zst", b"", "q.jsonl.zst: broken zstd file (it is empty): make or download it again"),
    (
        "q.docx",
        "text\na\n",
        "q.docx: unknown ending: known are .csv, .tsv, .tab, .jsonl, .ndjson, .json, .txt, .parquet, .xlsx, "
        ".xlsm, .xml, also with .gz, .bz2, .xz, .zst, .zip; for another name add --format",
    ),
]


@pytest.mark.parametrize(("name", "data", "expected"), BAD_FILES, ids=lambda value: str(value)[:24])
def test_bad_file(tmp_path: Path, name: str, data: bytes | str, expected: str) -> None:
    assert expected in problem(write(tmp_path / name, data))


def test_missing_files(tmp_path: Path) -> None:
    write(tmp_path / "questions.csv", "text\n")
    assert problem(tmp_path / "question.csv") == ("question.csv: no such file: did you mean questions.csv?")
    assert problem(tmp_path / "zzz.csv") == "zzz.csv: no such file: check the path"
    missing = tmp_path / "no" / "q.csv"
    assert problem(missing) == f"q.csv: no such file: the folder {missing.parent} does not exist"
    assert problem(tmp_path / "*.json") == "*.json: no file matches: check the pattern and the current folder"
    assert problem("q\0.csv") == "q\\x00.csv: no such file: check the path"
    assert problem("~/nowhere/q.csv") == (
        f"{Path.home()}/nowhere/q.csv: no such file: the folder {Path.home()}/nowhere does not exist"
    )


def test_names_the_system_does_not_take(tmp_path: Path) -> None:
    long = problem("How do I learn Python " * 20)
    assert long.endswith("…: cannot be opened (File name too long): check the file and its permissions")
    try:
        folder = write(tmp_path / "q\udcff.csv", "text\na\n").parent
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    for path in (folder, folder / "q\udcff.csv"):
        with pytest.raises(InputError, match=r"q\\udcff.csv': the name is not UTF-8: rename the file or"):
            read_corpus([path], AUTO)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_cannot_be_listed(tmp_path: Path) -> None:
    write(tmp_path / "q.csv", "text\na\n")
    (tmp_path / "closed").mkdir(mode=0)
    assert problem(tmp_path) == (
        "closed: cannot be opened (Permission denied): check the file and its permissions"
    )


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_closed_standard_input(format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)  # what Python makes of <&-
    assert problem("-", format=format) == ("standard input is closed: pipe the documents in, or name a file")


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_corpus([tmp_path], AUTO)
    assert str(caught.value) == (
        f"{tmp_path}: the folder has no file to read: expected names ending in .csv, .tsv, .tab, .jsonl, "
        ".ndjson, .json, .txt, .parquet, .xlsx, .xlsm, .xml"
    )
    with pytest.raises(InputError, match="no input: name a file, a folder, a glob or - for standard input"):
        read_corpus([], AUTO)


def test_standard_input_needs_a_format() -> None:
    with pytest.raises(SettingsError) as caught:
        read_corpus(["-"], AUTO)
    assert str(caught.value) == (
        "standard input has no file name to tell its format: add --format (csv, tsv, jsonl, json, txt, "
        "parquet, xlsx, stackexchange)"
    )


def test_unknown_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "q.csv", "id,Title,body\n1,a,b\n")
    assert problem(path, text_column="titel") == (
        "q.csv: no column titel (--text-column): did you mean Title? the columns are id, Title, body"
    )
    assert problem(path, text_column="Title,zzz") == (
        "q.csv: no column zzz (--text-column): the columns are id, Title, body"
    )
    assert problem(path, id_column="qid") == (
        "q.csv: no column qid (--id-column): did you mean id? the columns are id, Title, body"
    )
    assert problem(path, text_column=" , ") == (
        "setting text_column: expected the name of a column, not ' , '"
    )


def test_files_without_a_common_text_column(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "text\na\n")
    write(tmp_path / "b.csv", "question\nb\n")
    assert problem(tmp_path / "*.csv") == (
        "the files have no text column in common: text in a.csv and question in b.csv: read them separately, "
        "or rename the columns"
    )


def test_one_id_in_two_files(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "id,text\n1,a\n2,b\n")
    write(tmp_path / "b.jsonl", '{"id": 3, "text": "c"}\n{"id": 2, "text": "d"}\n')
    assert problem(tmp_path / "*").startswith(
        "the id 2 (column id) occurs twice: a.csv, row 2 and b.jsonl, row 2: ids must be unique"
    )


def test_invalid_utf8_in_parquet(tmp_path: Path) -> None:
    raw = pa.array([b"a", b"caf\xe9", None], pa.binary())
    texts = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    pq.write_table(pa.table({"text": texts.slice(0, 2)}), tmp_path / "q.parquet")
    assert problem(tmp_path / "q.parquet") == (
        "q.parquet, row 2: invalid UTF-8 in column text: correct it, or read it with "
        "--encoding-errors replace"
    )
    corpus = read_corpus([tmp_path / "q.parquet"], CorpusSettings(encoding_errors="replace"))
    assert corpus.documents["text"].to_pylist() == ["a", "caf\ufffd"]
    assert corpus.counts == {"invalid_utf8_replaced": 1}


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that cannot be read")
def test_a_file_the_system_does_not_give() -> None:
    with pytest.raises(InputError, match=r"/proc/self/mem: cannot be read \(.*Input/output error"):
        read_corpus(["/proc/self/mem"], CorpusSettings(format="csv"))


ENDINGS = [".csv", ".tsv", ".jsonl", ".parquet", ".xml", ".csv.gz", ".jsonl.zst"]
# Pieces that reach further into the parsers than plain noise does.
PIECES = [
    b'"',
    b",",
    b"\t",
    b"\n",
    b"\r",
    b"text",
    b'{"text":',
    b'"a"}',
    b"<posts>",
    b"<row ",
    b"/>",
    b"PAR1",
]
NOISE = st.lists(st.sampled_from(PIECES) | st.binary(max_size=6), max_size=12).map(b"".join)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ending=st.sampled_from(ENDINGS),
    data=NOISE,
    errors=st.sampled_from(["strict", "replace"]),
    packed=st.booleans(),
)
def test_noise_is_read_or_refused(
    tmp_path: Path, ending: str, data: bytes, errors: str, packed: bool
) -> None:
    if packed:
        data = (
            gzip.compress(data) if ending.endswith("gz") else zstd(data) if ending.endswith("zst") else data
        )
    path = write(tmp_path / f"q{ending}", data)
    try:
        corpus = read_corpus([path], CorpusSettings(encoding_errors=errors))
    except DupmineError as error:
        assert "\n" not in str(error)  # noqa: PT017  (either outcome is right)
    else:
        assert corpus.documents.column_names[:2] == ["doc_id", "text"]
        assert corpus.documents["text"].null_count == 0
