"""Batches of any lengths, and how they run."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dupmine.inference.batches import Batch, fill_batch, length_batches, run_in_parallel


@given(st.lists(st.integers(0, 60), max_size=300), st.integers(1, 5000))
def test_batches_are_a_partition_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = [batch.tolist() for batch in length_batches(np.array(lengths, np.int64), budget)]
    assert sorted(position for batch in batches for position in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len({lengths[position] for position in batch}) == 1
        assert len(batch) == 1 or len(batch) * lengths[batch[0]] <= budget
    firsts = [lengths[batch[0]] for batch in batches]
    assert firsts == sorted(firsts, reverse=True)


@given(st.integers(1, 60), st.integers(1, 300), st.integers(16 * 60, 5000))
def test_batches_are_full(length: int, n: int, budget: int) -> None:
    sizes = [len(batch) for batch in length_batches(np.full(n, length), budget)]
    assert sum(sizes) == n
    assert all(size == budget // length // 16 * 16 for size in sizes[:-1])


@given(st.integers(0, 60), st.integers(1, 300), st.integers(1, 5000))
def test_a_small_batch_is_filled_to_sixteens_of_rows_within_the_budget(
    length: int, n: int, budget: int
) -> None:
    for batch in length_batches(np.full(n, length), budget):
        rows = fill_batch(batch, length, budget)
        assert rows[: len(batch)].tolist() == batch.tolist()
        assert set(rows.tolist()) == set(batch.tolist())
        full = budget // max(length, 1)
        assert len(rows) == max(full, 1) if full < 16 else len(rows) % 16 == 0
        assert len(rows) * max(length, 1) >= min(768, full // 16 * 16 * length)


def test_a_batch_of_one_text_may_exceed_the_budget() -> None:
    batches = [batch.tolist() for batch in length_batches(np.array([4, 19, 4, 4, 4, 2]), 12)]
    assert batches == [[1], [0, 2, 3], [4], [5]]


def test_no_batch_has_more_rows_than_a_gpu_takes() -> None:
    sizes = [len(batch) for batch in length_batches(np.ones(100_000, np.int64), 1_000_000)]
    assert sum(sizes) == 100_000
    assert max(sizes) < 2**16


def test_no_lengths_no_batches() -> None:
    assert list(length_batches(np.empty(0, np.int64), 100)) == []


@pytest.mark.parametrize("threads", [1, 3])
def test_each_batch_is_run_in_one_thread(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        seen: list[tuple[int, int]] = []
        batches = [np.arange(size) for size in (5, 3, 1, 4)]
        done = run_in_parallel(batches, lambda batch: seen.append((len(batch), torch.get_num_threads())))
        assert list(done) == [5, 3, 1, 4]
        assert sorted(seen) == [(1, 1), (3, 1), (4, 1), (5, 1)]
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_failing_batch_ends_the_run(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    ran: list[int] = []

    def run(batch: Batch) -> None:
        if len(batch) == 2:
            raise ValueError("two")
        ran.append(len(batch))
        time.sleep(0.01)

    try:
        with pytest.raises(ValueError, match="two"):
            list(run_in_parallel([np.arange(2), *[np.arange(1)] * 200], run))
        assert len(ran) < 100
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
