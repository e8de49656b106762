"""Batches of one length each: no padding, no attention mask."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt


def length_batches(lengths: npt.NDArray[np.int64], batch_tokens: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield positions in batches of equal length, longest first, at most `batch_tokens` tokens each.

    A batch holds at least one position. Without padding a text's vector depends on its batch in the last
    bits only, through the shape of the matrix products.
    """
    order = np.lexsort((np.arange(len(lengths)), -lengths))
    ordered = lengths[order]
    edges = np.flatnonzero(np.diff(ordered)) + 1
    for start, end in zip([0, *edges], [*edges, len(order)], strict=True):
        size = max(batch_tokens // max(int(ordered[start]), 1), 1) if end else 1
        for first in range(start, end, size):
            yield order[first : min(first + size, end)]
