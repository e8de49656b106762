"""The token store: every unique text tokenised once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain

import numpy as np
from tokenizers import Tokenizer

from ..progress import Progress
from ..schema import TokenStore

_CHUNK = 8192
_CHUNK_LENGTH = 1 << 20  # characters: a tokenizer needs some 400 bytes of memory for each token
_LENGTH_PER_TOKEN = 16  # characters, far more than in a text of words
_BETWEEN_WORDS = re.compile(r"(?<=\w) (?=\w)")


def tokenise(
    texts: Sequence[str], tokenizer: Tokenizer, *, max_tokens: int, progress: Progress
) -> TokenStore:
    """Tokenise every text once, keeping at most `max_tokens` of each."""
    plain = without_limits(tokenizer)
    max_length = max_tokens * _LENGTH_PER_TOKEN if _splits_at_spaces(plain) else None
    ids, lengths = [np.empty(0, np.int32)], [np.zeros(1, np.int64)]
    truncated = 0
    with progress.bar("tokenise", len(texts), "texts") as bar:
        for chunk in _chunks(texts, max_length):
            starts = [_shorten(text, max_length) for text in chunk]
            kept = []
            for text, start, tokens in zip(chunk, starts, _encode(plain, starts), strict=True):
                if start is not text and len(tokens) <= max_tokens:  # the rest of the text may add tokens
                    [tokens] = _encode(plain, [text])
                truncated += len(tokens) > max_tokens
                kept.append(tokens[:max_tokens])
            ids.append(np.fromiter(chain.from_iterable(kept), np.int32))
            lengths.append(np.fromiter(map(len, kept), np.int64))
            bar.update(len(chunk))
    return TokenStore(np.concatenate(ids), np.cumsum(np.concatenate(lengths)), truncated)


@lru_cache(maxsize=4)
def without_limits(tokenizer: Tokenizer) -> Tokenizer:
    """Return a copy that neither pads nor truncates."""
    plain = Tokenizer.from_str(tokenizer.to_str())
    plain.no_padding()
    plain.no_truncation()
    return plain


def _encode(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def _chunks(texts: Sequence[str], max_length: int | None) -> Iterator[list[str]]:
    """Divide texts into chunks whose shortened texts fit the memory."""
    chunk: list[str] = []
    length = 0
    for text in texts:
        chunk.append(text)
        length += len(text) if max_length is None else min(len(text), max_length)
        if len(chunk) == _CHUNK or length > _CHUNK_LENGTH:
            yield chunk
            chunk, length = [], 0
    if chunk:
        yield chunk


def _shorten(text: str, max_length: int | None) -> str:
    """Return the text up to the first space between two words after `max_length` characters."""
    if max_length is None or len(text) <= max_length:
        return text
    space = _BETWEEN_WORDS.search(text, max_length)
    return text if space is None else text[: space.start()]


@lru_cache(maxsize=4)
def _splits_at_spaces(tokenizer: Tokenizer) -> bool:
    """Whether the tokens of `"a b"` are those of `"a"` followed by those of `" b"`, for any a and b.

    This holds for BERT's tokenizers (each word on its own, normalised character by character) and for the
    byte-level ones of GPT-2 and RoBERTa, unless an added token extends across a space.
    """
    parts = json.loads(tokenizer.to_str())
    kinds = [(parts[key] or {}).get("type") for key in ("normalizer", "pre_tokenizer", "model")]
    byte_level = kinds == [None, "ByteLevel", "BPE"] and parts["pre_tokenizer"]["use_regex"]
    added = parts["added_tokens"]
    return (kinds == ["BertNormalizer", "BertPreTokenizer", "WordPiece"] or byte_level) and not any(
        token["lstrip"] or token["rstrip"] or re.search(r"\s", token["content"]) for token in added
    )
