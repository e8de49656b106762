"""Local moves against the agreement that they raise."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dupmine.clustering.refinement import move_rows
from dupmine.schema import Rows


def _agreement(labels: Rows, similarity: np.ndarray, least: float) -> float:
    inside = np.triu(labels[:, None] == labels, 1)
    return float((similarity - least)[inside].sum())


@given(st.integers(0, 2**32 - 1), st.integers(1, 10), st.floats(0, 1), st.integers(1, 4))
def test_no_single_move_is_left_that_gains(seed: int, n_rows: int, density: float, n_groups: int) -> None:
    rng = np.random.default_rng(seed)
    left, right = np.triu_indices(n_rows, 1)
    kept = rng.random(len(left)) < density
    left, right = left[kept], right[kept]
    values = rng.integers(0, 2**24, len(left)) / 2**24
    similarity = np.full((n_rows, n_rows), 0.25)
    similarity[left, right] = similarity[right, left] = values
    start = rng.integers(0, n_groups, n_rows)

    labels, unsettled = move_rows(start, left, right, values, unknown=0.25, least=0.5)

    assert unsettled == 0
    reached = _agreement(labels, similarity, 0.5)
    assert reached >= _agreement(start, similarity, 0.5) - 1e-9
    for row, goal in itertools.product(range(n_rows), range(labels.max() + 2)):
        moved = labels.copy()
        moved[row] = goal
        assert _agreement(moved, similarity, 0.5) <= reached + 1e-8


def test_a_row_goes_back_to_its_clique() -> None:
    ends = [(0, 1), (0, 2), (1, 2), (3, 4), (0, 3), (1, 3), (2, 3), (4, 5)]
    left, right = np.array(ends).T
    similarity = np.array([0.9, 0.9, 0.9, 0.99, 0.9, 0.9, 0.9, 0.1])
    labels, _ = move_rows(np.array([0, 0, 0, 1, 1, 1]), left, right, similarity, unknown=0.2, least=0.5)
    assert labels[:4].tolist() == [labels[0]] * 4
    assert len(set(labels[3:].tolist())) == 3
