"""Features of a pair from the corpus around it: where each text stands among the neighbours of the other.

All of them come from the scored candidates. Ranks and ratios of distances replace similarities, which depend
on how dense the corpus is; the ratio to the distance of the k-th neighbour is the local scaling of
Zelnik-Manor and Perona, 2004.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..schema import Floats, Rows, ScoredPairs, find_keys, pair_keys, ranges
from .trees import Features

RANKS = (1, 2, 5, 10, 20, 50)

_NEAREST = 20  # neighbours of a text that are compared with the other text
_LEAST_DISTANCE = 0.02  # all nearer texts count as equally near


@dataclass(frozen=True, slots=True)
class _NeighbourLists:
    """The neighbours of every row, nearest first: those of row r from `starts[r]` to `starts[r + 1]`.

    `row` is the neighbour, `pair` the position of the pair in the graph.
    """

    starts: Rows
    row: Rows
    pair: Rows

    @property
    def sizes(self) -> Rows:
        """Neighbours per row."""
        return np.diff(self.starts)


class NeighbourFeatures:
    """Features from the graph of all scored candidates of a corpus."""

    def __init__(self, n_rows: int, pairs: ScoredPairs) -> None:
        """Take the number of texts and all scored candidates, sorted by (left, right)."""
        self._n_rows, self._cosine, self._logit = n_rows, pairs.cosine, pairs.pair_logit
        self._probability = pairs.pair_probability
        self._keys = pair_keys(pairs.left, pairs.right, n_rows)
        self._lists = _list_neighbours(n_rows, pairs)

    def compute(self, pairs: ScoredPairs) -> Features:
        """Return the features of some pairs.

        What holds for one text becomes `..._low` and `..._high` of both, so that no text is the first. NaN
        marks a text that has no such neighbour.
        """
        features: Features = {}
        left, right = (
            self._side(pairs, pairs.left, pairs.right),
            self._side(pairs, pairs.right, pairs.left),
        )
        for name in left:
            features[f"{name}_low"] = np.fmin(left[name], right[name])
            features[f"{name}_high"] = np.fmax(left[name], right[name])
        return features

    def _side(self, pairs: ScoredPairs, text: Rows, other: Rows) -> Features:
        """Return the features that hold for one text of each pair."""
        distance = np.maximum(1 - pairs.cosine, _LEAST_DISTANCE)
        features: Features = {"neighbours": np.asarray(np.log1p(self._lists.sizes[text]), np.float32)}
        for rank in RANKS:
            features[f"distance_to_{rank}"] = np.asarray(distance / self._distance(text, rank), np.float32)
        return features | self._compare_neighbours(pairs, text, other)

    def _distance(self, text: Rows, rank: int) -> Floats:
        """Return the cosine distance of each text to its neighbour of a rank, NaN where there is none."""
        lists = self._lists
        distance = np.full(len(text), np.nan, np.float32)
        enough = lists.sizes[text] >= rank
        pair = lists.pair[lists.starts[text[enough]] + rank - 1]
        distance[enough] = np.maximum(1 - self._cosine[pair], _LEAST_DISTANCE)
        return distance

    def _compare_neighbours(self, pairs: ScoredPairs, text: Rows, other: Rows) -> Features:
        """Compare the nearest neighbours of `text`, without `other`, with both texts.

        A neighbour that both accept supports the pair, one that only `text` accepts speaks against it.
        """
        lists, n = self._lists, len(text)
        sizes = np.minimum(lists.sizes[text], _NEAREST)
        place, owner = ranges(lists.starts[text], sizes), np.repeat(np.arange(n), sizes)
        is_third = lists.row[place] != other[owner]
        place, owner = place[is_third], owner[is_third]
        neighbour, pair = lists.row[place], lists.pair[place]
        pair_to_other = find_keys(self._keys, pair_keys(neighbour, other[owner], self._n_rows))
        shared = pair_to_other >= 0
        to_text = self._probability[pair]
        to_other = np.where(shared, self._probability[pair_to_other], np.float32(0))
        best_logit = _largest(owner, self._logit[pair], n, np.nan)
        n_shared = np.bincount(owner, shared, n).astype(np.float32)
        return {
            "rank": np.bincount(owner, self._cosine[pair] > pairs.cosine[owner], n).astype(np.float32),
            "shared": np.asarray(n_shared / np.maximum(sizes, 1), np.float32),
            "best_support": _largest(owner, np.minimum(to_text, to_other), n, 0),
            "support": np.bincount(owner, to_text * to_other, n).astype(np.float32),
            "best_objection": _largest(owner, to_text * (1 - to_other), n, 0),
            "objections": np.bincount(owner, to_text * (1 - to_other), n).astype(np.float32),
            "accepted": np.bincount(owner, to_text, n).astype(np.float32),
            "best_other_logit": best_logit,
            "best_other_cosine": _largest(owner, self._cosine[pair], n, np.nan),
            "lead": pairs.pair_logit - best_logit,
        }


def _list_neighbours(n_rows: int, pairs: ScoredPairs) -> _NeighbourLists:
    source = np.concatenate([pairs.left, pairs.right])
    target = np.concatenate([pairs.right, pairs.left])
    pair = np.tile(np.arange(len(pairs)), 2)
    order = np.lexsort((target, -pairs.cosine[pair], source))
    sizes = np.bincount(source, minlength=n_rows)
    return _NeighbourLists(np.concatenate([[0], np.cumsum(sizes)]), target[order], pair[order])


def _largest(owner: Rows, values: Floats, n: int, missing: float) -> Floats:
    """Return the largest of the values of each of `n` owners, `missing` without any; `owner` ascends."""
    largest = np.full(n, missing, np.float32)
    if len(owner):
        first = np.flatnonzero(np.diff(owner, prepend=-1))
        largest[owner[first]] = np.maximum.reduceat(values, first)
    return largest
