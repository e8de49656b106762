"""The readers against random, damaged and valid files: a corpus or one clear line, nothing else."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dupmine.corpus import read_corpus
from dupmine.errors import DupmineError
from dupmine.settings import CorpusSettings

from .test_readers import rows, write, zstd

bounded = settings(
    max_examples=500,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def table_as(ending: str, texts: list[str]) -> bytes:
    """Write texts with the ids "0", "1", … in the format of a file name."""
    plain, _, packing = ending.removeprefix(".").partition(".")
    data = {"csv": _csv, "tsv": _csv, "jsonl": _jsonl, "parquet": _parquet, "xml": _xml}[plain](plain, texts)
    return gzip.compress(data) if packing == "gz" else zstd(data) if packing == "zst" else data


def _csv(plain: str, texts: list[str]) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter="," if plain == "csv" else "\t", quoting=csv.QUOTE_ALL)
    writer.writerows([["id", "text"], *([str(i), text] for i, text in enumerate(texts))])
    return out.getvalue().encode()


def _jsonl(_: str, texts: list[str]) -> bytes:
    return "\n".join(json.dumps({"id": str(i), "text": text}) for i, text in enumerate(texts)).encode()


def _parquet(_: str, texts: list[str]) -> bytes:
    ids = pa.array([str(i) for i in range(len(texts))], pa.string())
    sink = io.BytesIO()
    pq.write_table(pa.table({"id": ids, "text": pa.array(texts, pa.string())}), sink)
    return sink.getvalue()


def _xml(_: str, texts: list[str]) -> bytes:
    escapes = {"\n": "&#10;", "\r": "&#13;", "\t": "&#9;"}
    lines = [
        f'<row Id="{i}" PostTypeId="1" Title={quoteattr(text, escapes)} />' for i, text in enumerate(texts)
    ]
    return f"<posts>{''.join(lines)}</posts>".encode()


PAIRS = b'id,qid1,qid2,question1,question2,is_duplicate\n0,1,2,How?,Why?,0\n1,1,3,How?,"So,\nhow?",1\n'
ENDINGS = [".csv", ".tsv", ".jsonl", ".parquet", ".xml", ".csv.gz", ".jsonl.gz", ".tsv.zst", ".xml.zst"]
TEXTS = ["How do I learn Python?", 'a "b", \u00e9', "", "\U0001f600\tx\ny"]
SEEDS = [(ending, table_as(ending, TEXTS)) for ending in ENDINGS] + [
    (".csv", PAIRS),
    (".tsv.gz", gzip.compress(PAIRS.replace(b",", b"\t"))),
]


def check(path: Path, **values: object) -> None:
    """Read a file: a sound corpus, or one line that names the file."""
    try:
        corpus = read_corpus([path], CorpusSettings(**values))
    except DupmineError as error:
        assert str(error).isprintable(), error  # noqa: PT017  (either outcome is right)
        assert path.name in str(error)  # noqa: PT017
        return
    documents = corpus.documents
    documents.validate(full=True)
    assert documents.schema.types[:2] == [pa.string(), pa.string()]
    assert documents["text"].null_count == 0
    assert len(documents["doc_id"].unique()) == len(documents)


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, bytes]:
    """Flip, insert, delete, repeat and cut off bytes of a valid file."""
    ending, data = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(1, 4))):
        at, end = sorted(draw(st.tuples(*[st.integers(0, len(data))] * 2)))
        end = min(end, at + draw(st.sampled_from([0, 1, 4, 64])))
        new = draw(st.binary(max_size=4) | st.just(data[at:end] * 3) | st.just(b"\xff" * 8))
        data = data[:at] if draw(st.integers(0, 9)) == 0 else data[:at] + new + data[end:]
    return ending, data


@bounded
@given(file=damaged(), errors=st.sampled_from(["strict", "replace"]))
def test_damaged_files(tmp_path: Path, file: tuple[str, bytes], errors: str) -> None:
    check(write(tmp_path / f"q{file[0]}", file[1]), encoding_errors=errors)


@bounded
@given(ending=st.sampled_from(ENDINGS), data=st.binary(max_size=200), packed=st.booleans())
def test_random_bytes(tmp_path: Path, ending: str, data: bytes, packed: bool) -> None:
    if packed:
        data = gzip.compress(data) if ending.endswith("gz") else zstd(data)
    check(write(tmp_path / f"q{ending}", data))


@bounded
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=8,
    ),
    text=st.text(max_size=4),
)
def test_any_json(tmp_path: Path, value: object, text: str) -> None:
    lines = [
        {"text": text},
        {"text": text, "x": value},
        {"text": "a", "x": [value]},
        {"text": "b", text: value},
    ]
    check(write(tmp_path / "q.jsonl", "\n".join(map(json.dumps, lines))))


ANY = st.characters(exclude_categories=["Cs"])
# XML has no control characters, and neither U+FFFE nor U+FFFF.
PRINTED = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")


@pytest.mark.parametrize("ending", ENDINGS)
@settings(bounded, max_examples=40)
@given(data=st.data())
def test_valid_tables_come_back(tmp_path: Path, ending: str, data: st.DataObject) -> None:
    letters = PRINTED | st.sampled_from("\n\r\t") if ending.startswith(".xml") else ANY
    texts = data.draw(st.lists(st.text(letters, max_size=30), max_size=6))
    path = write(tmp_path / f"q{ending}", table_as(ending, texts))
    assert rows(read_corpus([path], CorpusSettings())) == [(str(i), text) for i, text in enumerate(texts)]
