"""Which texts are compared in a search for all pairs: all, in blocks of the upper triangle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from ..schema import Rows

Mask = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.int32] | Rows

SHARD = 1 << 34  # products
BLOCK_CPU = (1024, 2048)  # rows and others whose products the caches hold
BLOCK_GPU = (8192, 65_536)


@dataclass(frozen=True, slots=True)
class Block:
    """Positions that meet all those of a range."""

    positions: Positions
    others: range


class Plan(Protocol):
    """The blocks of a search."""

    @property
    def order(self) -> Rows | None:
        """The order of the rows: `order[position]` is a row; None where each is at its own position."""

    @property
    def key(self) -> bytes:
        """What the blocks follow from, beside the vectors."""

    def shards(self) -> Iterator[list[Block]]:
        """Return all blocks, in groups that take about as long each."""

    def once(self, positions: Positions, others: Positions) -> Mask:
        """Whether this meeting counts: two may meet twice, and each may meet itself."""


@dataclass(frozen=True, slots=True)
class Everything:
    """The first `asking` of n positions with each other and with all behind them."""

    n: int
    asking: int
    order: Rows | None
    height: int
    width: int

    @property
    def key(self) -> bytes:
        """See `Plan`."""
        return b"" if self.order is None else self.order.tobytes()

    def shards(self) -> Iterator[list[Block]]:
        """Return the blocks; see `Plan`."""
        strips = (
            range(top, min(top + self.height, self.asking)) for top in range(0, self.asking, self.height)
        )
        return grouped(
            Block(np.asarray(strip), range(start, min(start + self.width, self.n)))
            for strip in strips
            for start in range(strip.start, self.n, self.width)
        )

    def once(self, positions: Positions, others: Positions) -> Mask:
        """Tell the upper triangle from the lower."""
        return np.asarray(positions < others)


def plan_everything(n: int, rows: Rows | None, device: torch.device) -> Everything:
    """Let `rows`, by default all, meet all rows."""
    height, width = BLOCK_GPU if device.type == "cuda" else BLOCK_CPU
    if rows is None or len(rows) == n:
        return Everything(n, n, None, height, width)
    others = np.ones(n, bool)
    others[rows] = False
    return Everything(n, len(rows), np.concatenate([rows, np.flatnonzero(others)]), height, width)


def grouped(blocks: Iterator[Block]) -> Iterator[list[Block]]:
    """Group blocks by the products in them."""
    group, products = list[Block](), 0
    for block in blocks:
        group.append(block)
        products += len(block.positions) * len(block.others)
        if products >= SHARD:
            yield group
            group, products = [], 0
    if group:
        yield group
