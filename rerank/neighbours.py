"""What the corpus around a pair says: where each text stands among the other's neighbours.

Everything is taken from the scored candidates. Ranks and ratios of distances stand where similarities could,
since those depend on how dense the corpus is; the ratio to the k-th neighbour's distance is the local
scaling of Zelnik-Manor and Perona, 2004.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..schema import CandidatePairs, Floats, Rows, ScoredPairs, find_keys, pair_keys, ranges

DEPTHS = (1, 2, 5, 10, 20, 50)
_NEAREST = 20  # neighbours of a side that are asked what they are to the other
_LEAST = 0.02  # distance below which all texts count as equally near

Features = dict[str, Floats]


@dataclass(frozen=True, slots=True)
class _Lists:
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
    """The graph of the scored candidates among some texts."""

    def __init__(self, n_rows: int, pairs: ScoredPairs) -> None:
        """Take the number of texts and all scored candidates, sorted by (left, right)."""
        self._n_rows, self._pairs = n_rows, pairs
        self._keys = pair_keys(pairs.left, pairs.right, n_rows)
        self._lists = _lists(n_rows, pairs)

    def compute(self, wanted: CandidatePairs, logit: Floats) -> Features:
        """Return the features of some pairs with their logits, each `(n_pairs,) float32`.

        What each side says apart becomes `…_low` and `…_high`, so that no pair has a first text. NaN says
        that a side has no such neighbour.
        """
        features: Features = {}
        ends = wanted.left, wanted.right
        sides = [self._of_side(wanted, logit, *ends), self._of_side(wanted, logit, *ends[::-1])]
        for name in sides[0]:
            both = sides[0][name], sides[1][name]
            features[f"{name}_low"] = np.fmin(*both)
            features[f"{name}_high"] = np.fmax(*both)
        return features

    def _of_side(self, wanted: CandidatePairs, logit: Floats, one: Rows, other: Rows) -> Features:
        lists = self._lists
        distance = np.maximum(1 - wanted.cosine, _LEAST)
        features: Features = {"neighbours": np.asarray(np.log1p(lists.sizes[one]), np.float32)}
        for depth in DEPTHS:
            features[f"distance_to_{depth}"] = np.asarray(distance / self._distance(one, depth), np.float32)
        return features | self._of_others(wanted, logit, one, other)

    def _distance(self, rows: Rows, depth: int) -> Floats:
        """Return the cosine distance of each row to its neighbour of a rank, NaN where there is none."""
        lists = self._lists
        found = np.full(len(rows), np.nan, np.float32)
        deep = lists.sizes[rows] >= depth
        at = lists.pair[lists.starts[rows[deep]] + depth - 1]
        found[deep] = np.maximum(1 - self._pairs.cosine[at], _LEAST)
        return found

    def _of_others(self, wanted: CandidatePairs, logit: Floats, one: Rows, other: Rows) -> Features:
        """Return what the nearest neighbours of `one`, `other` left out, are to `one` and to `other`.

        A neighbour that both accept supports the pair, one that only `one` accepts speaks against it.
        """
        lists, pairs = self._lists, self._pairs
        sizes = np.minimum(lists.sizes[one], _NEAREST)
        place = ranges(lists.starts[one], sizes)
        of = np.repeat(np.arange(len(one)), sizes)
        apart = lists.row[place] != other[of]
        of, place = of[apart], place[apart]
        third, pair = lists.row[place], lists.pair[place]
        to_other = find_keys(self._keys, pair_keys(third, other[of], self._n_rows))
        known = to_other >= 0
        near = pairs.probability[pair]
        far = np.where(known, pairs.probability[to_other], np.float32(0))
        n = len(one)
        count = np.bincount(of, known, n).astype(np.float32)
        return {
            "rank": np.bincount(of, pairs.cosine[pair] > wanted.cosine[of], n).astype(np.float32),
            "shared": np.asarray(count / np.maximum(sizes, 1), np.float32),
            "best_support": _largest(of, np.minimum(near, far), n, 0),
            "support": np.bincount(of, near * far, n).astype(np.float32),
            "best_objection": _largest(of, near * (1 - far), n, 0),
            "objections": np.bincount(of, near * (1 - far), n).astype(np.float32),
            "accepted": np.bincount(of, near, n).astype(np.float32),
            "best_other_logit": _largest(of, pairs.logit[pair], n, np.nan),
            "best_other_cosine": _largest(of, pairs.cosine[pair], n, np.nan),
            "lead": logit - _largest(of, pairs.logit[pair], n, np.nan),
        }


def _lists(n_rows: int, pairs: ScoredPairs) -> _Lists:
    source = np.concatenate([pairs.left, pairs.right])
    target = np.concatenate([pairs.right, pairs.left])
    pair = np.tile(np.arange(len(pairs)), 2)
    order = np.lexsort((target, -pairs.cosine[pair], source))
    sizes = np.bincount(source, minlength=n_rows)
    return _Lists(np.concatenate([[0], np.cumsum(sizes)]), target[order], pair[order])


def _largest(of: Rows, values: Floats, n: int, missing: float) -> Floats:
    """Return the largest of the values that belong to each of `n` pairs; `of` ascends."""
    largest = np.full(n, missing, np.float32)
    if len(of):
        first = np.flatnonzero(np.diff(of, prepend=-1))
        largest[of[first]] = np.maximum.reduceat(values, first)
    return largest
