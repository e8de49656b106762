"""Model inputs from token ids: special tokens around one text or a pair, by array operations."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from ..errors import ModelError
from ..schema import Rows, TokenStore, ranges
from .tokens import without_limits

LONGEST_INPUT = 100_000  # tokens, where a model states no limit

_UNKNOWN = "\u16a0 \U00012000 \u0e5b"  # characters that hardly any vocabulary has

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Layout:
    """The special tokens that a tokenizer puts before, between and after `n_texts` texts (1 or 2).

    `frames[i]` comes before text i, and the last frame after the last text. `types` are the token types of
    frames and texts in turn: frame 0, text 0, frame 1, ….
    """

    frames: tuple[Ids, ...]
    types: tuple[Ids, ...]

    @property
    def n_special(self) -> int:
        """Special tokens around the texts."""
        return sum(len(frame) for frame in self.frames)

    def lengths(self, tokens: TokenStore, rows: tuple[Rows, ...], limit: int) -> npt.NDArray[np.int64]:
        """Return the input's length for each tuple of rows, special tokens included.

        `limit` is the model's longest input. Where the texts together exceed it, texts longer than their
        share are cut to what the others leave.
        """
        return np.asarray(self.n_special + self._text_lengths(tokens, rows, limit).sum(axis=0), np.int64)

    def assemble(self, tokens: TokenStore, rows: tuple[Rows, ...], limit: int) -> tuple[Ids, Ids]:
        """Return input ids and token types, each `(len(rows[0]), length)`, for inputs of one length."""
        n = len(rows[0])
        lengths = self._text_lengths(tokens, rows, limit)
        width = self.n_special + int(lengths[:, 0].sum())
        ids, types = np.empty(n * width, np.int64), np.empty(n * width, np.int64)
        cursor = np.arange(n) * width
        for i, frame in enumerate(self.frames):
            place = cursor[:, None] + np.arange(len(frame))
            ids[place], types[place] = frame, self.types[2 * i]
            cursor = cursor + len(frame)
            if i < len(rows):
                place = ranges(cursor, lengths[i])
                ids[place] = tokens.ids[ranges(tokens.offsets[rows[i]], lengths[i])]
                types[place] = self.types[2 * i + 1]
                cursor = cursor + lengths[i]
        return ids.reshape(n, width), types.reshape(n, width)

    def _text_lengths(self, tokens: TokenStore, rows: tuple[Rows, ...], limit: int) -> npt.NDArray[np.int64]:
        room = limit - self.n_special
        lengths = np.stack([tokens.offsets[r + 1] - tokens.offsets[r] for r in rows])
        others = lengths.sum(axis=0) - lengths
        return np.asarray(np.minimum(lengths, np.maximum(room // len(rows), room - others)), np.int64)


def require_vocabulary(name: str, tokenizer: Tokenizer) -> None:
    """Refuse a tokenizer that cannot read every text, as the empty one that transformers makes where none is.

    Raises:
        ModelError: the tokenizer has no tokens except special ones, or no token for what it does not know.
    """
    if tokenizer.get_vocab_size() <= len(tokenizer.get_added_tokens_decoder()):
        raise ModelError(f"model {name} has no tokenizer: its folder lacks tokenizer.json")
    try:
        tokenizer.encode(_UNKNOWN)
    except Exception as error:  # tokenizers raises plain exceptions
        raise ModelError(
            f"model {name}: its tokenizer cannot read characters that it does not know ({error}): correct "
            "unk_token in tokenizer.json"
        ) from None


def find_layout(tokenizer: Tokenizer, n_texts: int) -> Layout:
    """Return the layout of a tokenizer for one text or a pair, from its tokens of the text "a"."""
    probe = without_limits(tokenizer).encode("a", "a" if n_texts == 2 else None)
    spans = [_span(probe, i) for i in range(n_texts)]
    edges = [0, *(edge for span in spans for edge in span), len(probe.ids)]
    ids, types = np.array(probe.ids, np.int64), np.array(probe.type_ids, np.int64)
    pieces = [slice(a, b) for a, b in itertools.pairwise(edges)]
    kinds = tuple(types[piece] if i % 2 == 0 else types[piece][:1] for i, piece in enumerate(pieces))
    return Layout(tuple(ids[piece] for piece in pieces[::2]), kinds)


def _span(probe: Encoding, text: int) -> tuple[int, int]:
    places = [i for i, owner in enumerate(probe.sequence_ids) if owner == text]
    return places[0], places[-1] + 1
