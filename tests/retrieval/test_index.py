"""The index: exact or IVF, and the recall it states."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from dupmine.retrieval.encoder import Embeddings
from dupmine.retrieval.index import FaissIndex, build_index
from dupmine.schema import Floats
from dupmine.settings import RetrievalSettings

from ..helpers.vectors import grouped_vectors, random_vectors


def ivf(**values: float) -> RetrievalSettings:
    return RetrievalSettings.model_validate({"exact_limit": 0, **values})


def true_recall(index: FaissIndex, embeddings: Embeddings, k: int, floor: float) -> float:
    """Return the share of each row's `k` nearest others above the floor that the index finds."""
    vectors: Floats = embeddings.astype(np.float32)
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    nearest = np.argsort(-cosines, axis=1)[:, :k]
    found = index.search(vectors, k + 1)[1]
    sought = [(row, other) for row in range(len(nearest)) for other in nearest[row]]
    sought = [(row, other) for row, other in sought if cosines[row, other] >= floor]
    return float(np.mean([other in found[row] for row, other in sought]))


def test_exact_up_to_the_limit() -> None:
    embeddings = random_vectors(300)
    options = RetrievalSettings(exact_limit=300)
    index = build_index(embeddings, options, k=50)
    assert index.description == {"kind": "exact"}
    vectors = embeddings.astype(np.float32)
    cosines, rows = index.search(vectors, 7)
    expected = np.argsort(-(vectors @ vectors.T), axis=1)[:, :7]
    assert rows.tolist() == expected.tolist()
    np.testing.assert_allclose(cosines, np.take_along_axis(vectors @ vectors.T, rows, axis=1), atol=1e-6)
    above = build_index(random_vectors(301), options, k=50)
    assert above.description["kind"] == "ivf"


@pytest.mark.parametrize("probes", [1, 3, 30])
@pytest.mark.parametrize("floor", [0.0, 0.5])
def test_the_recall_stated_is_the_true_recall(probes: int, floor: float) -> None:
    embeddings = random_vectors(900)
    index = build_index(embeddings, ivf(lists=30, probes=probes, floor=floor), k=10)
    assert index.description == {
        "kind": "ivf",
        "lists": 30,
        "probes": probes,
        "recall": pytest.approx(true_recall(index, embeddings, 10, floor), abs=6e-5),
    }
    assert (index.description["recall"] < 0.9) == (probes < 30)


def test_a_low_recall_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        index = build_index(random_vectors(900), ivf(lists=30, probes=1, floor=0.0), k=50)
        recall = index.description["recall"]
        assert recall < 0.5
        assert caplog.messages == [
            f"IVF recall is {recall:.3f} against exact search; raise retrieval.probes (now 1)"
        ]
        caplog.clear()
        build_index(random_vectors(900), ivf(lists=30, probes=30, floor=0.0), k=50)
        assert caplog.messages == []


def test_a_text_that_finds_itself_is_no_recall() -> None:
    # Each row has one neighbour, which a single list often misses; itself it finds always.
    embeddings = grouped_vectors([2] * 400, noise=0.25)
    index = build_index(embeddings, ivf(lists=50, probes=1, floor=0.7), k=1)
    assert index.description["recall"] == pytest.approx(true_recall(index, embeddings, 1, 0.7), abs=6e-5)
    assert index.description["recall"] < 0.9


def test_probes_are_doubled_up_to_the_target() -> None:
    embeddings = random_vectors(900)
    chosen = build_index(embeddings, ivf(lists=60, floor=0.3, target_recall=0.9), k=50).description
    assert chosen["recall"] >= 0.9
    assert chosen["probes"] in {16, 32, 60}
    before = build_index(embeddings, ivf(lists=60, floor=0.3, probes=chosen["probes"] // 2), k=50).description
    assert before["recall"] < 0.9
    everything = build_index(embeddings, ivf(lists=60, floor=0.3, target_recall=1.0), k=50).description
    assert (everything["probes"], everything["recall"]) == (60, 1.0)


def test_nothing_above_the_floor_leaves_nothing_to_miss(caplog: pytest.LogCaptureFixture) -> None:
    index = build_index(np.eye(16, dtype=np.float16), ivf(lists=4, floor=0.9), k=50)
    assert index.description == {"kind": "ivf", "lists": 4, "probes": 4, "recall": 1.0}
    assert caplog.messages == []


def test_the_number_of_lists() -> None:
    default = build_index(random_vectors(900), ivf(), k=50).description
    assert default["lists"] == 900 // 39
    assert build_index(random_vectors(5), ivf(lists=100, probes=100), k=50).description == {
        "kind": "ivf",
        "lists": 5,
        "probes": 5,
        "recall": 1.0,
    }


def test_the_same_index_every_time() -> None:
    embeddings = random_vectors(600)
    one, two = (
        build_index(embeddings, ivf(probes=2), k=50).search(embeddings.astype(np.float32), 9) for _ in "ab"
    )
    assert one[0].tolist() == two[0].tolist()
    assert one[1].tolist() == two[1].tolist()


def test_rows_beyond_those_found_are_minus_one() -> None:
    embeddings = random_vectors(100)
    index = build_index(embeddings, ivf(lists=20, probes=1), k=50)
    _, rows = index.search(embeddings.astype(np.float32), 90)
    assert (rows[:, -1] == -1).all()
    assert (rows[:, 0] == np.arange(100)).all()
