"""Average linkage on a sparse graph: groups join while their members are similar on average."""

from __future__ import annotations

import heapq

import numpy as np

from ..schema import Doubles, Rows

_GRAIN = 2.0**24


def link_groups(
    n_rows: int, left: Rows, right: Rows, similarity: Doubles, *, unknown: float, least: float
) -> Rows:
    """Join rows into groups, the most similar two first, while their mean similarity is at least `least`.

    The mean is over all pairs between two groups. Pairs that are not among `left`, `right` count as
    `unknown`, which is below `least`, so groups without a known pair never join. This is UPGMA (Sokal and
    Michener 1958) on a graph with a default weight. Ties go to the smaller row numbers. Returns one row of
    its group for each row, the same for all rows of a group, (n_rows,).
    """
    assert unknown < least
    excess = round_exactly(similarity - unknown)
    groups = _Groups(n_rows, least - unknown)
    for a, b, value in zip(left.tolist(), right.tolist(), excess.tolist(), strict=True):
        groups.links[a][b] = groups.links[b][a] = value
    strong = excess >= groups.least
    groups.queue = list(
        zip((-excess[strong]).tolist(), left[strong].tolist(), right[strong].tolist(), strict=True)
    )
    heapq.heapify(groups.queue)
    while groups.queue:
        groups.process_next()
    return groups.roots()


def round_exactly(values: Doubles) -> Doubles:
    """Round values to multiples of 2^-24, whose sums are exact in any order, so that ties stay ties."""
    rounded: Doubles = np.round(values * _GRAIN) / _GRAIN
    return rounded


class _Groups:
    """Groups that grow, each identified by one of its rows, and a queue of pairs of groups that may join.

    `links[a][b]` is the sum by which the known pairs between a and b exceed `unknown`; divided by the number
    of pairs it is the mean excess. A queued mean is never below the current one: after two groups join, the
    links they have in common are queued again, and the means of all others can only fall. So an entry that
    is still current when it is popped is the most similar pair of groups.
    """

    def __init__(self, n_rows: int, least: float) -> None:
        self.least = least
        self.links: list[dict[int, float]] = [{} for _ in range(n_rows)]
        self.size = [1] * n_rows
        self.parent = list(range(n_rows))
        self.queue: list[tuple[float, int, int]] = []

    def process_next(self) -> None:
        """Pop an entry of the queue: join the two groups, or queue them again if it is out of date."""
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
            neighbours = self.links[other]
            del neighbours[gone]
            kept[other] = neighbours[into] = kept.get(other, 0.0) + value
            self._enqueue(into, other)

    def roots(self) -> Rows:
        """Return the row that identifies the group of each row, (n_rows,)."""
        roots = np.array(self.parent, dtype=np.int64)
        while not np.array_equal(above := roots[roots], roots):
            roots = above
        return roots
