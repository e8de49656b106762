"""Gradient-boosted trees (LightGBM) over named features of pairs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ..progress import Bar
from ..schema import Doubles, Floats, Rows
from .tree_text import check_trees

if TYPE_CHECKING:
    import lightgbm

_BLOCK = 25_000  # pairs

Features = dict[str, Floats]  # by name, each `(n_pairs,) float32`


def stack_features(features: Features) -> Floats:
    """Return features as a table, `(n_pairs, n_features) float32`."""
    return np.stack(list(features.values()), axis=1)


@lru_cache(maxsize=4)
def load_trees(text: str, n_features: int) -> lightgbm.Booster:
    """Load trees over so many features from LightGBM's text format.

    Raises:
        ValueError: the text is not that of such trees.
    """
    import lightgbm

    return lightgbm.Booster(model_str=check_trees(text, n_features))


def predict_log_odds(
    booster: lightgbm.Booster, n_pairs: int, table: Callable[[Rows], Floats], bar: Bar | None = None
) -> Doubles:
    """Return the log-odds that trees predict for pairs, `(n_pairs,) float64`.

    `table` returns the features of the pairs at some positions. Each thread takes one block at a time.
    """
    log_odds = np.empty(n_pairs)

    def predict(start: int) -> int:
        block = np.arange(start, min(start + _BLOCK, n_pairs))
        log_odds[block] = np.asarray(booster.predict(table(block), raw_score=True, num_threads=1))
        return len(block)

    with ThreadPoolExecutor(_count_threads()) as pool:
        for done in pool.map(predict, range(0, n_pairs, _BLOCK)):
            if bar is not None:
                bar.update(done)
    return log_odds


def _count_threads() -> int:
    """Return torch's number of threads, which is `compute.threads`; without torch no model runs."""
    if "torch" in sys.modules:
        import torch

        return torch.get_num_threads()
    return os.cpu_count() or 1
