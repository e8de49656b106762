"""Dialects and encodings as they come: the right texts, or one line that says which option to set."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from dupmine.corpus import read_corpus
from dupmine.settings import CorpusSettings

from .test_readers import rows, write
from .test_readers_errors import problem

AUTO = CorpusSettings()
GERMAN = "Wie gro\u00df ist K\u00f6ln, und wo liegt es?"


def texts_of(path: Path, **options: object) -> list[str]:
    return [text for _, text in rows(read_corpus([path], CorpusSettings(**options)))]


def guesses_of(path: Path) -> dict[str, str]:
    return read_corpus([path], AUTO).files[0].guessed


DIALECTS = {
    "plain quotes in TSV": (
        "q.tsv",
        'id\ttext\n1\t"What is love?\n2\tHow?\n3\tWho is "X"?\n',
        ['"What is love?', "How?", 'Who is "X"?'],
        {"quote": "none"},
    ),
    "a whole text in plain quotes": (
        "q.tsv",
        'id\ttext\n1\tWhy?\n2\t"Hello"\n3\tHow?\n',
        ["Why?", '"Hello"', "How?"],
        {"quote": "none"},
    ),
    "quotes inside fields": (
        "q.csv",
        'id,text\n1,What is a 5" screen?\n2,"Hello" said who?\n3,Who said "Hello"?\n',
        ['What is a 5" screen?', '"Hello" said who?', 'Who said "Hello"?'],
        {"quote": "none"},
    ),
    "quotes of a writer around some": (
        "q.csv",
        'id,text\n1,"So, how?"\n2,"Why?"\n3,What is a 5" screen?\n',
        ["So, how?", "Why?", 'What is a 5" screen?'],
        {},
    ),
    "quotes escaped by Spark": (
        "q.csv",
        'id,text,n\n1,"What does \\"foo, bar\\" mean?",3\n2,Why?,4\n3,"C:\\\\",5\n',
        ['What does "foo, bar" mean?', "Why?", "C:\\"],
        {"escape": "spark"},
    ),
    "other backslashes of Spark": (
        "q.csv",
        'id,text\n1,"What is \\frac, \\"x\\"?"\n2,Why?\n',
        ['What is \\frac, "x"?', "Why?"],
        {"escape": "spark"},
    ),
    "a dump of MySQL": (
        "q.tsv",
        "id\ttext\tnote\n1\tWhat is\\\na tab\\\there?\t\\N\n2\tC:\\\\\tx\n",
        ["What is\na tab\there?", "C:\\"],
        {"escape": "mysql"},
    ),
    "semicolons": (
        "q.csv",
        "id;text\n1;How, and why?\n2;Why?\n",
        ["How, and why?", "Why?"],
        {"delimiter": ";"},
    ),
    "bars": ("q.csv", "id|text\n1|How?\n2|Why?\n", ["How?", "Why?"], {"delimiter": "|"}),
    "tabs in CSV": ("q.csv", "id\ttext\n1\tSo, how?\n", ["So, how?"], {"delimiter": "tab"}),
    "commas in TSV": ("q.tsv", 'id,text\n1,"So, how?"\n', ["So, how?"], {"delimiter": ","}),
    "the line of Excel": ("q.csv", "sep=;\nid;text\n1;So, how?\n", ["So, how?"], {}),
    "a column without quotes": (
        "q.csv",
        "text\nSo, how?\nWhy?\nHe said, she said, they said\n",
        ["So, how?", "Why?", "He said, she said, they said"],
        {"delimiter": "none"},
    ),
    "single quotes": (
        "q.csv",
        "id,text\n1,'So, how?'\n2,'It''s, what?'\n",
        ["So, how?", "It's, what?"],
        {"quote": "'"},
    ),
    "apostrophes": (
        "q.csv",
        "id,text\n1,'Tis the season\n2,Whose is it's?\n",
        ["'Tis the season", "Whose is it's?"],
        {},
    ),
    "one column with line breaks": ("q.csv", 'text\n"a\nb"\nc\n', ["a\nb", "c"], {"quote": '"'}),
    "line breaks that are no rows": (
        "q.csv",
        'id,text\n1,"Dear all,\nhow, why\nand when?"\n2,Why?\n',
        ["Dear all,\nhow, why\nand when?", "Why?"],
        {},
    ),
    "backslashes that mean nothing": (
        "q.csv",
        "id,text\n1,What is \\alpha?\n2,Is C:\\ a drive?\n",
        ["What is \\alpha?", "Is C:\\ a drive?"],
        {},
    ),
}


@pytest.mark.parametrize("kind", DIALECTS)
def test_dialects(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    name, data, texts, guesses = DIALECTS[kind]
    corpus = read_corpus([write(tmp_path / name, data)], AUTO)
    assert corpus.documents["text"].to_pylist() == texts
    assert corpus.files[0].guessed == guesses
    assert {name: 1 for name in corpus.counts if name.startswith("guessed")} == {
        f"guessed_{option}": 1 for option in guesses
    }
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == len(guesses)
    assert all(f"set --{option} to be sure" in caplog.text for option in guesses)


SWALLOWED = (
    "a quote opened in this row is closed in a later one, and the lines between look like rows: set --quote "
    "none if quotes are plain, --quote '\"' if they enclose fields"
)
RAGGED = (
    "quote a field that holds the delimiter, a quote or a newline, or set --delimiter, --quote or --escape"
)
REFUSED = {
    "a quote closed four rows later": (
        "q.csv",
        'id,text\n1,"What is love?\n2,How?\n3,Why?\n4,Who wrote Hamlet?"\n5,Where?\n',
        f"q.csv, line 2: {SWALLOWED}",
    ),
    "and rows with more delimiters": (
        "q.csv",
        'id,text\n1,"What is love?\n2,Well, how?\n3,Who wrote Hamlet?"\n5,Where?\n',
        f"q.csv, line 2: {SWALLOWED}",
    ),
    "and a blank line": (
        "q.csv",
        'id,text\n1,"What is love?\n\n2,Why?"\n5,Where?\n',
        f"q.csv, line 2: {SWALLOWED}",
    ),
    "and other quoted fields": (
        "q.csv",
        'id,text\n0,"So, how?"\n1,"What is love?\n2,Why?"\n5,Where?\n',
        f"q.csv, line 3: {SWALLOWED}",
    ),
    "a mixture of quotes": (
        "q.csv",
        'id,text\n1,"So, how?"\n2,"Hello" said who?\n',
        "q.csv, line 3: a quote is closed inside a field: double the quotes in quoted fields",
    ),
    "backslashes of two programs": (
        "q.csv",
        'id,text\n1,"What, \\"x\\"?"\n2,C:\\new\n',
        "q.csv, line 3: a backslash here may be an escape or a plain character: set --escape to mysql, spark "
        "or none",
    ),
    "a row that is too long": (
        "q.csv",
        "id;text\n1;a\n2;b;c\n",
        f"q.csv, line 3: expected 2 fields, found 3: {RAGGED}",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_doubtful_dialects_are_refused(tmp_path: Path, kind: str) -> None:
    name, data, message = REFUSED[kind]
    assert problem(write(tmp_path / name, data)) == message


def test_options_say_what_is_not_to_be_guessed(tmp_path: Path) -> None:
    swallow = write(tmp_path / "q.csv", REFUSED["a quote closed four rows later"][1])
    assert len(texts_of(swallow, quote='"')) == 2
    assert texts_of(swallow, quote="none")[0] == '"What is love?'
    path = write(tmp_path / "w.csv", REFUSED["backslashes of two programs"][1])
    assert texts_of(path, escape="spark") == ['What, "x"?', "C:\\new"]
    assert texts_of(path, escape="mysql") == ['What, "x"?', "C:\new"]
    assert texts_of(path, escape="\\") == ['What, "x"?', "C:new"]
    path = write(tmp_path / "n.csv", "1;Why?\n2;How?\n")
    assert rows(read_corpus([path], CorpusSettings(columns="id,text", delimiter=";"))) == [
        ("1", "Why?"),
        ("2", "How?"),
    ]
    corpus = read_corpus([path], CorpusSettings(header=False, text_column="column2"))
    assert rows(corpus) == [("n.csv:1", "Why?"), ("n.csv:2", "How?")]
    assert corpus.files[0].guessed == {"delimiter": ";"}
    assert problem(path, columns="id,text,label") == (f"n.csv, line 1: expected 3 fields, found 1: {RAGGED}")
    lines = write(tmp_path / "t.csv", "Why, how?\nWhat?\n")
    assert texts_of(lines, columns="text", delimiter="none") == ["Why, how?", "What?"]


TABLE = f"id,text\n1,Why?\n2,{GERMAN}\n".replace(", und", " und")
PLAIN = GERMAN.replace(", und", " und")


@pytest.mark.parametrize(
    ("encoding", "guess"),
    [
        ("cp1252", "cp1252"),
        ("latin-1", "cp1252"),
        ("utf-16-le", "utf-16-le"),
        ("utf-16-be", "utf-16-be"),
        ("utf-32-le", "utf-32-le"),
        ("utf-16", None),
        ("utf-32", None),
        ("utf-8-sig", None),
    ],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_encodings(tmp_path: Path, encoding: str, guess: str | None, pack: type[bytes]) -> None:
    path = write(tmp_path / ("q.csv.gz" if pack is not bytes else "q.csv"), pack(TABLE.encode(encoding)))
    corpus = read_corpus([path], AUTO)
    assert corpus.documents["text"].to_pylist() == ["Why?", PLAIN]
    assert corpus.files[0].guessed == ({} if guess is None else {"encoding": guess})


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1252", "\u00bfC\u00f3mo est\u00e1s? \u201cBien\u201d \u2013 l\u2019\u00e9t\u00e9 d\u00e9j\u00e0"),
        ("cp1252", "H\u00f6ren Sie \u00d6l, \u00c4pfel und \u00dcbel f\u00fcr 5\u00a0\u20ac?"),
        ("cp1252", "Smarte spr\u00f8rsm\u00e5l p\u00e5 norsk om \u00e6re"),
    ],
)
def test_western_texts_are_read(tmp_path: Path, encoding: str, text: str) -> None:
    assert texts_of(write(tmp_path / "q.csv", f"text\n{text}\n".encode(encoding)), delimiter="none") == [text]


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        (
            "cp1251",
            "\u041a\u0430\u043a \u0432\u044b\u0443\u0447\u0438\u0442\u044c \u043f\u0438\u0442\u043e\u043d?",
        ),
        ("cp1250", "P\u0159\u00edli\u0161 \u017elu\u0165ou\u010dk\u00fd k\u016f\u0148 \u00fap\u011bl"),
        ("cp1250", "Gdzie jest \u017c\u00f3\u0142ty \u0142o\u015b?"),
        ("cp1250", "h\u0151m\u00e9rs\u00e9klet \u00e9s t\u0171"),
        ("cp1253", "\u03a0\u03ce\u03c2 \u03bc\u03b1\u03b8\u03b1\u03af\u03bd\u03c9;"),
        ("cp1254", "Nas\u0131l \u00f6\u011frenirim? \u015e\u00f6yle"),
        ("shift_jis", "\u65e5\u672c\u8a9e\u306e\u8cea\u554f\u306f\u3069\u3053\u3067\u3059\u304b"),
        ("gb18030", "\u5982\u4f55\u5b66\u4e60\u7f16\u7a0b"),
        ("mac_roman", "Wie gro\u00df ist K\u00f6ln?"),
        ("cp437", "Wie gro\u00df ist K\u00f6ln?"),
    ],
)
def test_other_encodings_are_refused_and_can_be_set(tmp_path: Path, encoding: str, text: str) -> None:
    path = write(tmp_path / "q.csv", f"text\n{text}\n".encode(encoding))
    message = problem(path)
    assert message.startswith("q.csv, line 2: invalid UTF-8 (byte 0x")
    assert "--encoding" in message
    assert texts_of(path, encoding=encoding) == [text]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize(
    "lines",
    [
        ["\u0427\u0442\u043e \u0442\u0430\u043a\u043e\u0435?", "\u041f\u043e\u0447\u0435\u043c\u0443?"],
        ["\u4ec0\u4e48\u662f\u7231", "\u4e00\u4e8c\u4e09", "\U0001f600"],
    ],
)
@pytest.mark.parametrize("times", [1, 40_000])
def test_wide_texts_in_other_scripts(tmp_path: Path, encoding: str, lines: list[str], times: int) -> None:
    path = write(tmp_path / "q.txt", "\n".join(lines * times).encode(encoding))
    assert texts_of(path) == lines * times
    assert guesses_of(path) == {"encoding": encoding}


def test_marks_and_nuls(tmp_path: Path) -> None:
    assert texts_of(write(tmp_path / "n.txt", b"a\0b\nc\n")) == ["a\0b", "c"]
    twice = write(tmp_path / "q.csv", "\ufeff\ufeffid,text\nx,a\n".encode())
    assert rows(read_corpus([twice], AUTO)) == [("x", "a")]
    mixed = "text\ncaf\u00e9\n".encode("latin-1") + "caf\u00e9\n".encode() * 9
    assert problem(write(tmp_path / "m.csv", mixed)).startswith(
        "m.csv, line 2: invalid UTF-8 (byte 0xe9): read it with --encoding and the name of its encoding"
    )


def test_damaged_encodings(tmp_path: Path) -> None:
    mixed = "text\ncaf\u00e9\n".encode() + "caf\u00e9\n".encode("latin-1")
    assert problem(write(tmp_path / "q.csv", mixed)) == (
        "q.csv, line 3: invalid UTF-8 (byte 0xe9): read it with --encoding and the name of its "
        "encoding, or with --encoding-errors replace"
    )
    half = "text\nWhy?\n".encode("utf-16-le") + b"\x00\xd8\n\x00"
    assert problem(write(tmp_path / "h.csv", half)) == (
        "h.csv, line 3: the bytes are not utf-16-le: set another --encoding, or --encoding-errors replace"
    )
    later = b"text\n" + b"caf\xe9 au lait\n" * 200_000 + "caf\u00e9\n".encode() * 100_000
    assert problem(write(tmp_path / "l.csv", later)).startswith("l.csv, after line ")
