"""Files that ask for too much: bombs, thousands of columns and records without an end are refused at once."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dupmine.corpus import corpus_from, read_corpus
from dupmine.corpus import objects as module
from dupmine.errors import InputError
from dupmine.settings import CorpusSettings

from .test_readers import rows, write, zstd
from .test_readers_errors import problem

AUTO = CorpusSettings()
MIB = 1 << 20
PEAK = """
def peak(): return int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0])
before = peak()
"""


def bomb(name: str) -> bytes:
    """Return a file of 1 MiB or less that becomes 3 GiB, in frames or members of 128 MiB each."""
    head = b"text\n" if ".csv" in name else b'<posts><row Id="1"/>' if ".xml" in name else b""
    start, end = (b'{"text": "', b'"}\n') if ".jsonl" in name else (b"<row Title='", b"'/>\n")
    line = start + b"a" * 9999 + end
    pack: Callable[[bytes], bytes] = zstd if name.endswith("zst") else gzip.compress
    return pack(head) + pack(line * (128 * MIB // len(line))) * 24


@pytest.mark.parametrize("name", ["q.csv.gz", "q.jsonl.gz", "q.xml.gz", "q.tsv.zst", "q.jsonl.zst"])
def test_decompression_bombs(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, bomb(name))
    assert path.stat().st_size < 16 * MIB
    code = f"from dupmine import mine; mine({str(path)!r}, progress=False)"
    # ru_maxrss of a new process starts at that of the process which started it.
    peak = "import atexit; atexit.register(lambda: print(open('/proc/self/status').read()))"
    started = time.monotonic()
    command = [sys.executable, "-c", f"{peak}; {code}"]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert time.monotonic() - started < 60
    assert f"{path}: " in ended.stderr.splitlines()[-1]
    assert ended.stderr.splitlines()[-1].endswith("set corpus.max_expansion higher")
    assert int(ended.stdout.partition("VmHWM:")[2].split()[0]) < 1500 * 1024  # KiB


def test_what_expands_moderately_or_is_small_is_read(tmp_path: Path) -> None:
    write(tmp_path / "q.csv.gz", gzip.compress(b"text\n" + b"a" * (60 * MIB)))
    assert len(read_corpus([tmp_path], AUTO).documents) == 1
    write(tmp_path / "q.csv.gz", gzip.compress(b"text\n" + b"a" * (70 * MIB)))
    with pytest.raises(InputError, match=r"expand to more than 64 MiB, expected at most 100 times as much"):
        read_corpus([tmp_path], AUTO)
    assert len(read_corpus([tmp_path], CorpusSettings(max_expansion=2000)).documents) == 1


def parquet(**columns: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, compression="zstd", store_schema=False)
    return sink.getvalue()


def repeated(text: str, times: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array([0] * times, pa.int32()), pa.array([text]))


BOMBS = {
    "a long text in every row": lambda: parquet(text=repeated("x" * 10_000_000, 100_000)),
    "a long text in every item": lambda: parquet(
        text=["a"], tags=pa.ListArray.from_arrays([0, 100_000], repeated("x" * 1_000_000, 100_000))
    ),
    "a long text in every object": lambda: parquet(
        text=["a"] * 1000, tags=pa.StructArray.from_arrays([repeated("x" * 1_000_000, 1000)], ["tag"])
    ),
    "rows of nothing": lambda: parquet(text=pa.nulls(20_000_000, pa.string())),
    "one long text": lambda: parquet(text=["x" * 100_000_000]),
}


@pytest.mark.parametrize("name", BOMBS)
def test_parquet_bombs(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "q.parquet", BOMBS[name]())
    size = path.stat().st_size
    assert size < MIB
    started, memory = time.monotonic(), pa.total_allocated_bytes()
    assert problem(path) == (
        f"q.parquet: {size:,} bytes of it expand to more than 64 MiB, expected at most 100 times as much: if "
        "this is not a decompression bomb, set corpus.max_expansion higher"
    )
    assert time.monotonic() - started < 10
    assert pa.total_allocated_bytes() - memory < 64 * MIB


def test_a_parquet_file_of_equal_texts_is_read(tmp_path: Path) -> None:
    data = parquet(id=list(range(500_000)), text=repeated("What is the time?", 500_000))
    corpus = read_corpus([write(tmp_path / "q.parquet", data)], AUTO)
    assert corpus.documents["text"].unique().to_pylist() == ["What is the time?"]


NAMES = [f"c{i}" for i in range(10_000)]
EMPTY = " ".join(f"{name}=''" for name in NAMES)
WIDE: dict[str, bytes | str] = {
    "q.csv": ",".join(["text", *NAMES]) + "\n",
    "q.tsv": "\t".join(["text", *NAMES]) + "\n",
    "q.jsonl": "\n".join(json.dumps({"text": "a", name: 1}) for name in NAMES),
    "one.jsonl": json.dumps({"text": "a"} | dict.fromkeys(NAMES)),
    "q.xml": f'<posts><row Id="1" PostTypeId="1" Title="a" {EMPTY}/></posts>',
    "q.parquet": parquet(text=["a"], **{name: [1] for name in NAMES}),
}


@pytest.mark.parametrize("name", WIDE)
def test_thousands_of_columns(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, WIDE[name])
    found = {"q.jsonl": "1,001", "q.xml": "10,003"}.get(name, "10,001")
    assert problem(path) == (
        f"{name}: expected at most 1,000 columns, found {found}: leave out what is not needed, or set "
        "corpus.max_columns higher"
    )
    if name != "q.jsonl":  # whose 10,000 rows have 10,000 columns
        assert len(read_corpus([path], CorpusSettings(max_columns=10_003)).documents.column_names) > 10_000


def test_thousands_of_columns_in_memory_and_in_many_files(tmp_path: Path) -> None:
    table = pa.table({"text": ["a"], **{name: [1] for name in NAMES}})
    for data in (table, table.to_pandas()):
        with pytest.raises(InputError, match=r"^the \w+: expected at most 1,000 columns, found 10,001: "):
            corpus_from(data, AUTO)
    for i in range(5):
        write(tmp_path / f"{i}.csv", ",".join(["text", *NAMES[i * 300 : i * 300 + 300]]) + "\n")
    with pytest.raises(
        InputError, match=r"^the files together: expected at most 1,000 columns, found 1,501: "
    ):
        read_corpus([tmp_path], AUTO)


def test_objects_with_thousands_of_keys_inside_become_json(tmp_path: Path) -> None:
    lines = [json.dumps({"text": "a", "x": {name: i}}) for i, name in enumerate(NAMES)]
    corpus = read_corpus([write(tmp_path / "q.jsonl", "\n".join(lines))], AUTO)
    assert corpus.documents["x"][:2].to_pylist() == ['{"c0": 0}', '{"c1": 1}']
    frame = pd.DataFrame({"text": ["a"] * 2, "x": [{"a": 1}, {"b": 2}]})
    assert corpus_from(frame, CorpusSettings(max_columns=2)).documents["x"][1].as_py() == {"a": None, "b": 2}


@pytest.mark.parametrize("one", ["[]", '{"a":}'])
def test_values_of_many_levels(tmp_path: Path, one: str) -> None:
    def nested(levels: int) -> Path:
        start, end = one[:-1] * levels, one[-1] * levels
        return write(tmp_path / "q.jsonl", f'{{"text": "a", "x": {start}1{end}}}')

    value = read_corpus([nested(32)], AUTO).documents["x"]
    sink = io.BytesIO()
    pq.write_table(pa.table({"x": value}), sink)
    assert pq.read_table(sink)["x"].to_pylist() == value.to_pylist()
    for levels in (33, 500, 950):
        assert problem(nested(levels)) == (
            "q.jsonl, line 1: lists and objects more than 32 levels deep: remove or flatten them"
        )


def test_long_records_take_linear_time(tmp_path: Path) -> None:
    text = "a" * (50 * MIB)
    started = time.monotonic()
    for name, data in (
        ("q.csv", f'id,text\n1,"{text}"\n2,b\n'),
        ("q.tsv", f"id\ttext\n1\t{text}\n2\tb\n"),
        ("q.jsonl", f'{{"id": 1, "text": "{text}"}}\n{{"id": 2, "text": "b"}}'),
    ):
        assert rows(read_corpus([write(tmp_path / name, data)], AUTO)) == [("1", text), ("2", "b")]
    assert time.monotonic() - started < 20


def test_a_line_without_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_LINE", 3 * MIB)
    path = write(tmp_path / "q.jsonl", '{"text": "' + "a" * (5 * MIB))
    assert problem(path) == "q.jsonl: a line is longer than 3 MiB: expected one JSON object per line"


@pytest.mark.parametrize(
    "start", ['<posts><row Id="', "<posts><!-- ", "<posts>", "<posts><row ", "<posts><row Title='&lt;'>"]
)
def test_xml_without_a_tag(tmp_path: Path, start: str) -> None:
    path = write(tmp_path / "q.xml", start + "a" * (200 * MIB))
    started = time.monotonic()
    assert problem(path).startswith(
        "q.xml: no tag in 17 MiB: expected a Stack Exchange Posts.xml, whose rows "
    )
    assert time.monotonic() - started < 10


def test_xml_with_a_long_title(tmp_path: Path) -> None:
    title = "a" * (15 * MIB)
    path = write(tmp_path / "q.xml", f'<posts><row Id="1" PostTypeId="1" Title="{title}"/></posts>')
    assert rows(read_corpus([path], AUTO)) == [("1", title)]


def test_xml_of_many_levels(tmp_path: Path) -> None:
    path = write(tmp_path / "q.xml", "<posts>" + "<row>" * 300_000)
    assert problem(path).startswith("q.xml, line 1: broken XML (no element found")


LAUGHS = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))


@pytest.mark.parametrize(
    ("declared", "used"),
    [
        (f'<!ENTITY l0 "lol">{LAUGHS}', "&l9;"),
        ('<!ENTITY x SYSTEM "file:///etc/passwd">', "&x;"),
        ('<!ENTITY x SYSTEM "http://127.0.0.1:9/x">', "&x;"),
        ('<!ENTITY % p SYSTEM "file:///etc/passwd"> %p;', "a"),
        ("", "a"),
    ],
    ids=["laughs", "file", "network", "parameter", "empty"],
)
def test_entities_are_refused(tmp_path: Path, declared: str, used: str) -> None:
    data = f'<!DOCTYPE posts [{declared}]>\n<posts><row Id="1" PostTypeId="1" Title="{used}"/></posts>'
    assert problem(write(tmp_path / "q.xml", data)) == (
        "q.xml: the XML declares a DTD or entities (DTDForbidden): refused as unsafe, remove the declaration"
    )


def test_an_external_dtd_is_refused(tmp_path: Path) -> None:
    data = '<!DOCTYPE posts SYSTEM "file:///etc/passwd"><posts/>'
    assert "refused as unsafe" in problem(write(tmp_path / "q.xml", data))


OPEN = {  # what follows the open quote, and the line it stands in
    "lines": ("a line of a text, of some length\n", "is not closed within 16,777,216 characters and"),
    "short lines": ("a\n", "is not closed within 16,777,216 characters and 1,048,576 lines"),
    "one line": ("a line of a text, of some length ", "a field of this row has more than 16,777,216 char"),
}


@pytest.mark.parametrize("case", OPEN)
def test_a_quote_that_never_closes_takes_little_memory(case: str, tmp_path: Path) -> None:
    """It took nine times the size of the file."""
    unit, expected = OPEN[case]
    head = "id,text\n" + "".join(f"{i},How do I draw {i}?\n" for i in range(100)) + '100,"an open'
    path = write(tmp_path / "q.csv", (head + unit * (32 * MIB // len(unit))).encode())
    code = f"from dupmine.corpus import read_corpus; from dupmine.settings import CorpusSettings as S\n{PEAK}"
    code += (
        f"try: read_corpus([{str(path)!r}], S(quote='\"'))\nfinally: after = peak(); print(after - before)"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert f"{path}, line 102: " in ended.stderr.splitlines()[-1]
    assert expected in ended.stderr.splitlines()[-1]
    assert int(ended.stdout) < (280 if case == "one line" else 200) * 1024  # KiB, of a file of 32 MiB


def test_a_long_field_in_quotes_is_read(tmp_path: Path) -> None:
    text = "a line of a text\n" * 50_000
    path = write(tmp_path / "q.csv", f"id,text\n1,\"{text}\"\n2,''x\n".encode())
    assert rows(read_corpus([path], AUTO)) == [("1", text), ("2", "''x")]
