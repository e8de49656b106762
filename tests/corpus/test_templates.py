"""Template families: what is one, and which pairs of their members are compared."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dupmine.corpus.templates import LEAST_OF_NUMBERS, LEAST_OF_WORDS, Families, find_families
from dupmine.schema import Rows

ITEMS = [f"item {i}" for i in range(LEAST_OF_NUMBERS)]
ORDERS = [f"Where is order no. {i}?" for i in range(40, 40 + LEAST_OF_NUMBERS)]
NAMES = ["".join(letters) for letters in itertools.product("abcdefgh", repeat=3)][:LEAST_OF_WORDS]
MAILS = [f"Dear {name}, thank you for your order of the third of May" for name in NAMES]


def pairs_of(families: Families, texts: list[str]) -> list[tuple[str, str]]:
    """Return the pairs that are left where stage 1 finds every pair of what it compares."""
    rows = families.compared
    left, right = (rows[side] for side in np.triu_indices(len(rows), 1))
    return [(texts[a], texts[b]) for a, b in zip(*families.extend(left, right), strict=True)]


@pytest.mark.parametrize(
    ("texts", "n"),
    [
        (ITEMS, 1),
        (ITEMS[1:], 0),
        ([*ITEMS, *ORDERS], 2),
        ([f"AB-{i}-XY7" for i in range(LEAST_OF_NUMBERS)], 1),
        ([f"订单{i}在哪里" for i in range(LEAST_OF_NUMBERS)], 1),
        ([f"{word} {i}" for i, word in enumerate(NAMES)], 0),
        (MAILS, 1),
        (MAILS[1:], 0),
        ([f"What is {name}?" for name in NAMES], 0),  # too few words around
        ([], 0),
    ],
)
def test_what_is_a_family(texts: list[str], n: int) -> None:
    families = find_families(texts)
    assert len(families) == n
    assert families.members == (len(texts) if n else 0)


def test_texts_of_no_family_are_all_compared() -> None:
    texts = [*ITEMS[1:], *MAILS[1:], "How?"]
    families = find_families(texts)
    rows = np.arange(len(texts))
    assert families.compared.tolist() == rows.tolist()
    left, right = (side.astype(np.int64) for side in np.triu_indices(60, 1))
    assert families.allow(left, right).all()
    extended = families.extend(left, right)
    assert (extended[0].tolist(), extended[1].tolist()) == (left.tolist(), right.tolist())


def test_members_are_compared_with_what_fills_their_gaps_alike() -> None:
    numbered = [
        *ITEMS,
        *ORDERS,
        "the order with the number 47",
        "item",
        "Item 007",
        "item 1,000",
        "item 1000",
    ]
    expected = {(f"item {i}", f"Where is order no. {i}?") for i in range(40, 50)}
    expected |= {
        ("item 47", "the order with the number 47"),
        ("Where is order no. 47?", "the order with the number 47"),
        ("item 7", "Item 007"),
        ("item 1,000", "item 1000"),
        ("the order with the number 47", "item"),  # of no family
    }
    assert set(pairs_of(find_families(numbered), numbered)) == expected
    mails = [*MAILS, "This is about the order of aab"]
    assert pairs_of(find_families(mails), mails) == [(MAILS[1], mails[-1])]


@given(st.lists(st.sampled_from([*ITEMS, *ORDERS[:30], "Item 08", "item", "order 45", "How?"]), unique=True))
def test_pairs_are_those_that_are_allowed_in_any_order(others: list[str]) -> None:
    texts = sorted({*ITEMS, *others}, key=lambda text: random.Random(text).random())
    families = find_families(texts)
    left, right = (side.astype(np.int64) for side in np.triu_indices(len(texts), 1))
    allowed = families.allow(left, right)
    found = set(pairs_of(families, texts))
    assert found == {(texts[a], texts[b]) for a, b in zip(left[allowed], right[allowed], strict=True)}
    other_way = texts[::-1]
    again = set(pairs_of(find_families(other_way), other_way))
    assert {frozenset(pair) for pair in again} == {frozenset(pair) for pair in found}


def test_few_members_of_a_family_are_compared() -> None:
    texts = [f"item {i}" for i in range(5000)]
    assert len(find_families(texts).compared) == 8
    two = [*texts, *(f"order {i}" for i in range(5000))]
    rows: Rows = find_families(two).compared
    numbers = [
        {two[row].split()[1] for row in rows if two[row].startswith(kind)} for kind in ("item", "order")
    ]
    assert numbers[0] == numbers[1]  # like families are compared by like members
