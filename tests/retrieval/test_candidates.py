"""Candidate pairs against brute force."""

from __future__ import annotations

import logging
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dupmine.progress import SILENT
from dupmine.retrieval.candidates import CandidateCounts, find_candidates, pair_cosines
from dupmine.retrieval.encoder import Embeddings
from dupmine.retrieval.index import build_index
from dupmine.schema import CandidatePairs
from dupmine.settings import RetrievalSettings

from .vectors import Pairs, assert_equals_brute_force, brute_force, grouped_vectors, random_vectors, unit


def find(embeddings: Embeddings, options: RetrievalSettings) -> tuple[CandidatePairs, CandidateCounts]:
    return find_candidates(embeddings, build_index(embeddings, options), options, SILENT)


def as_set(pairs: CandidatePairs) -> Pairs:
    return set(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True))


def exact(**values: float) -> RetrievalSettings:
    return RetrievalSettings.model_validate(values)


def ivf(lists: int, probes: int, **values: float) -> RetrievalSettings:
    return exact(exact_limit=0, lists=lists, probes=probes, **values)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("floor", [-0.2, 0.0, 0.3, 0.6, 0.8])
@pytest.mark.parametrize("all_lists", [False, True])
def test_equals_brute_force(seed: int, floor: float, all_lists: bool) -> None:
    embeddings = random_vectors(400, seed=seed)
    options = exact(floor=floor, top_k=5)
    if all_lists:
        options = ivf(10, 10, floor=floor, top_k=5)
    pairs, counts = find(embeddings, options)
    assert_equals_brute_force(as_set(pairs), embeddings, floor)
    assert len(pairs) == len(as_set(pairs))
    assert counts.capped == 0


@settings(max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(1, 30), min_size=1, max_size=6),
    st.integers(1, 40),
    st.sampled_from([0.5, 0.9]),
)
def test_groups_of_any_size_equal_brute_force(seed: int, sizes: list[int], top_k: int, floor: float) -> None:
    embeddings = grouped_vectors(sizes, seed=seed)
    pairs, _ = find(embeddings, exact(floor=floor, top_k=top_k))
    assert_equals_brute_force(as_set(pairs), embeddings, floor)


def test_pairs_are_ordered_once_each_and_carry_their_cosine() -> None:
    embeddings = grouped_vectors([20, 3, 1, 40], noise=0.3)
    pairs, _ = find(embeddings, exact(floor=0.5, top_k=4))
    assert (pairs.left < pairs.right).all()
    keys = pairs.left * len(embeddings) + pairs.right
    assert (np.diff(keys) > 0).all()
    assert [str(column.dtype) for column in (pairs.left, pairs.right, pairs.cosine)] == [
        "int64",
        "int64",
        "float32",
    ]
    vectors = embeddings.astype(np.float64)
    expected = (vectors[pairs.left] * vectors[pairs.right]).sum(axis=1)
    np.testing.assert_allclose(pairs.cosine, np.clip(expected, -1, 1), atol=1e-6)
    assert pairs.cosine.max() <= 1


def test_self_is_dropped_by_row_among_identical_vectors() -> None:
    same = np.repeat(random_vectors(1), 30, axis=0)
    embeddings = np.concatenate([same, random_vectors(50, seed=1)])
    for top_k in (1, 5, 29, 30, 500):
        pairs, _ = find(embeddings, exact(floor=0.99, top_k=top_k))
        assert as_set(pairs) == set(combinations(range(30), 2))


@pytest.mark.parametrize("lists", [None, 8])
def test_a_large_group_loses_no_edge(lists: int | None) -> None:
    embeddings = np.concatenate([grouped_vectors([300], noise=0.01), random_vectors(700, seed=1)])
    options = exact(floor=0.9, top_k=5) if lists is None else ivf(lists, lists, floor=0.9, top_k=5)
    pairs, counts = find(embeddings, options)
    assert set(combinations(range(300), 2)) <= as_set(pairs)
    assert as_set(pairs) == brute_force(embeddings, 0.9)
    assert counts == CandidateCounts(grown=300, capped=0)


