"""Batches of one length each: no padding, no attention mask."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

# Matrix libraries take other kernels, with other roundings, for few rows and for a remainder of rows. With
# MKL and layers up to 1024 wide these are the sizes from which a row's result is the same to the bit.
_ROWS = 16
_TOKENS = 768


def length_batches(lengths: npt.NDArray[np.int64], batch_tokens: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield positions in batches of equal length, longest first, at most `batch_tokens` tokens each.

    A batch holds at least one position.
    """
    order = np.lexsort((np.arange(len(lengths)), -lengths))
    ordered = lengths[order]
    edges = np.flatnonzero(np.diff(ordered)) + 1
    for start, end in zip([0, *edges], [*edges, len(order)], strict=True):
        size = _most_rows(int(ordered[start]), batch_tokens) if end else 1
        for first in range(start, end, size):
            yield order[first : min(first + size, end)]


def filled(batch: npt.NDArray[np.int64], length: int, batch_tokens: int) -> npt.NDArray[np.int64]:
    """Repeat the last position of a small batch, so that no result depends on what else is in the batch.

    A text alone and a text among thousands then have the same vector to the bit, at least on a CPU.
    """
    rows = max(-(-len(batch) // _ROWS) * _ROWS, -(-_TOKENS // (max(length, 1) * _ROWS)) * _ROWS)
    missing = min(rows, _most_rows(length, batch_tokens)) - len(batch)
    return np.concatenate([batch, np.repeat(batch[-1:], max(missing, 0))])


def _most_rows(length: int, batch_tokens: int) -> int:
    rows = batch_tokens // max(length, 1)
    return max(rows // _ROWS * _ROWS or rows, 1)
