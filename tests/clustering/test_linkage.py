"""`link_groups` against an average linkage that considers every pair of groups at every step."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dupmine.clustering.linkage import link_groups
from dupmine.schema import Rows


def _brute_force(similarity: np.ndarray, least: float) -> list[list[int]]:
    groups = [[row] for row in range(len(similarity))]
    while True:
        means = {
            (a, b): similarity[np.ix_(groups[a], groups[b])].mean()
            for a in range(len(groups))
            for b in range(a + 1, len(groups))
        }
        best = max(means, key=means.__getitem__, default=None)
        if best is None or means[best] < least:
            return sorted(sorted(group) for group in groups)
        groups[best[0]] += groups.pop(best[1])


def _members(roots: Rows) -> list[list[int]]:
    return sorted(np.flatnonzero(roots == root).tolist() for root in np.unique(roots))


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.floats(0, 1), st.sampled_from([0.0, 0.25]))
def test_equals_brute_force(seed: int, n_rows: int, density: float, unknown: float) -> None:
    rng = np.random.default_rng(seed)
    left, right = np.triu_indices(n_rows, 1)
    kept = rng.random(len(left)) < density
    left, right = left[kept], right[kept]
    values = rng.integers(0, 2**24, len(left)) / 2**24
    similarity = np.full((n_rows, n_rows), unknown)
    similarity[left, right] = similarity[right, left] = values
    roots = link_groups(n_rows, left, right, values, unknown=unknown, least=0.5)
    assert _members(roots) == _brute_force(similarity, 0.5)


def test_a_group_is_identified_by_one_of_its_rows() -> None:
    left, right = np.array([1, 2]), np.array([2, 3])
    roots = link_groups(5, left, right, np.array([0.9, 0.95]), unknown=0.3, least=0.5)
    assert _members(roots) == [[0], [1, 2, 3], [4]]
    assert roots[roots].tolist() == roots.tolist()


def test_nothing_to_join() -> None:
    none = np.array([], dtype=np.int64)
    assert link_groups(3, none, none, np.array([]), unknown=0.0, least=0.5).tolist() == [0, 1, 2]
    assert link_groups(0, none, none, np.array([]), unknown=0.0, least=0.5).tolist() == []
