"""Pairs looked at block by block, as many blocks at a time as torch has threads."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..progress import Bar
from ..schema import Floats, Rows

_BLOCK = 25_000  # pairs


def in_blocks(n_pairs: int, estimate: Callable[[Rows], Floats], bar: Bar | None = None) -> Floats:
    """Return what `estimate` says of the pairs at some positions for all pairs, `(n_pairs,) float32`."""
    from ..inference.batches import in_parallel  # which needs torch

    said = np.empty(n_pairs, np.float32)

    def run(block: Rows) -> None:
        said[block] = estimate(block)

    blocks = (np.arange(start, min(start + _BLOCK, n_pairs)) for start in range(0, n_pairs, _BLOCK))
    for done in in_parallel(blocks, run):
        if bar is not None:
            bar.update(done)
    return said
