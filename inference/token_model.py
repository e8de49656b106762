"""What the engine needs of a model in torch, and the inputs of such a model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from tokenizers import Tokenizer

from ..schema import Floats, Rows, TokenStore
from .batches import length_batches
from .layout import Ids, find_layout


class Forward(Protocol):
    """A forward pass over token ids."""

    needs_filling: bool  # whether the rounding of an output depends on how many inputs are in its batch

    def run(self, ids: Ids, types: Ids) -> Floats:
        """Return the outputs for inputs of one length, `(n, length)` each, as `(n, dim) float32`."""


class TokenModel(Forward, Protocol):
    """A model in torch that reads `texts_per_input` texts at a time as token ids.

    `max_length` is its longest input, special tokens included, and `dim` the number of its outputs per input.
    """

    module: Any
    dim: int
    max_length: int
    texts_per_input: int
    takes_types: bool

    @property
    def tokenizer(self) -> Tokenizer | None:
        """Its tokenizer, None where it reads texts."""

    def load(self, dtype: torch.dtype) -> None:
        """Load the model again, in another number format."""


def model_inputs(ids: Ids, types: Ids, device: torch.device, *, takes_types: bool) -> dict[str, torch.Tensor]:
    """Return the inputs of a model by their names, on its device."""
    inputs = {"input_ids": torch.from_numpy(ids).to(device)}
    if takes_types:
        inputs["token_type_ids"] = torch.from_numpy(types).to(device)
    return inputs


def input_batches(
    model: TokenModel, tokens: TokenStore, rows: tuple[Rows, ...], batch_tokens: int
) -> Iterator[tuple[Ids, Ids]]:
    """Yield the ids and token types of inputs, in batches of one length each.

    Input i has the texts of `tokens` at position i of each array in `rows`.
    """
    assert model.tokenizer is not None, "only models with a tokenizer read token ids"
    layout, limit = find_layout(model.tokenizer, len(rows)), model.max_length
    for batch in length_batches(layout.lengths(tokens, rows, limit), batch_tokens):
        yield layout.assemble(tokens, tuple(row[batch] for row in rows), limit)
