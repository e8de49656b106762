"""Batches of similar length or of different groups: each row once, in the order of seed and epoch."""

from __future__ import annotations

from functools import partial

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dupmine.schema import LabelledPairs
from dupmine.training.sampler import EpochSampler, distinct_batches, input_lengths, length_grouped_batches

from ..helpers.tiny_models import bert_tokenizer


def test_rows_are_grouped_by_length_in_the_order_of_seed_and_epoch() -> None:
    lengths = np.random.default_rng(0).integers(3, 100, 1000)
    make_batches = partial(length_grouped_batches, lengths)
    sampler = EpochSampler(None, 4, False, seed=7, make_batches=make_batches)
    sampler.set_epoch(2)
    rng = np.random.default_rng([7, 2])
    expected: list[list[int]] = []
    order = rng.permutation(1000).tolist()
    for start in range(0, 1000, 256):
        pool = sorted(order[start : start + 256], key=lambda row: lengths[row])
        expected += [pool[i : i + 4] for i in range(0, len(pool), 4)]
    assert list(sampler) == [expected[i] for i in rng.permutation(250)]
    assert len(sampler) == 250
    spread = np.mean([np.ptp(lengths[batch]) for batch in sampler])
    assert spread < 3
    sampler.set_epoch(3)
    assert list(sampler) != [expected[i] for i in rng.permutation(250)]


@given(
    groups=st.lists(st.integers(0, 12), min_size=1, max_size=80),
    size=st.integers(2, 9),
    epoch=st.integers(0, 3),
)
def test_no_batch_has_two_rows_of_a_group(groups: list[int], size: int, epoch: int) -> None:
    group_of = np.array(groups)
    make_batches = partial(distinct_batches, group_of)
    sampler = EpochSampler(None, size, False, seed=1, make_batches=make_batches)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    assert sorted(row for batch in batches for row in batch) == list(range(len(groups)))
    for batch in batches:
        assert len(batch) <= size
        assert len(set(group_of[batch].tolist())) == len(batch)
    assert batches == list(sampler)


def test_lengths_count_special_tokens_up_to_the_limit() -> None:
    tokenizer = bert_tokenizer().backend_tokenizer
    left, right = ["cat", "cat dog"], ["how", "how do you read a book"]
    pairs = LabelledPairs(left, right, np.zeros(2, np.float32))
    assert input_lengths(pairs, tokenizer, 10).tolist() == [5, 10]
