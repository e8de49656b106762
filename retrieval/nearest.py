"""The pairs found so far, without those that too many nearer ones have made superfluous."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..schema import Floats, Rows
from .plan import Positions

FOUND = np.dtype([("left", np.int32), ("right", np.int32), ("cosine", np.float32)])
Found = npt.NDArray[np.void]

_PENDING = 1 << 20  # pairs
_KEPT = 1 << 24
_NOBODY = np.iinfo(np.int64).max
_EVERYBODY = np.iinfo(np.int64).min


class Nearest:
    """Pairs of rows that are among the `most` nearest of either side; of equal ones the lower row is nearer.

    Memory is bounded by them, not by the pairs that are added.
    """

    def __init__(self, most: int, bars: Rows) -> None:
        """Start without pairs; `bars` comes from `open_bars` or from another collection's `bars`."""
        self.most = most
        self.bars = bars.copy()
        self._asks = bars != _NOBODY
        self._raised = bool((bars != _EVERYBODY).any())
        self._degree = np.zeros(len(bars), np.int64)
        self._pending: list[Found] = []
        self._kept: list[Found] = []
        self._limit = _KEPT
        self._pruned = False

    def add(self, left: Positions, right: Positions, cosine: Floats) -> None:
        """Add pairs that are not there yet."""
        pairs = np.empty(len(left), FOUND)
        pairs["left"], pairs["right"], pairs["cosine"] = left, right, cosine
        self.add_found(pairs)

    def add_found(self, pairs: Found) -> None:
        """Add pairs as `take` returns them."""
        self._pending.append(pairs)
        if sum(map(len, self._pending)) >= _PENDING:
            self._settle()

    def take(self) -> Found:
        """Return the pairs, in no order."""
        self._settle()
        self._prune()
        return self._kept[0]

    @property
    def capped(self) -> int:
        """Rows that more than `most` pairs were added of."""
        return int((self._asks & (self._degree > self.most)).sum())

    def _settle(self) -> None:
        pairs = np.concatenate([np.empty(0, FOUND), *self._pending])
        self._pending = []
        self._degree += _degrees(pairs, len(self.bars))
        self._kept.append(self._wanted(pairs))
        self._pruned = self._pruned and not len(pairs)
        if sum(map(len, self._kept)) > self._limit:
            self._prune()
            self._limit = max(_KEPT, 2 * len(self._kept[0]))

    def _wanted(self, pairs: Found) -> Found:
        if not self._raised:
            return pairs
        left, right, cosine = (pairs[name] for name in ("left", "right", "cosine"))
        near = (_nearness(cosine, right) >= self.bars[left]) | (_nearness(cosine, left) >= self.bars[right])
        wanted: Found = pairs[near]
        return wanted

    def _prune(self) -> None:
        """Raise the bars of the rows with too many pairs to their `most`-th nearest."""
        pairs = np.concatenate(self._kept)
        self._kept = [pairs]
        if self._pruned:
            return
        self._pruned = True
        degree = _degrees(pairs, len(self.bars))
        crowded = np.flatnonzero((degree > self.most) & self._asks)
        parts = np.cumsum(degree[crowded]) // _KEPT + np.arange(len(crowded)) // (1 << 16)
        for part in np.unique(parts):
            self._raise_bars(pairs, crowded[parts == part])
        if len(crowded):
            self._raised = True
            self._kept = [self._wanted(pairs)]

    def _raise_bars(self, pairs: Found, crowded: Rows) -> None:
        place = np.full(len(self.bars), -1, np.int32)
        place[crowded] = np.arange(len(crowded))
        rows, nearness = [], []
        for side, other in (("left", "right"), ("right", "left")):
            at = place[pairs[side]]
            own = at >= 0
            rows.append(at[own].astype(np.uint16))
            nearness.append(_nearness(pairs["cosine"][own], pairs[other][own]))
        row, near = np.concatenate(rows), np.concatenate(nearness)
        near = near[np.argsort(row, kind="stable")]  # of 16 bits each: by radix
        ends = np.cumsum(np.bincount(row))
        for own_row, own_near in zip(crowded, np.split(near, ends[:-1]), strict=True):
            self.bars[own_row] = np.partition(own_near, -self.most)[-self.most]


def open_bars(n: int, asking: Rows | None) -> Rows:
    """Return the bars of n rows: who is not among `asking` wants no pair, though a partner may."""
    if asking is None:
        return np.full(n, _EVERYBODY)
    bars = np.full(n, _NOBODY)
    bars[asking] = _EVERYBODY
    return bars


def _degrees(pairs: Found, n: int) -> Rows:
    """Count the pairs of each of n rows."""
    return np.bincount(pairs["left"], minlength=n) + np.bincount(pairs["right"], minlength=n)


def _nearness(cosine: Floats, other: npt.NDArray[np.int32]) -> Rows:
    """Return one number per pair that grows with the cosine and, of equal ones, falls with the row."""
    bits = (cosine + np.float32(0)).view(np.int32).astype(np.int64)  # not -0, which is less than 0
    bits ^= (bits >> 63) & 0x7FFFFFFF
    return (bits << 32) - other
