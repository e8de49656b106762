"""Every pair of rows above the cosine floor that meets in a plan's blocks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from ..disk.work import Work, shard_name
from ..progress import Bar, Progress
from ..schema import Floats, Rows
from .encoder import Embeddings
from .nearest import Found, Nearest
from .plan import Block, Plan, Positions
from .rounded import Rounded, block_cosines, pair_cosines, round_vectors

_SPARSE = 1 << 16  # pairs whose cosines are computed at once
_DENSE = 64  # with more than one pair in so many, the cosines of all pairs of a block are the cheaper way
_DENSE_ROWS = 256


@dataclass(frozen=True)
class Search:
    """What meets in `plan` and has a cosine of at least `floor`; `device` multiplies."""

    embeddings: Embeddings
    plan: Plan
    floor: float
    device: torch.device

    @cached_property
    def vectors(self) -> Rounded:
        """The embeddings in the order of the plan."""
        return round_vectors(self.embeddings, self.device, self.plan.order)

    def into(self, nearest: Nearest, work: Work | None, progress: Progress) -> None:
        """Add all pairs to `nearest`; what each of several groups of blocks gave is a shard of `work`."""
        shards, key = list(self.plan.shards()), self.plan.key
        with progress.bar("retrieve", sum(map(len, shards)), "blocks") as bar:
            for number, blocks in enumerate(shards):

                def make(blocks: list[Block] = blocks) -> Found:
                    # One more than wanted, so that it is still seen which rows have more.
                    found = Nearest(nearest.most + 1, nearest.bars)
                    self.run(blocks, found, bar)
                    return found.take()

                done = bar.n + len(blocks)
                if work is None or len(shards) == 1:
                    nearest.add_found(make())
                else:
                    nearest.add_found(work.array(shard_name("candidates", key, str(number).encode()), make))
                bar.update(done - bar.n)

    def run(self, blocks: list[Block], found: Nearest, bar: Bar) -> None:
        """Add the pairs of some blocks to `found`."""
        sparse: list[tuple[Positions, Positions]] = []
        for block in blocks:
            at, other = self._meet(block)
            if len(at) * _DENSE > len(block.positions) * len(block.others):
                for start in range(0, len(block.positions), _DENSE_ROWS):
                    part = slice(*np.searchsorted(at, (start, start + _DENSE_ROWS)))
                    if self.vectors.codes.is_cuda:  # pair by pair is the faster way there, too
                        pairs = block.positions[at[part]], other[part] + block.others.start
                        self._add_sparse([pairs], found)
                    else:
                        self._add_dense(block, at[part], other[part], found)
            elif len(at):
                sparse.append((block.positions[at], other + block.others.start))
            if sum(len(pairs[0]) for pairs in sparse) >= _SPARSE:
                self._add_sparse(sparse, found)
                sparse = []
            bar.update(1)
        if sparse:
            self._add_sparse(sparse, found)

    def _meet(self, block: Block) -> tuple[Rows, Rows]:
        """Return the places in a block of the pairs whose product is large enough to look at their cosine."""
        near = self.vectors.near(block.positions, block.others, self.floor)
        at, other = (side.cpu().numpy() for side in near)
        once = self.plan.once(block.positions[at], other + block.others.start)
        return at[once], other[once]

    def _add_dense(self, block: Block, at: Rows, other: Rows, found: Nearest) -> None:
        """Add pairs of neighbouring rows of a block; all cosines of those are computed."""
        if not len(at):
            return
        first, positions = at[0], block.positions[at[0] : at[-1] + 1]
        cosines = block_cosines(self.embeddings, self._rows(positions), self._rows(np.asarray(block.others)))
        left, right = block.positions[at], other + block.others.start
        self._add(left, right, cosines[at - first, other], found)

    def _add_sparse(self, pairs: list[tuple[Positions, Positions]], found: Nearest) -> None:
        left, right = (np.concatenate(side) for side in zip(*pairs, strict=True))
        if self.vectors.are_exact:
            cosine = self.vectors.cosines(left, right)
        else:
            cosine = pair_cosines(self.embeddings, self._rows(left), self._rows(right))
        self._add(left, right, cosine, found)

    def _add(self, left: Positions, right: Positions, cosine: Floats, found: Nearest) -> None:
        keep = cosine >= self.floor
        one, two = self._rows(left[keep]), self._rows(right[keep])
        found.add(np.minimum(one, two), np.maximum(one, two), cosine[keep])

    def _rows(self, positions: Positions) -> Positions:
        return positions if self.plan.order is None else self.plan.order[positions]
