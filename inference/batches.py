"""Batches of one length each: no padding, no attention mask."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

_ROW_BLOCK = 16


def length_batches(lengths: npt.NDArray[np.int64], batch_tokens: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield positions in batches of equal length, longest first, at most `batch_tokens` tokens each.

    A batch holds at least one position, and a multiple of 16 where the budget allows it: a matrix product
    over whole row blocks gives a row the same bits whichever batch it is in.
    """
    order = np.lexsort((np.arange(len(lengths)), -lengths))
    ordered = lengths[order]
    edges = np.flatnonzero(np.diff(ordered)) + 1
    for start, end in zip([0, *edges], [*edges, len(order)], strict=True):
        if start == end:
            continue
        size = max(batch_tokens // max(int(ordered[start]), 1), 1)
        size = max(size // _ROW_BLOCK * _ROW_BLOCK, min(size, _ROW_BLOCK))
        for first in range(start, end, size):
            yield order[first : min(first + size, end)]
