"""Pairs of rows are found by one lookup."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dupmine.schema import CandidatePairs, ScoredPairs, find_keys, pair_keys

ROWS = st.integers(-1, 12)


def pairs_of(ends: list[tuple[int, int]]) -> CandidatePairs:
    left, right = np.array(ends, np.int64).reshape(-1, 2).T
    return CandidatePairs(left, right, np.zeros(len(left), np.float32))


@given(
    held=st.sets(st.sampled_from(list(itertools.combinations(range(9), 2)))),
    asked=st.lists(st.tuples(ROWS, ROWS)),
)
def test_pairs_are_found_where_they_stand(held: set[tuple[int, int]], asked: list[tuple[int, int]]) -> None:
    ends = sorted(held)
    left, right = np.array(asked, np.int64).reshape(-1, 2).T
    expected = [ends.index(pair) if (pair := (min(a, b), max(a, b))) in held else -1 for a, b in asked]
    assert pairs_of(ends).positions(left, right).tolist() == expected


def test_no_pairs_hold_none() -> None:
    assert ScoredPairs.none().positions(np.array([0, -1]), np.array([1, 2])).tolist() == [-1, -1]
    assert pairs_of([(0, 1)]).positions(np.empty(0, np.int64), np.empty(0, np.int64)).tolist() == []


def test_keys_stand_in_the_order_of_the_pairs() -> None:
    left, right = np.array(list(itertools.combinations(range(5), 2))).T
    keys = pair_keys(right, left, 5)
    assert (np.diff(keys) > 0).all()
    assert find_keys(keys, keys[::-1]).tolist() == list(range(9, -1, -1))
