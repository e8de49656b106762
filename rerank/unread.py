"""Pairs whose difference the models do not see: without this step they would be certain duplicates.

Two different texts can be the same tokens: they are cut, hold words that the tokenizer does not know, or
differ in marks that it removes. Only the tokens of the pair count, so a store decides a pair as a run does.
"""

from __future__ import annotations

import json
import logging
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from ..schema import CandidatePairs, Flags, Rows, TokenStore

log = logging.getLogger(__name__)

REFUSED = -30.0  # logit

_MOSTLY = 0.5  # share of unknown words
_FEW = 0.01  # share of texts
_PIECE = "#\u0120\u2581"  # what tokenizers put before pieces of words, or before words
_MARKED_SCRIPTS = ("LATIN", "GREEK")  # a letter without its accent is a spelling of the same word
_PLAIN_DIGIT, _RAISED_DIGIT = "2", "\u00b2"


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What a tokenizer's tokens are: each flag is `(n_tokens,) bool`.

    `marked` are letters of scripts in which a mark makes another letter, `raised` tokens that NFKC changes,
    such as superscripts, and `in_line` what it makes of each of the `pieces`. `folds` tells that the
    tokenizer itself reads superscripts as digits in line.
    """

    unknown: Flags
    word: Flags
    marked: Flags
    digit: Flags
    raised: Flags
    pieces: list[str]
    in_line: list[str]
    folds: bool


def find_unread(tokenizer: Tokenizer, max_tokens: int, tokens: TokenStore, pairs: CandidatePairs) -> Flags:
    """Return which pairs of different texts the models cannot tell apart, `(n_pairs,) bool`.

    They are pairs with the same first `max_tokens` tokens of which some are unknown, cut off, or lose marks;
    pairs that differ in nothing but raised or lowered digits; and pairs with a text of mostly unknown words.
    """
    rows, ends = np.unique(np.concatenate([pairs.left, pairs.right]), return_inverse=True)
    left, right = ends.reshape(2, -1)
    vocabulary, texts = read_vocabulary(tokenizer), tokens.take(rows)
    mostly = find_unreadable(vocabulary, texts)
    same = _same_tokens(vocabulary, texts, max_tokens)
    level, spelt = _in_line(vocabulary, texts)
    refused: Flags = mostly[left] | mostly[right]
    refused |= (same[left] == same[right]) & (same[left] >= 0)
    refused |= (level[left] == level[right]) & (spelt[left] != spelt[right])
    return refused


def find_unreadable(vocabulary: Vocabulary, tokens: TokenStore) -> Flags:
    """Return which texts are at least half words that the tokenizer does not know, `(n_rows,) bool`."""
    words = _sums(vocabulary.word | vocabulary.unknown, tokens)
    return np.asarray(_sums(vocabulary.unknown, tokens) >= _MOSTLY * np.maximum(words, 1), bool)


def count_unreadable(tokens: TokenStore, tokenizer: Tokenizer) -> int:
    """Count the texts of mostly unknown words, and warn where they are more than a few."""
    unreadable = int(find_unreadable(read_vocabulary(tokenizer), tokens).sum())
    if unreadable and unreadable >= _FEW * len(tokens.lengths):
        log.warning(
            "%d of %d texts are mostly words that the models do not know, and only exact duplicates are "
            "found among them: give a --bi-encoder and a --cross-encoder for their language",
            unreadable,
            len(tokens.lengths),
        )
    return unreadable


@lru_cache(maxsize=4)
def read_vocabulary(tokenizer: Tokenizer) -> Vocabulary:
    """Read off a tokenizer what its tokens are."""
    names = tokenizer.get_vocab()
    pieces = [""] * (max(names.values(), default=0) + 1)
    for piece, token in names.items():
        pieces[token] = piece.strip(_PIECE)
    unknown = np.zeros(len(pieces), bool)
    if (unknown_token := _unknown_token(json.loads(tokenizer.to_str())["model"], tokenizer)) is not None:
        unknown[unknown_token] = True
    return Vocabulary(
        unknown=unknown,
        word=np.array([any(map(str.isalnum, piece)) for piece in pieces]),
        marked=np.array([any(map(_takes_marks, piece)) for piece in pieces]),
        digit=np.array([any(map(str.isdigit, piece)) for piece in pieces]),
        raised=np.array([unicodedata.normalize("NFKC", piece) != piece for piece in pieces]),
        pieces=pieces,
        in_line=[unicodedata.normalize("NFKC", piece) for piece in pieces],
        folds=_ids(tokenizer, _PLAIN_DIGIT) == _ids(tokenizer, _RAISED_DIGIT),
    )


def _unknown_token(model: dict[str, Any], tokenizer: Tokenizer) -> int | None:
    if model.get("unk_id") is not None:
        return int(model["unk_id"])
    name = model.get("unk_token")
    return None if name is None else tokenizer.token_to_id(name)


def _takes_marks(character: str) -> bool:
    return character.isalpha() and not unicodedata.name(character, "").startswith(_MARKED_SCRIPTS)


def _ids(tokenizer: Tokenizer, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids


def _same_tokens(vocabulary: Vocabulary, tokens: TokenStore, max_tokens: int) -> Rows:
    """Return a number that texts of the same tokens share, -1 where different texts cannot be."""
    doubtful = tokens.lengths >= max_tokens
    doubtful |= _sums(vocabulary.unknown | vocabulary.marked, tokens) > 0
    if vocabulary.folds:
        doubtful |= _sums(vocabulary.digit, tokens) > 0
    rows = np.flatnonzero(doubtful)
    keys = [tokens.ids[tokens.offsets[r] : tokens.offsets[r + 1]][:max_tokens].tobytes() for r in rows]
    return _numbered(len(tokens.lengths), rows, keys)


def _in_line(vocabulary: Vocabulary, tokens: TokenStore) -> tuple[Rows, Rows]:
    """Return a number that texts of the same letters and digits share, raised ones in line, and raised.

    Texts whose first numbers are equal and whose second differ are told apart by raised characters alone.
    Without digits and raised characters both are -1.
    """
    none = np.full(len(tokens.lengths), -1, np.int64)
    if not _sums(vocabulary.raised, tokens).any():
        return none, none
    rows = np.flatnonzero(_sums(vocabulary.digit | vocabulary.raised, tokens))
    edges = zip(tokens.offsets[rows].tolist(), tokens.offsets[rows + 1].tolist(), strict=True)
    ids = [tokens.ids[start:end].tolist() for start, end in edges]
    level = ["".join(vocabulary.in_line[token] for token in row) for row in ids]
    spelt = ["".join(vocabulary.pieces[token] for token in row) for row in ids]
    return _numbered(len(none), rows, level), _numbered(len(none), rows, spelt)


def _numbered(n: int, rows: Rows, keys: list[Any]) -> Rows:
    """Return the number of each row's key, -1 for other rows."""
    numbers: dict[Any, int] = {}
    out = np.full(n, -1, np.int64)
    out[rows] = [numbers.setdefault(key, len(numbers)) for key in keys]
    return out


def _sums(flags: Flags, tokens: TokenStore) -> Rows:
    """Return how many tokens of each text have a flag, `(n_rows,)`."""
    total = np.concatenate([[0], np.cumsum(flags[tokens.ids])])
    return np.asarray(total[tokens.offsets[1:]] - total[tokens.offsets[:-1]], np.int64)
