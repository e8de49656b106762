"""What connects the rows of a cluster: its weakest link, and the strongest path between two rows."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

from ..schema import Floats, Rows, ScoredPairs


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
    left, right = ends.reshape(2, -1)
    tree, order = _spanning_tree(left, right, pairs.probability, len(rows))
    _, before = breadth_first_order(tree, int(np.searchsorted(rows, end)), directed=False)
    places = [int(np.searchsorted(rows, start))]
    while rows[places[-1]] != end:
        places.append(int(before[places[-1]]))
    ranks = [int(max(tree[a, b], tree[b, a])) for a, b in itertools.pairwise(places)]
    return Path(
        tuple(int(rows[place]) for place in places),
        tuple(float(pairs.probability[order[rank - 1]]) for rank in ranks),
    )


def weakest_links(labels: Rows, pairs: ScoredPairs) -> Floats:
    """Return for each cluster the lowest probability on the strongest paths between its rows, (n_clusters,).

    That is the lowest probability on a maximum spanning tree of the pairs inside; 1 for a single row, as
    equal texts are certain. `pairs` must connect each cluster, as the pairs of a `Partition` together with
    those scored for it do.
    """
    n_clusters = int(labels.max(initial=-1)) + 1
    inside = pairs.where(labels[pairs.left] == labels[pairs.right])
    tree, order = _spanning_tree(inside.left, inside.right, inside.probability, len(labels))
    assert tree.nnz == len(labels) - n_clusters, "pairs do not connect every cluster"
    links = order[tree.data.astype(np.int64) - 1]
    weakest = np.ones(n_clusters, dtype=np.float32)
    np.minimum.at(weakest, labels[inside.left[links]], inside.probability[links])
    return weakest


def _spanning_tree(left: Rows, right: Rows, probability: Floats, n_rows: int) -> tuple[csr_array, Rows]:
    """Return a maximum spanning tree and the pairs in falling order of probability.

    The weights of the tree are ranks in that order, from 1: a sparse weight of 0 would be no edge.
    """
    order = np.argsort(-probability, kind="stable")
    ranks = np.empty(len(order))
    ranks[order] = np.arange(1, len(order) + 1)
    graph = coo_array((ranks, (left, right)), shape=(n_rows, n_rows))
    return minimum_spanning_tree(graph.tocsr()), order
