"""Normalisation, and the collapse of exact duplicates."""

from __future__ import annotations

import unicodedata

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..schema import UniqueTexts


def normalised_key(text: str) -> str:
    """Return the key under which texts count as equal: NFKC, case-folded, white space collapsed.

    Symbols stay, so "C", "C++" and "C#" differ. Folding can leave text that is no longer NFKC, hence the
    second normalisation (Unicode 15, section 3.13, toNFKC_Casefold).
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.split())


def collapse_exact_duplicates(texts: pa.ChunkedArray) -> UniqueTexts:
    """Return one row per distinct normalised text; empty texts get no row.

    Of several spellings of one key the first in code-point order is kept, so that neither the rows nor
    their texts depend on the order of the input.
    """
    raw = texts.to_pylist()
    table = pa.table({"key": pa.array(map(normalised_key, raw), pa.large_string()), "text": raw})
    order = pc.sort_indices(table, sort_keys=[("key", "ascending"), ("text", "ascending")])
    keys = table["key"].take(order)
    filled = pc.not_equal(keys, "").to_numpy()
    starts = filled.copy()
    starts[1:] &= pc.not_equal(keys.slice(1), keys.slice(0, max(len(keys) - 1, 0))).to_numpy()
    positions = order.to_numpy()
    row_of = np.full(len(raw), -1, np.int64)
    row_of[positions[filled]] = np.cumsum(starts)[filled] - 1
    return UniqueTexts([raw[i] for i in positions[starts]], row_of)
