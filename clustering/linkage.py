"""Average linkage over a sparse graph: groups join while their members agree on the whole."""

from __future__ import annotations

import heapq

import numpy as np
import numpy.typing as npt

from ..schema import Rows

Likeness = npt.NDArray[np.float64]

_GRAIN = 2.0**24


def link_groups(
    n_rows: int, left: Rows, right: Rows, likeness: Likeness, *, unknown: float, least: float
) -> Rows:
    """Join rows into groups, the likest two first, while the mean likeness between two is at least `least`.

    The mean is over all pairs between the two groups; those not among `left`, `right` count as `unknown`,
    which is below `least`, so that groups without a known pair never join. This is UPGMA (Sokal and
    Michener 1958) on a graph with a default weight. Ties go to the smaller row numbers. Returns a row of
    the group for each row, the same for all its members, (n_rows,).
    """
    assert unknown < least
    excess = exact(likeness - unknown)
    groups = _Groups(n_rows, least - unknown)
    for a, b, value in zip(left.tolist(), right.tolist(), excess.tolist(), strict=True):
        groups.links[a][b] = groups.links[b][a] = value
    strong = excess >= groups.least
    groups.queue = list(
        zip((-excess[strong]).tolist(), left[strong].tolist(), right[strong].tolist(), strict=True)
    )
    heapq.heapify(groups.queue)
    while groups.queue:
        groups.take()
    return groups.roots()


def exact(values: Likeness) -> Likeness:
    """Round values to multiples of 2^-24: they add up exactly in any order, so that ties stay ties."""
    rounded: Likeness = np.round(values * _GRAIN) / _GRAIN
    return rounded


class _Groups:
    """Groups that grow, each under the number of one of its rows, and a queue of those that may join.

    `links[a][b]` is by how much the known pairs between a and b exceed the value of unknown ones, in sum:
    divided by the number of pairs it is the mean excess. A queued mean is never below the true one: what
    two joined groups are linked to in common is queued anew, and what only one of them is linked to can
    but fall. So an entry that still holds when it is popped is the likest of all.
    """

    def __init__(self, n_rows: int, least: float) -> None:
        self.least = least
        self.links: list[dict[int, float]] = [{} for _ in range(n_rows)]
        self.size = [1] * n_rows
        self.parent = list(range(n_rows))
        self.queue: list[tuple[float, int, int]] = []

    def take(self) -> None:
        """Pop an entry of the queue: join the two groups, or queue them anew if it is out of date."""
        negated, a, b = heapq.heappop(self.queue)
        value = self.links[a].get(b)
        if value is None:
            return
        if value / (self.size[a] * self.size[b]) < -negated:
            self._enqueue(a, b)
        elif (len(self.links[a]), b) >= (len(self.links[b]), a):
            self._join(a, b)
        else:
            self._join(b, a)

    def _enqueue(self, a: int, b: int) -> None:
        mean = self.links[a][b] / (self.size[a] * self.size[b])
        if mean >= self.least:
            heapq.heappush(self.queue, (-mean, min(a, b), max(a, b)))

    def _join(self, into: int, gone: int) -> None:
        kept, moved = self.links[into], self.links[gone]
        self.links[gone] = {}
        del kept[gone], moved[into]
        self.size[into] += self.size[gone]
        self.parent[gone] = into
        for other, value in moved.items():
            theirs = self.links[other]
            del theirs[gone]
            kept[other] = theirs[into] = kept.get(other, 0.0) + value
            self._enqueue(into, other)

    def roots(self) -> Rows:
        """Return the row under whose number each row's group stands, (n_rows,)."""
        roots = np.array(self.parent, dtype=np.int64)
        while not np.array_equal(above := roots[roots], roots):
            roots = above
        return roots