def test_the_cap_is_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    embeddings = np.concatenate([grouped_vectors([60], noise=0.01), random_vectors(40, seed=1)])
    with caplog.at_level(logging.WARNING):
        pairs, counts = find(embeddings, exact(floor=0.95, top_k=5, max_k=20))
    assert counts == CandidateCounts(grown=60, capped=60)
    assert caplog.messages == ["60 texts have more than 20 neighbours above the floor; raise retrieval.max_k"]
    degrees = np.bincount(np.concatenate([pairs.left, pairs.right]), minlength=100)
    assert degrees[:60].min() >= 20
    assert degrees[60:].max() == 0
    caplog.clear()
    pairs, counts = find(embeddings, exact(floor=0.95, top_k=5, max_k=60))
    assert (counts.capped, caplog.messages) == (0, [])
    assert as_set(pairs) == set(combinations(range(60), 2))


def test_max_k_below_top_k_does_not_lower_it() -> None:
    embeddings = grouped_vectors([12], noise=0.01)
    pairs, counts = find(embeddings, exact(floor=0.9, top_k=11, max_k=2))
    assert as_set(pairs) == set(combinations(range(12), 2))
    assert counts == CandidateCounts(grown=0, capped=0)


@pytest.mark.parametrize(
    "options", [exact(floor=0.5), exact(floor=0.5, exact_limit=0), ivf(50, 3, floor=0.5)]
)
def test_few_rows(options: RetrievalSettings) -> None:
    one = random_vectors(1)
    for embeddings, expected in (
        (one[:0], []),
        (one, []),
        (np.concatenate([one, one]), [(0, 1)]),
        (np.concatenate([one, -one]), []),
        (np.concatenate([one, -one, one]), [(0, 2)]),
    ):
        pairs, counts = find(embeddings, options)
        assert sorted(as_set(pairs)) == expected
        assert counts == CandidateCounts(grown=0, capped=0)


@settings(max_examples=30)
@given(st.permutations(range(60)))
def test_the_order_of_the_rows_only_relabels_the_pairs(order: list[int]) -> None:
    embeddings = grouped_vectors([20, 10, 5, 5, 20], noise=0.2)
    options = exact(floor=0.6, top_k=3)
    usual, _ = find(embeddings, options)
    pairs, _ = find(embeddings[order], options)
    back = np.array(order)
    left, right = back[pairs.left], back[pairs.right]
    a, b = np.minimum(left, right), np.maximum(left, right)
    by_pair = np.lexsort((b, a))
    assert a[by_pair].tolist() == usual.left.tolist()
    assert b[by_pair].tolist() == usual.right.tolist()
    assert pairs.cosine[by_pair].tolist() == usual.cosine.tolist()


def test_a_pair_at_the_floor_is_a_candidate() -> None:
    embeddings = unit(np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]))
    at = float(pair_cosines(embeddings, np.array([0]), np.array([1]))[0])
    above = float(np.nextafter(np.float32(at), np.float32(1)))
    assert as_set(find(embeddings, exact(floor=at))[0]) == {(0, 1), (1, 2)}
    assert as_set(find(embeddings, exact(floor=above))[0]) == set()


def test_pair_cosines_do_not_depend_on_the_batch() -> None:
    embeddings = random_vectors(300, dim=384)
    left, right = (side.ravel() for side in np.mgrid[:300, :300])
    whole = pair_cosines(embeddings, left, right)
    assert len(whole) > 65_536
    some = np.random.default_rng(0).choice(len(left), 777)
    assert pair_cosines(embeddings, left[some], right[some]).tolist() == whole[some].tolist()
    assert pair_cosines(embeddings, right[some], left[some]).tolist() == whole[some].tolist()
    assert pair_cosines(embeddings, left[:0], right[:0]).tolist() == []
