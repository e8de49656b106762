"""What counts as the same text, and the rows it gets."""

from __future__ import annotations

import sys
import time
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dupmine.corpus import unique as module
from dupmine.corpus.unique import collapse_exact_duplicates, find_rows, normalised_key, texts_of_rows
from dupmine.schema import UniqueTexts

# Few letters, so that equal keys come up: case, width, composed or not, white space of several kinds.
LOOKALIKES = st.text(
    st.sampled_from("aA\uff41bB\u00e9\u00c9e\u0301\u00df sS\u1e9e\t\u00a0\u3000\n+#\u00b22\u00bd"), max_size=5
)


def collapse(texts: list[str]) -> UniqueTexts:
    return collapse_exact_duplicates(pa.chunked_array([texts[:2], texts[2:]], pa.string()))


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("How do I  learn\tPython?\n", "how do i learn python?"),
        ("C", "c"),
        ("C++", "c++"),
        ("C#", "c#"),
        ("\uff23\uff0b\uff0b", "c++"),
        ("Stra\u00dfe", "strasse"),
        ("STRASSE", "strasse"),
        ("STRA\u1e9eE", "strasse"),
        ("\u0130stanbul", "i\u0307stanbul"),
        ("\u0131stanbul", "\u0131stanbul"),
        ("\ufb01ne", "fine"),
        ("caf\u0065\u0301", "caf\u00e9"),
        ("CAF\u00c9", "caf\u00e9"),
        ("x\u00b2", "x\u00b2"),
        ("10\u2076", "10\u2076"),
        ("H\u2082O", "h\u2082o"),
        ("3\u00bd", "3\u00bd"),
        ("\u33a1", "m\u00b2"),  # one character for square metres
        ("m\u00b2", "m\u00b2"),
        ("Word\u2122", "wordtm"),
        ("\u2460", "1"),
        ("\u01f0", "\u01f0"),
        ("J\u030c", "\u01f0"),  # folds to two code points that NFKC composes
        ("\u03a3\u03c2", "\u03c3\u03c3"),
        ("\u00a0 a\u2003\u3000b\u2028", "a b"),
        ("\ufeffso\u00adft\u200b?", "soft?"),
        ("e\u200d\u0301", "\u00e9"),
        ("\u200b\u00a0", ""),
        ("\u00a0\u3000\t", ""),
        ("", ""),
    ],
)
def test_normalised_key(text: str, key: str) -> None:
    assert normalised_key(text) == key


def test_the_key_of_every_character_is_its_own_key() -> None:
    characters = [chr(c) for c in range(sys.maxunicode + 1) if unicodedata.category(chr(c)) != "Cs"]
    keys = [normalised_key(character) for character in characters]
    assert [key for key in set(keys) if normalised_key(key) != key] == []


@given(st.text(max_size=20))
def test_the_key_does_not_change_a_second_time(text: str) -> None:
    key = normalised_key(text)
    assert normalised_key(key) == key
    assert normalised_key(f" {text}\n") == key


def test_one_row_per_key_in_the_order_of_keys() -> None:
    unique = collapse(["b", "C#", " A", "c++", "a", "", "B", "C", "\u3000", "a"])
    assert unique.texts == [" A", "B", "C", "C#", "c++"]
    assert unique.row_of.tolist() == [1, 3, 0, 4, 0, -1, 1, 2, -1, 0]
    assert unique.row_of.dtype == np.int64
    assert len(unique) == 5


@pytest.mark.parametrize("texts", [[], [""], [" ", "\t\n"], ["", "\u00a0", ""]])
def test_nothing_to_read(texts: list[str]) -> None:
    unique = collapse(texts)
    assert (unique.texts, unique.row_of.tolist()) == ([], [-1] * len(texts))


def test_no_chunks() -> None:
    unique = collapse_exact_duplicates(pa.chunked_array([], pa.string()))
    assert (unique.texts, unique.row_of.tolist()) == ([], [])


@given(st.lists(LOOKALIKES, max_size=12))
def test_equal_rows_are_equal_keys(texts: list[str]) -> None:
    unique = collapse(texts)
    keys = sorted({normalised_key(text) for text in texts} - {""})
    assert [normalised_key(text) for text in unique.texts] == keys
    for text, row in zip(texts, unique.row_of, strict=True):
        key = normalised_key(text)
        assert row == (keys.index(key) if key else -1)
    for row, text in enumerate(unique.texts):
        assert text == min(t for t, r in zip(texts, unique.row_of, strict=True) if r == row)


@given(st.lists(LOOKALIKES, max_size=12), st.lists(LOOKALIKES, max_size=6))
def test_a_corpus_is_looked_up_by_its_rows(texts: list[str], wanted: list[str]) -> None:
    unique, column = collapse(texts), pa.chunked_array([texts], pa.string())
    assert texts_of_rows(column, unique.row_of) == unique.texts
    keys = [normalised_key(text) for text in unique.texts]
    expected = [keys.index(key) if (key := normalised_key(text)) in keys else -1 for text in wanted]
    assert find_rows(wanted, column, unique.row_of).tolist() == expected


def test_a_corpus_is_normalised_only_for_another_spelling(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = pa.chunked_array([["b", "A", " "]])
    row_of = collapse_exact_duplicates(texts).row_of
    normalised: list[str] = []

    def normalise(text: str) -> str:
        normalised.append(text)
        return normalised_key(text)

    monkeypatch.setattr(module, "normalised_key", normalise)
    assert find_rows(["A", " ", "b", "A"], texts, row_of).tolist() == [0, -1, 1, 0]
    assert normalised == []
    assert find_rows(["a", "c"], texts, row_of).tolist() == [0, -1]
    assert sorted(normalised) == ["A", "a", "b", "c"]


@given(st.data())
def test_rows_do_not_depend_on_the_order_of_the_input(data: st.DataObject) -> None:
    texts = data.draw(st.lists(LOOKALIKES, max_size=12))
    order = data.draw(st.permutations(range(len(texts))))
    usual, other = collapse(texts), collapse([texts[i] for i in order])
    assert other.texts == usual.texts
    assert other.row_of.tolist() == [usual.row_of[i] for i in order]


# Marks of several classes, starters that decompose to marks alone (U+0F73, U+FF9E), and other starters.
ACCENTED = st.text(
    st.sampled_from("\u0301\u0323\u0327\u0344\u0f73\uff9e\u3099\u05b0\U0001d165a\u00e9\u1ec7\uac00\u034f "),
    min_size=40,
    max_size=90,
)


@given(ACCENTED)
def test_ordering_long_runs_of_accents_changes_no_key(text: str) -> None:
    usual = normalised_key(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_LONG", 0)
        assert normalised_key(text) == usual


@pytest.mark.parametrize(
    "accents", ["\u0301\u0323", "\u0344\u0323", "\u0301\u034f\u0323", "\u0f73", "\u0327\uff9e\u0323"]
)
def test_a_million_accents_take_seconds(accents: str) -> None:
    started = time.monotonic()
    key = normalised_key("e" + accents * (300_000 // len(accents)))
    assert time.monotonic() - started < 20
    assert len(key) > 100_000
    assert normalised_key(key) == key
