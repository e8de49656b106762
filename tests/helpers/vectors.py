"""Unit vectors with and without neighbours, and what brute force finds among them."""

from __future__ import annotations

import numpy as np

from dupmine.retrieval.encoder import Embeddings
from dupmine.schema import CandidatePairs

Pairs = dict[tuple[int, int], float]


def unit(vectors: np.ndarray) -> Embeddings:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float16)


def random_vectors(n: int, dim: int = 16, seed: int = 0) -> Embeddings:
    return unit(np.random.default_rng(seed).standard_normal((n, dim)))


def grouped_vectors(sizes: list[int], dim: int = 16, noise: float = 0.05, seed: int = 0) -> Embeddings:
    """Return groups of near-identical vectors, in a random order."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((len(sizes), dim))
    rows = np.repeat(centres, sizes, axis=0) + noise * rng.standard_normal((sum(sizes), dim))
    return unit(rows[rng.permutation(len(rows))])


def brute_force(
    embeddings: Embeddings, floor: float, most: int | None = None, asking: list[int] | None = None
) -> Pairs:
    """Return the pairs with a cosine of at least `floor` that are among the `most` nearest of an asking side.

    In double precision the product is exact; rounded once, it is what `pair_cosines` promises.
    """
    vectors = embeddings.astype(np.float64)
    cosines = np.clip((vectors @ vectors.T).astype(np.float32), -1, 1)
    found: Pairs = {}
    for row in range(len(cosines)) if asking is None else asking:
        near = [other for other in np.argsort(-cosines[row], kind="stable").tolist() if other != row]
        for other in [other for other in near if cosines[row, other] >= floor][:most]:
            found[min(row, other), max(row, other)] = float(cosines[row, other])
    return dict(sorted(found.items()))


def as_dict(pairs: CandidatePairs) -> Pairs:
    """Return the pairs in their order, each with its cosine."""
    keys = zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)
    found = dict(zip(keys, pairs.cosine.tolist(), strict=True))
    assert len(found) == len(pairs), "a pair is there twice"
    return found
