"""The token store against the tokenizer, text by text."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from dupmine.inference import tokens as module
from dupmine.inference.tokens import tokenise
from dupmine.progress import SILENT
from dupmine.schema import TokenStore

from ..helpers.sentences import QUESTIONS
from ..helpers.tiny_models import TinyModels, bert_tokenizer


def rows(store: TokenStore) -> list[list[int]]:
    return [store.ids[a:b].tolist() for a, b in zip(store.offsets[:-1], store.offsets[1:], strict=True)]


def plain_ids(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    return [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_equals_the_tokenizer(tiny: TinyModels, name: str) -> None:
    tokenizer = Tokenizer.from_file(f"{tiny[name]}/tokenizer.json")
    store = tokenise(QUESTIONS, tokenizer, max_tokens=4096, progress=SILENT)
    expected = plain_ids(tokenizer, QUESTIONS)
    assert rows(store) == expected
    assert store.lengths.tolist() == [len(ids) for ids in expected]
    assert (str(store.ids.dtype), str(store.offsets.dtype)) == ("int32", "int64")
    assert store.truncated == 0


def test_longer_texts_are_cut_and_counted() -> None:
    tokenizer = bert_tokenizer().backend_tokenizer
    texts = ["a b c d", "a b c d e", "a " * 100, "", "dog"]
    store = tokenise(texts, tokenizer, max_tokens=4, progress=SILENT)
    assert rows(store) == [ids[:4] for ids in plain_ids(tokenizer, texts)]
    assert store.lengths.tolist() == [4, 4, 4, 0, 1]
    assert store.truncated == 2


def test_settings_of_the_tokenizer_do_not_matter_and_stay() -> None:
    tokenizer = bert_tokenizer().backend_tokenizer
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=9)
    store = tokenise(["a b c d e f", "dog"], tokenizer, max_tokens=100, progress=SILENT)
    assert store.lengths.tolist() == [6, 1]
    assert tokenizer.encode("a b c d e f").ids == [2, *store.ids[:1].tolist(), 3, 0, 0, 0, 0, 0, 0]


def test_no_texts() -> None:
    store = tokenise([], bert_tokenizer().backend_tokenizer, max_tokens=4, progress=SILENT)
    assert (rows(store), store.offsets.tolist(), store.truncated) == ([], [0], 0)


def test_more_texts_than_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = bert_tokenizer().backend_tokenizer
    usual = tokenise(QUESTIONS, tokenizer, max_tokens=5, progress=SILENT)
    monkeypatch.setattr(module, "_CHUNK", 7)
    chunked = tokenise(QUESTIONS, tokenizer, max_tokens=5, progress=SILENT)
    np.testing.assert_array_equal(chunked.ids, usual.ids)
    np.testing.assert_array_equal(chunked.offsets, usual.offsets)
    assert chunked.truncated == usual.truncated > 10


@given(st.lists(st.text(max_size=30), max_size=8), st.integers(4, 20))
def test_any_text(texts: list[str], most: int) -> None:
    tokenizer = bert_tokenizer().backend_tokenizer
    expected = plain_ids(tokenizer, texts)
    store = tokenise(texts, tokenizer, max_tokens=most, progress=SILENT)
    assert rows(store) == [ids[:most] for ids in expected]
    assert store.truncated == sum(len(ids) > most for ids in expected)


@pytest.mark.parametrize("name", ["bert", "roberta"])
@given(
    texts=st.lists(st.text(st.sampled_from("ab \n\u00e9e\u0301\u03a3!,_?7\u6f22\u200b\0'"), max_size=60)),
    most=st.integers(1, 6),
    per_token=st.integers(1, 4),
)
def test_what_lies_behind_the_cut_does_not_matter(
    tiny: TinyModels, name: str, texts: list[str], most: int, per_token: int
) -> None:
    tokenizer = Tokenizer.from_file(f"{tiny[name]}/tokenizer.json")
    assert module._splits_at_spaces(tokenizer)
    expected = plain_ids(tokenizer, texts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_LENGTH_PER_TOKEN", per_token)
        store = tokenise(texts, tokenizer, max_tokens=most, progress=SILENT)
    assert rows(store) == [ids[:most] for ids in expected]
    assert store.truncated == sum(len(ids) > most for ids in expected)


def test_a_token_across_spaces_is_not_cut() -> None:
    tokenizer = bert_tokenizer().backend_tokenizer
    tokenizer.add_tokens(["new york"])
    assert not module._splits_at_spaces(tokenizer)


def test_a_word_a_million_times_takes_no_time() -> None:
    tokenizer = bert_tokenizer().backend_tokenizer
    started = time.monotonic()
    store = tokenise(["dog " * 1_000_000] * 20, tokenizer, max_tokens=128, progress=SILENT)
    assert store.lengths.tolist() == [128] * 20
    assert store.truncated == 20
    assert time.monotonic() - started < 5
