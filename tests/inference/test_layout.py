"""Assembled inputs against what the tokenizers themselves make of the texts."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordPiece

from dupmine.errors import ModelError
from dupmine.inference.layout import find_layout, require_vocabulary
from dupmine.inference.tokens import tokenise
from dupmine.progress import SILENT
from dupmine.schema import TokenStore

from ..helpers.tiny_models import TinyModels

TEXTS = [
    "How do I learn Python?",
    "a",
    "",
    "zażółć 日本",
    "[MASK] and </s>",
    "What is the best way to bake bread, and why " * 3,
]
KINDS = ["bert", "roberta"]


def load(tiny: TinyModels, kind: str) -> tuple[Tokenizer, TokenStore]:
    tokenizer = Tokenizer.from_file(f"{tiny[kind]}/tokenizer.json")
    return tokenizer, tokenise(TEXTS, tokenizer, max_tokens=4096, progress=SILENT)


@pytest.mark.parametrize("kind", KINDS)
def test_single_texts_equal_the_tokenizer(tiny: TinyModels, kind: str) -> None:
    tokenizer, store = load(tiny, kind)
    layout = find_layout(tokenizer, 1)
    for row, text in enumerate(TEXTS):
        expected = tokenizer.encode(text)
        ids, types = layout.assemble(store, (np.array([row]),), 4096)
        assert ids.tolist() == [expected.ids]
        assert types.tolist() == [expected.type_ids]
        assert layout.lengths(store, (np.array([row]),), 4096).tolist() == [len(expected.ids)]


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_equal_the_tokenizer(tiny: TinyModels, kind: str) -> None:
    tokenizer, store = load(tiny, kind)
    layout = find_layout(tokenizer, 2)
    for a, b in product(range(len(TEXTS)), repeat=2):
        expected = tokenizer.encode(TEXTS[a], TEXTS[b])
        ids, types = layout.assemble(store, (np.array([a]), np.array([b])), 4096)
        assert ids.tolist() == [expected.ids]
        assert types.tolist() == [expected.type_ids]


def test_frames_of_the_two_styles(tiny: TinyModels) -> None:
    bert, roberta = (find_layout(load(tiny, kind)[0], 2) for kind in KINDS)
    assert [frame.tolist() for frame in bert.frames] == [[2], [3], [3]]
    assert [kind.tolist() for kind in bert.types] == [[0], [0], [0], [1], [1]]
    assert [frame.tolist() for frame in roberta.frames] == [[0], [2, 2], [2]]
    assert [kind.tolist() for kind in roberta.types] == [[0], [0], [0, 0], [0], [0]]
    assert (bert.n_special, roberta.n_special) == (3, 4)


def test_a_batch_of_one_length_equals_its_rows(tiny: TinyModels) -> None:
    tokenizer = load(tiny, "bert")[0]
    texts = ["a b c", "d", "e f", "g h", "i", "j k l"]
    store = tokenise(texts, tokenizer, max_tokens=64, progress=SILENT)
    layout = find_layout(tokenizer, 2)
    left, right = np.array([0, 2, 4]), np.array([1, 3, 5])
    assert layout.lengths(store, (left, right), 64).tolist() == [7, 7, 7]
    ids, types = layout.assemble(store, (left, right), 64)
    expected = [tokenizer.encode(texts[a], texts[b]) for a, b in zip(left, right, strict=True)]
    assert ids.tolist() == [encoding.ids for encoding in expected]
    assert types.tolist() == [encoding.type_ids for encoding in expected]


@pytest.mark.parametrize("kind", KINDS)
def test_texts_over_the_limit_are_cut_as_the_tokenizer_cuts(tiny: TinyModels, kind: str) -> None:
    tokenizer = load(tiny, kind)[0]
    texts = ["a " * n + "a" for n in (0, 1, 4, 5, 6, 7, 11, 13, 40)]
    store = tokenise(texts, tokenizer, max_tokens=64, progress=SILENT)
    layout = find_layout(tokenizer, 2)
    limit = layout.n_special + 12
    tokenizer.enable_truncation(limit, strategy="longest_first")
    for a, b in product(range(len(texts)), repeat=2):
        ids, types = layout.assemble(store, (np.array([a]), np.array([b])), limit)
        expected = tokenizer.encode(texts[a], texts[b])
        assert ids.tolist() == [expected.ids]
        assert types.tolist() == [expected.type_ids]


def test_two_long_texts_get_equal_shares(tiny: TinyModels) -> None:
    tokenizer = load(tiny, "bert")[0]
    store = tokenise(["a " * 20, "b " * 20, "c"], tokenizer, max_tokens=64, progress=SILENT)
    layout = find_layout(tokenizer, 2)
    a, b, c = (tokenizer.token_to_id(letter) for letter in "abc")
    long, other, short = (np.array([row]) for row in range(3))
    assert layout.assemble(store, (long, other), 10)[0].tolist() == [[2, a, a, a, 3, b, b, b, 3]]
    assert layout.assemble(store, (long, short), 10)[0].tolist() == [[2, a, a, a, a, a, a, 3, c, 3]]
    assert find_layout(tokenizer, 1).assemble(store, (long,), 6)[0].tolist() == [[2, a, a, a, a, 3]]


def test_a_tokenizer_of_special_tokens_only_is_refused(tiny: TinyModels) -> None:
    empty = Tokenizer.from_str(load(tiny, "bert")[0].to_str())
    require_vocabulary("m", empty)
    empty.model = WordPiece({"[UNK]": 1}, unk_token="[UNK]")
    with pytest.raises(ModelError, match=r"^model m has no tokenizer: its folder lacks tokenizer\.json$"):
        require_vocabulary("m", empty)
