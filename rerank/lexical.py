"""Features of a pair from the tokens of its texts: those they share, and those that only one has."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from ..schema import CandidatePairs, Floats, Rows, TokenStore
from .trees import Features

_HASH = 1 << 20  # numbers for bigrams
_PRIME = 40_009


def compute_idf(tokens: TokenStore, n_tokens: int) -> Floats:
    """Return the inverse document frequency of each token of a vocabulary, `(n_tokens,) float32`.

    It is rounded to hundredths, as it is stored.
    """
    sets = token_sets(tokens.ids.astype(np.int64), tokens.lengths)
    frequency = np.bincount(sets.indices, minlength=n_tokens)
    idf = np.asarray(np.log((len(tokens.lengths) + 1) / (frequency + 1)), np.float32)
    return np.round(idf, 2)


class LexicalFeatures:
    """Features from the token sets of all texts, weighted by idf."""

    def __init__(self, tokens: TokenStore, idf: Floats) -> None:
        """Take the tokens of all rows and the idf of the vocabulary, from a large corpus."""
        self._lengths = tokens.lengths
        self._first = tokens.ids[np.minimum(tokens.offsets[:-1], max(len(tokens.ids) - 1, 0))]
        self._sets = token_sets(tokens.ids.astype(np.int64), self._lengths)
        self._bigrams = token_sets(*_bigrams(tokens))
        self._idf = idf[: self._sets.shape[1]]

    def compute(self, pairs: CandidatePairs) -> Features:
        """Return the features of some pairs.

        Overlaps are shares of 0 to 1; `rarest_alone` is the highest idf of a token that only one text has.
        """
        left, right = self._sets[pairs.left], self._sets[pairs.right]
        shared = left.multiply(right).tocsr()
        weights = [_sums(matrix, self._idf) for matrix in (left, right, shared)]
        lengths = self._lengths[pairs.left], self._lengths[pairs.right]
        rarest = [self._highest_idf(side - shared) for side in (left, right)]
        return {
            "overlap": _jaccard(*(np.diff(matrix.indptr) for matrix in (left, right, shared))),
            "rare_overlap": _jaccard(*weights),
            "covered_low": _share(weights[2], np.maximum(*weights[:2])),
            "covered_high": _share(weights[2], np.minimum(*weights[:2])),
            "rarest_alone_low": np.minimum(*rarest),
            "rarest_alone_high": np.maximum(*rarest),
            "order": self._shared_bigrams(pairs),
            "same_start": (self._first[pairs.left] == self._first[pairs.right]).astype(np.float32),
            "tokens_low": np.minimum(*lengths).astype(np.float32),
            "tokens_high": np.maximum(*lengths).astype(np.float32),
        }

    def _highest_idf(self, sets: sp.csr_matrix) -> Floats:
        weighted = sp.csr_matrix(sets.multiply(self._idf[None]))
        return np.asarray(weighted.max(axis=1).todense(), np.float32).ravel()

    def _shared_bigrams(self, pairs: CandidatePairs) -> Floats:
        left, right = self._bigrams[pairs.left], self._bigrams[pairs.right]
        shared = left.multiply(right).tocsr()
        return _jaccard(*(np.diff(matrix.indptr) for matrix in (left, right, shared)))


def token_sets(ids: Rows, lengths: Rows) -> sp.csr_matrix:
    """Return a row of ones per text, one for each distinct id in it."""
    rows = np.repeat(np.arange(len(lengths)), lengths)
    size = int(ids.max(initial=0)) + 1
    keys = np.sort(rows * size + ids)
    keys = keys[np.flatnonzero(np.diff(keys, prepend=-1))]
    starts = np.searchsorted(keys, np.arange(len(lengths) + 1) * size)
    ones = np.ones(len(keys), np.float32)
    return sp.csr_matrix((ones, keys % size, starts), shape=(len(lengths), size))


def _bigrams(tokens: TokenStore) -> tuple[Rows, Rows]:
    """Return a hash of each token and its successor, and how many there are per text."""
    ids = tokens.ids.astype(np.int64)
    is_last = np.zeros(len(ids), bool)
    is_last[tokens.offsets[1:][tokens.lengths > 0] - 1] = True
    successor = np.append(ids[1:], 0)
    return ((ids * _PRIME + successor) % _HASH)[~is_last], np.maximum(tokens.lengths - 1, 0)


def _sums(matrix: sp.csr_matrix, weights: Floats) -> Floats:
    return np.asarray(matrix @ weights, np.float32).ravel()


def _jaccard(left: Floats | Rows, right: Floats | Rows, shared: Floats | Rows) -> Floats:
    return _share(shared, left + right - shared)


def _share(part: Floats | Rows, whole: Floats | Rows) -> Floats:
    """Return part / whole, 0 where `whole` is 0."""
    return np.asarray(part / np.where(whole > 0, whole, 1), np.float32)
