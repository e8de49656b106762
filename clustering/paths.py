"""The strongest path between two rows of a cluster."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

from ..schema import ScoredPairs


@dataclass(frozen=True, slots=True)
class Path:
    """Rows from one end to the other, and the probability of each step."""

    rows: tuple[int, ...]
    probability: tuple[float, ...]


def strongest_path(pairs: ScoredPairs, start: int, end: int) -> Path:
    """Return the path whose least probable step is most probable: the one on a maximum spanning tree.

    `pairs` are those inside one cluster and connect `start` with `end`.
    """
    if start == end:
        return Path((start,), ())
    rows, ends = np.unique(np.stack([pairs.left, pairs.right]), return_inverse=True)
    order = np.argsort(-pairs.probability, kind="stable")
    ranks = np.empty(len(order))
    ranks[order] = np.arange(1, len(order) + 1)
    graph = coo_array((ranks, tuple(ends.reshape(2, -1))), shape=(len(rows), len(rows))).tocsr()
    tree = minimum_spanning_tree(graph)
    _, before = breadth_first_order(tree, int(np.searchsorted(rows, end)), directed=False)
    places = [int(np.searchsorted(rows, start))]
    while rows[places[-1]] != end:
        places.append(int(before[places[-1]]))
    steps = itertools.pairwise(places)
    weights = [max(tree[a, b], tree[b, a]) for a, b in steps]
    by_rank = pairs.probability[order]
    return Path(
        tuple(int(rows[place]) for place in places),
        tuple(float(by_rank[int(weight) - 1]) for weight in weights),
    )
