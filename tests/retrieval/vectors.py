"""Unit vectors with and without neighbours, and what brute force finds among them."""

from __future__ import annotations

import numpy as np

from dupmine.retrieval.encoder import Embeddings

Pairs = set[tuple[int, int]]


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


def brute_force(embeddings: Embeddings, floor: float) -> Pairs:
    """Return the pairs whose cosine in double precision is at least `floor`."""
    vectors = embeddings.astype(np.float64)
    left, right = np.nonzero(np.triu(vectors @ vectors.T >= floor, 1))
    return set(zip(left.tolist(), right.tolist(), strict=True))


def assert_equals_brute_force(found: Pairs, embeddings: Embeddings, floor: float) -> None:
    """Compare with brute force, but for what single precision cannot tell apart."""
    assert brute_force(embeddings, floor + 1e-6) <= found <= brute_force(embeddings, floor - 1e-6)
