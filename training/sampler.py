"""Batches of pairs of similar length: little padding, in an order that only the seed and epoch decide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from sentence_transformers.base.sampler import DefaultBatchSampler
from tokenizers import Tokenizer

from ..inference.layout import find_layout
from ..inference.tokens import tokenise
from ..progress import SILENT
from ..schema import Rows

_POOL = 64  # batches that are sorted together


class LengthGroupedSampler(DefaultBatchSampler):
    """Shuffle the rows, sort pools of 64 batches by length, and shuffle the batches."""

    def __init__(  # noqa: PLR0913 - as the trainer calls it
        self,
        dataset: Any,
        batch_size: int,
        drop_last: bool,
        valid_label_columns: list[str] | None = None,
        generator: torch.Generator | None = None,
        seed: int = 0,
        *,
        lengths: Rows,
    ) -> None:
        """Take the tokens of each row, `lengths (n_rows,)`, beside what the trainer gives to any sampler."""
        super().__init__(dataset, batch_size, drop_last, valid_label_columns, generator, seed)
        self.lengths = lengths

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the rows of each batch of the epoch that was set."""
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(len(self.lengths))
        batches: list[Rows] = []
        for start in range(0, len(order), _POOL * self.batch_size):
            pool = order[start : start + _POOL * self.batch_size]
            pool = pool[np.argsort(self.lengths[pool], kind="stable")]
            batches += [pool[i : i + self.batch_size] for i in range(0, len(pool), self.batch_size)]
        for i in rng.permutation(len(batches)):
            yield batches[i].tolist()

    def __len__(self) -> int:
        """Return the batches of an epoch."""
        return -(-len(self.lengths) // self.batch_size)


class DistinctSampler(DefaultBatchSampler):
    """Batches in which no two rows are of one group, so that none is a false negative of another."""

    def __init__(  # noqa: PLR0913 - as the trainer calls it
        self,
        dataset: Any,
        batch_size: int,
        drop_last: bool,
        valid_label_columns: list[str] | None = None,
        generator: torch.Generator | None = None,
        seed: int = 0,
        *,
        groups: Rows,
    ) -> None:
        """Take the group of each row, `groups (n_rows,)`, beside what the trainer gives to any sampler."""
        super().__init__(dataset, batch_size, drop_last, valid_label_columns, generator, seed)
        self.groups = groups

    @staticmethod
    def count(groups: Rows, batch_size: int) -> int:
        """Return the batches of an epoch: no fewer than the largest group has rows."""
        return max(-(-len(groups) // batch_size), int(np.bincount(groups).max()))

    def __iter__(self) -> Iterator[list[int]]:
        """Deal the rows, group by group in random order, to the batches in turn."""
        rng = np.random.default_rng([self.seed, self.epoch])
        shuffled = rng.permutation(len(self.groups))
        rank = rng.permutation(int(self.groups.max()) + 1)
        dealt = shuffled[np.argsort(rank[self.groups[shuffled]], kind="stable")]
        for i in rng.permutation(len(self)):
            yield dealt[i :: len(self)].tolist()

    def __len__(self) -> int:
        """Return the batches of an epoch."""
        return self.count(self.groups, self.batch_size)


def input_lengths(texts: tuple[Sequence[str], ...], tokenizer: Tokenizer, max_tokens: int) -> Rows:
    """Return the tokens of each row's texts together, `(n_rows,)`, with the special ones, cut at a limit."""
    stores = [tokenise(column, tokenizer, max_tokens=max_tokens, progress=SILENT) for column in texts]
    special = find_layout(tokenizer, len(texts)).n_special if len(texts) <= 2 else 0
    together = np.sum([store.lengths for store in stores], axis=0)
    return np.asarray(np.minimum(together + special, max_tokens), np.int64)
