"""Gradient-boosted trees over the features of many pairs, block by block."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from ..progress import Bar
from ..schema import Doubles, Floats, Rows

if TYPE_CHECKING:
    import lightgbm

_BLOCK = 25_000  # pairs


def predict_pairs(
    trees: lightgbm.Booster, n_pairs: int, features: Callable[[Rows], Floats], bar: Bar | None = None
) -> Doubles:
    """Return what trees predict for pairs, `(n_pairs,) float64`, without their link function.

    `features` computes the features of the pairs at some positions. Each thread takes one block at a time.
    """
    predictions = np.empty(n_pairs)

    def run(start: int) -> int:
        block = np.arange(start, min(start + _BLOCK, n_pairs))
        predictions[block] = trees.predict(features(block), raw_score=True, num_threads=1)
        return len(block)

    with ThreadPoolExecutor(_count_threads()) as pool:
        for done in pool.map(run, range(0, n_pairs, _BLOCK)):
            if bar is not None:
                bar.update(done)
    return predictions


def _count_threads() -> int:
    """Return torch's number of threads, which is `compute.threads`; without torch no model runs."""
    if "torch" in sys.modules:
        import torch

        return torch.get_num_threads()
    return os.cpu_count() or 1
