"""The document that represents a cluster, and the weakest link of the cluster."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dupmine.clustering.paths import weakest_links
from dupmine.clustering.representatives import choose_representatives
from dupmine.errors import SettingsError
from dupmine.settings import ClusteringSettings

from ..helpers.scored import scored


def _documents(ids: list[str], texts: list[str] | None = None, **columns: object) -> pa.Table:
    return pa.table({"doc_id": ids, "text": texts or ["text"] * len(ids), **columns})


def _keep(keep: str, values: pa.Array | list[object]) -> list[int]:
    """Choose among documents 0 to n-2, one cluster, and n-1, which is alone."""
    n = len(values)
    documents = _documents([str(i) for i in range(n)], score=values)
    labels = np.array([0] * (n - 1) + [1])
    settings = ClusteringSettings(keep=keep)
    chosen = choose_representatives(labels, np.arange(n), documents, scored([]), settings=settings)
    return [int(place) for place in chosen]


def test_the_medoid_has_the_highest_mean_probability() -> None:
    pairs = scored([(0, 1, 0.7), (0, 2, 0.6), (1, 2, 0.9), (3, 4, 0.9), (0, 3, 0.1)])
    labels = np.array([0, 0, 0, 1, 1])
    documents = _documents(["e", "d", "c", "b", "a"])
    chosen = choose_representatives(labels, np.arange(5), documents, pairs, settings=ClusteringSettings())
    assert chosen.tolist() == [1, 1, 1, 4, 4]


def test_an_unknown_pair_counts_against_the_medoid() -> None:
    pairs = scored([(0, 1, 0.99), (0, 2, 0.8), (1, 2, 0.8), (2, 3, 0.8)])
    chosen = choose_representatives(
        np.zeros(4, dtype=np.int64),
        np.arange(4),
        _documents(["a", "b", "c", "d"]),
        pairs,
        settings=ClusteringSettings(unknown=0.1),
    )
    assert chosen.tolist() == [2, 2, 2, 2]


def test_copies_count_for_their_text_and_the_shortest_id_represents_them() -> None:
    # Row 1 has three documents, so it is the most similar to the others although its pair is not better.
    row_of = np.array([0, 1, -1, 1, 1])
    documents = _documents(["1", "100", "2", "31", "30"])
    chosen = choose_representatives(
        np.array([0, 0]), row_of, documents, scored([(0, 1, 0.8)]), settings=ClusteringSettings()
    )
    assert chosen.tolist() == [4, 4, 2, 4, 4]


def test_first_and_longest() -> None:
    labels, row_of = np.array([0, 0, 1]), np.array([1, 0, 2, -1, -1])
    documents = _documents(["z", "b", "c", "d", "e"], ["äöü", "abcd", "c", "", ""])
    pairs = scored([(0, 1, 0.9)])
    first = choose_representatives(
        labels, row_of, documents, pairs, settings=ClusteringSettings(keep="first")
    )
    longest = choose_representatives(
        labels, row_of, documents, pairs, settings=ClusteringSettings(keep="longest")
    )
    assert first.tolist() == [0, 0, 2, 3, 4]
    assert longest.tolist() == [1, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("keep", "values", "best"),
    [
        ("score:desc", [9, 10, 2, 99], 1),
        ("score:asc", [9, 10, 2, 0], 2),
        ("score:desc", ["9", " 10", "", "2"], 1),
        ("score:desc", ["9", "1e1", None, "2"], 1),
        ("score:asc", ["9", "10", "2", "1"], 2),
        ("score:asc", ["9", "10", "n/a", "1"], 1),
        ("score:asc", ["2024-03-01", "2023-12-31", "", "x"], 1),
        ("score:desc", ["", None, "-5", "1"], 2),
        ("score:asc", [float("nan"), None, 7.5, 1.0], 2),
        ("score:desc", [float("nan"), None, 7.5, 1.0], 2),
        ("score:desc", [False, True, None, True], 1),
        ("score:desc", pa.array(["a", "c", "b", "z"]).dictionary_encode(), 1),
        ("score:asc", pa.array([3, 1, 2, 0], pa.timestamp("s")), 1),
        ("score:desc", ["9007199254740992", "9007199254740993", "1", "1"], 1),
        ("score:desc", [None, None, None, None], 0),
        ("score:desc", [5, 5, 5, 5], 0),
    ],
)
def test_the_best_value_of_a_column(keep: str, values: list[object], best: int) -> None:
    assert _keep(keep, values) == [best, best, best, 3]


def test_a_column_that_does_not_exist_is_named() -> None:
    with pytest.raises(
        SettingsError,
        match=r"^setting clustering\.keep: the documents have no column 'scor': "
        r"did you mean 'score'\?$",
    ):
        _keep("scor:desc", [1, 2])
    with pytest.raises(SettingsError, match=r"no column 'xyz': known are doc_id, text, score$"):
        _keep("xyz:desc", [1, 2])


def test_a_column_without_an_order_is_named() -> None:
    with pytest.raises(SettingsError, match=r"column 'score' holds list<.*>, which has no order"):
        _keep("score:desc", [[1], [2]])


def test_no_documents() -> None:
    none = np.array([], dtype=np.int64)
    documents = pa.table({"doc_id": pa.array([], pa.string()), "text": pa.array([], pa.string())})
    for keep in ("medoid", "first", "longest", "text:asc"):
        settings = ClusteringSettings(keep=keep)
        assert choose_representatives(none, none, documents, scored([]), settings=settings).tolist() == []


@given(st.permutations(range(8)), st.sampled_from(["medoid", "longest", "score:desc"]))
def test_the_order_of_the_input_changes_nothing(order: list[int], keep: str) -> None:
    labels = np.array([0, 0, 0, 1])
    row_of = np.array([0, 0, 1, 2, 3, 3, -1, 2])
    ids = np.array(["q1", "q10", "q2", "q3", "b", "a", "x", "q0"])
    texts = ["same", "same", "long one", "long two", "t", "t", "", "long two"]
    documents = _documents(ids.tolist(), texts, score=[1, 3, 3, 2, None, None, 5, 3])
    pairs = scored([(0, 1, 0.9), (0, 2, 0.9), (1, 2, 0.9)])
    settings = ClusteringSettings(keep=keep)
    plain = choose_representatives(labels, row_of, documents, pairs, settings=settings)
    moved = choose_representatives(labels, row_of[order], documents.take(order), pairs, settings=settings)
    assert ids[order][moved].tolist() == ids[plain][order].tolist()


def test_weakest_links() -> None:
    # .9 and .8 connect 0-1-2, whatever connects 0 and 2; 3 is alone; .5 connects 4-5; 2-4 is outside.
    pairs = scored([(0, 1, 0.9), (0, 2, 0.6), (1, 2, 0.8), (2, 4, 0.99), (4, 5, 0.5)])
    weakest = weakest_links(np.array([0, 0, 0, 1, 2, 2]), pairs)
    assert weakest.dtype == np.float32
    assert weakest.tolist() == pytest.approx([0.8, 1.0, 0.5])


def test_weakest_link_of_probability_zero_and_of_nothing() -> None:
    assert weakest_links(np.array([0, 0, 0]), scored([(0, 1, 0.0), (1, 2, 1e-12)])).tolist() == [0.0]
    assert weakest_links(np.array([], dtype=np.int64), scored([])).tolist() == []


def test_weakest_links_require_the_pairs_that_made_the_clusters() -> None:
    with pytest.raises(AssertionError, match="do not connect"):
        weakest_links(np.array([0, 0]), scored([]))
