"""Batches whose rows and order depend only on the seed and the epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from sentence_transformers.base.sampler import DefaultBatchSampler
from tokenizers import Tokenizer

from ..inference.layout import find_layout
from ..inference.tokens import tokenise
from ..progress import SILENT
from ..schema import LabelledPairs, Rows

_POOL = 64  # batches that are sorted together

# From a batch size and random numbers to the rows of each batch; the number of batches is always the same.
MakeBatches = Callable[[int, np.random.Generator], list[Rows]]


class EpochSampler(DefaultBatchSampler):
    """The batches that a function makes, in random order."""

    def __init__(  # noqa: PLR0913 - as the trainer calls it
        self,
        dataset: Any,
        batch_size: int,
        drop_last: bool,
        valid_label_columns: list[str] | None = None,
        generator: torch.Generator | None = None,
        seed: int = 0,
        *,
        make_batches: MakeBatches,
    ) -> None:
        """Take what makes the batches, and what the trainer passes to any sampler."""
        super().__init__(dataset, batch_size, drop_last, valid_label_columns, generator, seed)
        self._make_batches = make_batches
        self._n_batches = len(make_batches(batch_size, np.random.default_rng(0)))

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the rows of each batch of the current epoch."""
        rng = np.random.default_rng([self.seed, self.epoch])
        batches = self._make_batches(self.batch_size, rng)
        for i in rng.permutation(len(batches)):
            yield batches[i].tolist()

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return self._n_batches


def length_grouped_batches(lengths: Rows, batch_size: int, rng: np.random.Generator) -> list[Rows]:
    """Return batches of rows with similar `lengths`, `(n_rows,)`, so that little is padded.

    The shuffled rows are sorted by length within pools of 64 batches.
    """
    order = rng.permutation(len(lengths))
    batches: list[Rows] = []
    for start in range(0, len(order), _POOL * batch_size):
        pool = order[start : start + _POOL * batch_size]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += [pool[i : i + batch_size] for i in range(0, len(pool), batch_size)]
    return batches


def distinct_batches(groups: Rows, batch_size: int, rng: np.random.Generator) -> list[Rows]:
    """Return batches without two rows of one group, so that no row is a false negative of another.

    `groups` is `(n_rows,)`. The rows are dealt to the batches in turn, group by group in random order. There
    are at least as many batches as the largest group has rows.
    """
    n_batches = max(-(-len(groups) // batch_size), int(np.bincount(groups).max()))
    shuffled = rng.permutation(len(groups))
    rank = rng.permutation(int(groups.max()) + 1)
    dealt = shuffled[np.argsort(rank[groups[shuffled]], kind="stable")]
    return [dealt[i::n_batches] for i in range(n_batches)]


def input_lengths(pairs: LabelledPairs, tokenizer: Tokenizer, max_tokens: int) -> Rows:
    """Return the tokens of each pair with special tokens, at most `max_tokens`, `(n_pairs,)`."""
    left, right = (
        tokenise(side, tokenizer, max_tokens=max_tokens, progress=SILENT).lengths
        for side in (pairs.left, pairs.right)
    )
    special = find_layout(tokenizer, 2).n_special
    return np.asarray(np.minimum(left + right + special, max_tokens), np.int64)
