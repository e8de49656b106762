"""The pairs found so far, without those that too many nearer ones have made superfluous."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..schema import Flags, Floats, Rows

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

    def __init__(self, n: int, most: int, asking: Rows) -> None:
        """Start without pairs of n rows; who is not `asking` wants no pair, though a partner may."""
        self.most = most
        self._bars = np.full(n, _NOBODY)  # the least nearness that a row wants
        self._bars[asking] = _EVERYBODY
        self._asks = self._bars == _EVERYBODY
        self._degree = np.zeros(n, np.int64)
        self._pending: list[Found] = []
        self._kept: list[Found] = []
        self._limit = _KEPT

    def wants(self, left: Rows, right: Rows, cosine: Floats) -> Flags:
        """Whether pairs are, as far as is known, among the nearest of a side."""
        wanted: Flags = _nearness(cosine, right) >= self._bars[left]
        return wanted | (_nearness(cosine, left) >= self._bars[right])

    def add(self, left: Rows, right: Rows, cosine: Floats) -> None:
        """Add pairs that are not there yet, `left < right`."""
        pairs = np.empty(len(left), FOUND)
        pairs["left"], pairs["right"], pairs["cosine"] = left, right, cosine
        self.add_found(pairs)

    def add_found(self, pairs: Found) -> None:
        """Add pairs as `take` returns them."""
        self._pending.append(pairs)
        if sum(map(len, self._pending)) >= _PENDING:
            self._settle()

    def take(self) -> Found:
        """Return the pairs, sorted by (left, right)."""
        self._settle()
        self._prune()
        pairs = self._kept[0]
        order = np.argsort(pairs["left"] * np.int64(len(self._bars)) + pairs["right"])
        return pairs[order]

    @property
    def capped(self) -> int:
        """Rows that more than `most` pairs were added of."""
        return int((self._asks & (self._degree > self.most)).sum())

    def _settle(self) -> None:
        pairs = np.concatenate([np.empty(0, FOUND), *self._pending])
        self._pending = []
        self._degree += _degrees(pairs, len(self._bars))
        self._kept.append(pairs[self.wants(pairs["left"], pairs["right"], pairs["cosine"])])
        if sum(map(len, self._kept)) > self._limit:
            self._prune()
            self._limit = max(_KEPT, 2 * len(self._kept[0]))

    def _prune(self) -> None:
        """Raise the bars of the rows with too many pairs to their `most`-th nearest."""
        pairs = np.concatenate(self._kept)
        degree = _degrees(pairs, len(self._bars))
        crowded = self._asks & (degree > self.most)
        rows, nearness = [], []
        for side, other in (("left", "right"), ("right", "left")):
            own = crowded[pairs[side]]
            rows.append(pairs[side][own])
            nearness.append(_nearness(pairs["cosine"][own], pairs[other][own]))
        near = np.concatenate(nearness)[np.argsort(np.concatenate(rows), kind="stable")]
        ends = np.cumsum(degree[crowded])
        for row, own in zip(np.flatnonzero(crowded), np.split(near, ends[:-1]), strict=crowded.any()):
            self._bars[row] = np.partition(own, -self.most)[-self.most]
        self._kept = [pairs[self.wants(pairs["left"], pairs["right"], pairs["cosine"])]]


def _degrees(pairs: Found, n: int) -> Rows:
    """Count the pairs of each of n rows."""
    return np.bincount(pairs["left"], minlength=n) + np.bincount(pairs["right"], minlength=n)


def _nearness(cosine: Floats, other: npt.NDArray[np.integer]) -> Rows:
    """Return one number per pair that grows with the cosine and, of equal ones, falls with the row."""
    bits = (cosine + np.float32(0)).view(np.int32).astype(np.int64)  # not -0, which is less than 0
    bits ^= (bits >> 63) & 0x7FFFFFFF
    return (bits << 32) - other
