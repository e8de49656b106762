"""Check at loading that the tables of a transformer have a row for all that its tokenizer gives."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer

from ..errors import ModelError
from .layout import LONGEST_INPUT, Ids, Layout, find_layout, require_vocabulary


def check_tables(name: str, tokenizer: Tokenizer, transformer: Any, n_texts: int, *, types: bool) -> Layout:
    """Check that a transformer has a row for every token id and, with `types`, for every token type.

    Returns the layout of its inputs of `n_texts` texts.

    Raises:
        ModelError: a row is missing, or the tokenizer cannot read every text.
    """
    require_vocabulary(name, tokenizer)
    n_ids = int(transformer.get_input_embeddings().weight.shape[0])
    _require_row(name, "token id", max(tokenizer.get_vocab().values(), default=0), n_ids, "tokens")
    try:
        layout = find_layout(tokenizer, n_texts)  # of a tokenizer with an id of 2^31 it takes minutes
    except IndexError:
        problem = "its tokenizer leaves texts out: correct its tokenizer.json"
        raise ModelError(f"model {name}: {problem}") from None
    _require_row(name, "token id", _highest(layout.frames), n_ids, "tokens")
    n_types = _count_rows(transformer, "token_type_embeddings")
    if types and n_types is not None:
        _require_row(name, "token type", _highest(layout.types), n_types, "types")
    return layout


def _require_row(name: str, kind: str, highest: int, n_rows: int, rows: str) -> None:
    if highest >= n_rows:
        raise ModelError(
            f"model {name}: its tokenizer has the {kind} {highest:,}, and its weights only {n_rows:,} {rows}"
            ": they do not belong together"
        )


def _highest(arrays: tuple[Ids, ...]) -> int:
    return max(int(array.max(initial=0)) for array in arrays)


def find_longest_input(name: str, layout: Layout, *limits: Any) -> int:
    """Return the longest input that all limits allow, in tokens with special ones.

    Raises:
        ModelError: a limit is not a number, or leaves no token for a text.
    """
    try:
        longest = int(min(LONGEST_INPUT, *limits))
    except (TypeError, ValueError):
        longest = 0
    if longest - layout.n_special < len(layout.frames) - 1:
        raise ModelError(
            f"model {name} reads {longest} tokens at most, and {layout.n_special} of them are special: "
            "correct model_max_length in tokenizer_config.json, or max_seq_length of a bi-encoder"
        )
    return longest


def count_positions(transformer: Any) -> int | None:
    """Return how many tokens fit a transformer's table of positions, None where it has none.

    Models like RoBERTa count positions from the padding id on.
    """
    padding = getattr(_find_table(transformer, "position_embeddings"), "padding_idx", None)
    rows = _count_rows(transformer, "position_embeddings")
    return None if rows is None else rows - (0 if padding is None else padding + 1)


def _count_rows(transformer: Any, table: str) -> int | None:
    found = _find_table(transformer, table)
    return found.num_embeddings if isinstance(found, torch.nn.Embedding) else None


def _find_table(transformer: Any, table: str) -> Any:
    return getattr(getattr(transformer.base_model, "embeddings", None), table, None)
