"""What the words of a pair say: which they share, and which only one of the texts has."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from ..schema import CandidatePairs, Floats, Rows, TokenStore

Features = dict[str, Floats]

_HASH = 1 << 20  # numbers for pairs of tokens
_PRIME = 40_009


def compute_idf(tokens: TokenStore, n_tokens: int) -> Floats:
    """Return how rare each of a vocabulary's tokens is among texts, its idf, `(n_tokens,) float32`."""
    sets = token_sets(tokens.ids.astype(np.int64), tokens.lengths)
    frequency = np.bincount(sets.indices, minlength=n_tokens)
    return np.asarray(np.log((len(tokens.lengths) + 1) / (frequency + 1)), np.float32)


class LexicalFeatures:
    """The sets of tokens of all texts, weighted by how rare the tokens are."""

    def __init__(self, tokens: TokenStore, idf: Floats) -> None:
        """Take the tokens of all rows and the idf of the vocabulary, that of a large corpus."""
        self._lengths = tokens.lengths
        self._first = tokens.ids[np.minimum(tokens.offsets[:-1], max(len(tokens.ids) - 1, 0))]
        self._sets = token_sets(tokens.ids.astype(np.int64), self._lengths)
        self._bigrams = token_sets(*_bigrams(tokens))
        self._idf = idf[: self._sets.shape[1]]

    def compute(self, pairs: CandidatePairs) -> Features:
        """Return the features of some pairs, each `(n_pairs,) float32`.

        Overlaps are shares of 0 to 1; what a text has alone is told by its rarest token's idf.
        """
        left, right = self._sets[pairs.left], self._sets[pairs.right]
        shared = left.multiply(right).tocsr()
        weights = [_sums(matrix, self._idf) for matrix in (left, right, shared)]
        lengths = self._lengths[pairs.left], self._lengths[pairs.right]
        rarest = [self._rarest(side - shared) for side in (left, right)]
        return {
            "overlap": _jaccard(*(np.diff(matrix.indptr) for matrix in (left, right, shared))),
            "rare_overlap": _jaccard(*weights),
            "covered_low": _share(weights[2], np.maximum(*weights[:2])),
            "covered_high": _share(weights[2], np.minimum(*weights[:2])),
            "rarest_alone_low": np.minimum(*rarest),
            "rarest_alone_high": np.maximum(*rarest),
            "order": self._same_order(pairs),
            "same_start": (self._first[pairs.left] == self._first[pairs.right]).astype(np.float32),
            "tokens_low": np.minimum(*lengths).astype(np.float32),
            "tokens_high": np.maximum(*lengths).astype(np.float32),
        }

    def _rarest(self, alone: sp.csr_matrix) -> Floats:
        weighted = sp.csr_matrix(alone.multiply(self._idf[None]))
        return np.asarray(weighted.max(axis=1).todense(), np.float32).ravel()

    def _same_order(self, pairs: CandidatePairs) -> Floats:
        left, right = self._bigrams[pairs.left], self._bigrams[pairs.right]
        shared = left.multiply(right).tocsr()
        return _jaccard(*(np.diff(matrix.indptr) for matrix in (left, right, shared)))


def token_sets(ids: Rows, lengths: Rows) -> sp.csr_matrix:
    """Return a row of ones per text, one for each number in it."""
    rows = np.repeat(np.arange(len(lengths)), lengths)
    size = int(ids.max(initial=0)) + 1
    keys = np.sort(rows * size + ids)
    keys = keys[np.flatnonzero(np.diff(keys, prepend=-1))]
    starts = np.searchsorted(keys, np.arange(len(lengths) + 1) * size)
    ones = np.ones(len(keys), np.float32)
    return sp.csr_matrix((ones, keys % size, starts), shape=(len(lengths), size))


def _bigrams(tokens: TokenStore) -> tuple[Rows, Rows]:
    """Return a number for each token and the one behind it, hashed, and how many there are per text."""
    ids = tokens.ids.astype(np.int64)
    last = np.zeros(len(ids), bool)
    last[tokens.offsets[1:][tokens.lengths > 0] - 1] = True
    behind = np.append(ids[1:], 0)
    return ((ids * _PRIME + behind) % _HASH)[~last], np.maximum(tokens.lengths - 1, 0)


def _sums(matrix: sp.csr_matrix, weights: Floats) -> Floats:
    return np.asarray(matrix @ weights, np.float32).ravel()


def _jaccard(left: Floats | Rows, right: Floats | Rows, shared: Floats | Rows) -> Floats:
    return _share(shared, left + right - shared)


def _share(part: Floats | Rows, whole: Floats | Rows) -> Floats:
    """Return part / whole, 0 where there is nothing."""
    return np.asarray(part / np.where(whole > 0, whole, 1), np.float32)
