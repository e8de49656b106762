"""The search in lists: each pair at most once, and the recall it states."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch

from dupmine.progress import SILENT
from dupmine.retrieval import lists
from dupmine.retrieval.candidates import find_candidates
from dupmine.retrieval.encoder import Embeddings
from dupmine.retrieval.lists import plan_lists
from dupmine.settings import RetrievalSettings

from ..helpers.vectors import Pairs, as_dict, brute_force, grouped_vectors, random_vectors

CPU = torch.device("cpu")


def listed(**values: float) -> RetrievalSettings:
    return RetrievalSettings.model_validate({"exact_limit": 0, **values})


def search(embeddings: Embeddings, options: RetrievalSettings) -> tuple[Pairs, dict[str, Any]]:
    pairs, facts = find_candidates(embeddings, options, CPU, SILENT)
    return as_dict(pairs), facts.description


@pytest.mark.parametrize("probes", [1, 3, 30])
def test_the_recall_stated_is_the_true_recall(probes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "_PAIRS", 1 << 30)
    embeddings = random_vectors(900)
    found, description = search(embeddings, listed(lists=30, probes=probes, floor=0.5))
    expected = brute_force(embeddings, 0.5)
    assert found.items() <= expected.items()
    assert description == {
        "kind": "lists",
        "lists": 30,
        "probes": probes,
        "recall": pytest.approx(len(found) / len(expected), abs=6e-5),
    }
    assert (description["recall"] < 0.9) == (probes < 30)


def test_a_sample_of_few_texts_and_pairs_states_nearly_the_recall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "_SAMPLE", 300)
    monkeypatch.setattr(lists, "_PAIRS", 2000)
    embeddings = random_vectors(900)
    found, description = search(embeddings, listed(lists=30, probes=3, floor=0.5))
    assert description["recall"] == pytest.approx(len(found) / len(brute_force(embeddings, 0.5)), abs=0.04)


def test_the_probes_are_the_fewest_that_reach_the_target() -> None:
    embeddings = random_vectors(700)
    chosen = search(embeddings, listed(lists=60, floor=0.4, target_recall=0.9))[1]
    assert 0.9 <= chosen["recall"] < 0.95
    before = search(embeddings, listed(lists=60, floor=0.4, probes=chosen["probes"] - 1))[1]
    assert before["recall"] < 0.9
    found, everything = search(embeddings, listed(lists=60, floor=0.4, target_recall=1.0))
    assert everything["recall"] == 1.0
    assert found == brute_force(embeddings, 0.4)


def test_a_low_recall_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        recall = search(random_vectors(900), listed(lists=30, probes=1, floor=0.5))[1]["recall"]
        assert recall < 0.9
        assert caplog.messages == [
            f"recall is {recall:.3f} against exact search; raise retrieval.probes (now 1)"
        ]
        caplog.clear()
        search(random_vectors(900), listed(lists=30, probes=30, floor=0.5))
        assert caplog.messages == []


def test_nothing_above_the_floor_leaves_nothing_to_miss() -> None:
    found, description = search(np.eye(16, dtype=np.float16), listed(lists=4, floor=0.9))
    assert (found, description) == ({}, {"kind": "lists", "lists": 4, "probes": 1, "recall": 1.0})


def test_the_number_of_lists() -> None:
    assert search(random_vectors(900), listed())[1]["lists"] == 2 * 30
    few = search(random_vectors(5), listed(lists=100, probes=100))[1]
    assert (few["lists"], few["probes"]) == (5, 5)


def test_only_who_asks_visits() -> None:
    embeddings = grouped_vectors([200, 100], noise=0.3)
    asking = np.array([7, 100, 250])
    plan, _ = plan_lists(embeddings, listed(lists=8, probes=3), asking, CPU)
    visits = plan.probes[np.argsort(plan.order)]
    assert np.flatnonzero((visits >= 0).all(axis=1)).tolist() == asking.tolist()
    assert np.flatnonzero((visits >= 0).any(axis=1)).tolist() == asking.tolist()
    met = [(plan.order[b.positions], len(b.others)) for shard in plan.shards() for b in shard]
    assert sorted(np.concatenate([rows for rows, _ in met]).tolist()) == sorted(3 * asking.tolist())


def test_the_same_pairs_every_time() -> None:
    embeddings = random_vectors(600)
    one, two = (search(embeddings, listed(probes=2, floor=0.4)) for _ in "ab")
    assert one == two
