"""Clusters of planted graphs, and properties of the clusters of any graph."""

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dupmine.clustering.partition import Partition, cluster_pairs
from dupmine.schema import Rows, ScoredPairs
from dupmine.settings import ClusteringSettings

from ..helpers.scored import Triple, clique, scored

GUARDED = ClusteringSettings()
COMPONENTS = ClusteringSettings(method="components")

Graph = tuple[int, list[Triple]]


def _guarded(n_rows: int, triples: list[Triple], threshold: float = 0.5) -> Partition:
    return cluster_pairs(n_rows, scored(triples), threshold=threshold, settings=GUARDED)


class _TopicScorer:
    """Scores unseen pairs: duplicates are rows of the same topic, `row // per_topic`."""

    def __init__(self, per_topic: int) -> None:
        self.per_topic = per_topic
        self.pairs: list[tuple[int, int]] = []

    def __call__(self, left: Rows, right: Rows) -> ScoredPairs:
        self.pairs += zip(left.tolist(), right.tolist(), strict=True)
        same = left // self.per_topic == right // self.per_topic
        return scored(
            [
                (a, b, 0.97 if s else 0.001)
                for a, b, s in zip(left.tolist(), right.tolist(), same, strict=True)
            ]
        )


def test_labels_are_numbered_by_smallest_row() -> None:
    assert _guarded(6, [(1, 5, 0.9), (2, 4, 0.9), (0, 3, 0.1)]).labels.tolist() == [0, 1, 2, 3, 2, 1]


def test_a_pair_at_the_threshold_is_accepted() -> None:
    assert _guarded(4, [(0, 1, 0.7), (2, 3, 0.699)], threshold=0.7).labels.tolist() == [0, 0, 1, 2]


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_a_clique_stays_whole(threshold: float) -> None:
    assert _guarded(9, clique(range(9), threshold), threshold).labels.tolist() == [0] * 9


def test_a_bridge_between_cliques_is_cut() -> None:
    triples = [*clique(range(4), 0.9), *clique(range(4, 8), 0.9), (3, 4, 0.99)]
    partition = _guarded(8, triples)
    assert partition.labels.tolist() == [0] * 4 + [1] * 4
    assert partition.counts == {
        "components": 1,
        "largest_component": 8,
        "components_divided": 1,
        "clusters": 2,
        "largest_cluster": 4,
        "rows_unsettled": 0,
        "pairs_scored": 0,
        "pairs_left_unseen": 0,
    }
    whole = cluster_pairs(8, scored(triples), threshold=0.5, settings=COMPONENTS)
    assert whole.labels.tolist() == [0] * 8
    assert whole.counts["largest_cluster"] == 8


def test_a_rejected_pair_keeps_the_ends_of_a_path_apart() -> None:
    assert _guarded(3, [(0, 1, 0.9), (0, 2, 0.01), (1, 2, 0.8)]).labels.tolist() == [0, 0, 1]


def test_groups_that_no_accepted_pair_connects_are_separate() -> None:
    # 0-1 and 2-3 agree by their mean, but every pair between them was rejected; only row 4 linked them.
    near = [(0, 2, 0.49), (0, 3, 0.49), (1, 2, 0.49), (1, 3, 0.49)]
    by_four = [(1, 4, 0.55), (2, 4, 0.55), (0, 4, 0.0), (3, 4, 0.0)]
    partition = _guarded(5, [(0, 1, 0.95), (2, 3, 0.95), *near, *by_four])
    assert partition.labels.tolist() == [0, 0, 1, 1, 2]


def test_no_rows_and_no_pairs() -> None:
    assert _guarded(0, []).labels.tolist() == []
    assert _guarded(2, []).labels.tolist() == [0, 1]


def test_unknown_pairs_inside_groups_are_scored() -> None:
    # Two triangles with an unscored third side: duplicates by the first scorer, chains by the second.
    triples = [(0, 1, 0.99), (1, 2, 0.8), (3, 4, 0.99), (4, 5, 0.8), (6, 7, 0.9), (8, 9, 0.1)]
    scorer = _TopicScorer(per_topic=3)
    known = scored(triples)
    allowed = ClusteringSettings(unseen_share=1.0, agreement=0.42)
    partition = cluster_pairs(10, known, threshold=0.5, settings=allowed, score_unseen=scorer)
    assert scorer.pairs == [(0, 2), (3, 5)]
    assert partition.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 3, 4]
    assert partition.counts["pairs_scored"] == 2
    assert partition.scored.probability.tolist() == pytest.approx([0.97, 0.97])

    strict = _TopicScorer(per_topic=1)
    divided = cluster_pairs(10, known, threshold=0.5, settings=allowed, score_unseen=strict)
    assert divided.labels.tolist() == [0, 0, 1, 2, 2, 3, 4, 4, 5, 6]
    together = ScoredPairs.concatenate(known, divided.scored)
    again = cluster_pairs(10, together, threshold=0.5, settings=allowed)
    assert again.labels.tolist() == divided.labels.tolist()


def test_a_group_with_too_many_unknown_pairs_is_skipped_and_counted() -> None:
    path = [(0, 1, 0.999), (1, 2, 0.99), (3, 4, 0.999), (4, 5, 0.99), (5, 6, 0.999), (3, 5, 0.999)]
    scorer = _TopicScorer(per_topic=9)
    few = ClusteringSettings(unseen_share=0.4, unknown=0.2, agreement=0.42)
    partition = cluster_pairs(7, scored(path), threshold=0.5, settings=few, score_unseen=scorer)
    assert scorer.pairs == []
    assert partition.counts["pairs_left_unseen"] == 3
    half = ClusteringSettings(unseen_share=0.5, unknown=0.2, agreement=0.42)
    partition = cluster_pairs(7, scored(path), threshold=0.5, settings=half, score_unseen=scorer)
    assert scorer.pairs == [(0, 2), (3, 6), (4, 6)]
    assert partition.counts["pairs_scored"] == 3
    assert partition.counts["pairs_left_unseen"] == 0


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Draw a graph whose probabilities all differ."""
    n_rows = draw(st.integers(1, 14))
    ends = [(a, b) for a in range(n_rows) for b in range(a + 1, n_rows)]
    chosen = draw(st.lists(st.sampled_from(ends), unique=True)) if ends else []
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = rng.permutation(4096)[: len(chosen)] / 4096
    return n_rows, [(a, b, float(p)) for (a, b), p in zip(chosen, values, strict=True)]


def _same(labels: Rows) -> list[list[bool]]:
    return [[bool(same) for same in row] for row in labels[:, None] == labels]


@given(graphs(), st.randoms(use_true_random=False), st.sampled_from([0.3, 0.5, 0.8]))
def test_renumbering_rows_renumbers_clusters(graph: Graph, random: Random, threshold: float) -> None:
    n_rows, triples = graph
    new = list(range(n_rows))
    random.shuffle(new)
    moved = [(min(new[a], new[b]), max(new[a], new[b]), p) for a, b, p in triples]
    random.shuffle(moved)
    before = _guarded(n_rows, triples, threshold).labels
    after = _guarded(n_rows, moved, threshold).labels
    assert _same(after[new]) == _same(before)


@given(graphs(), st.sampled_from([0.05, 0.5, 0.95]))
def test_clusters_are_connected_by_accepted_pairs_and_refine_components(
    graph: Graph, threshold: float
) -> None:
    n_rows, triples = graph
    labels = _guarded(n_rows, triples, threshold).labels
    inside = [(a, b) for a, b, p in triples if np.float32(p) >= threshold and labels[a] == labels[b]]
    ends = np.array(inside, dtype=np.int64).reshape(-1, 2).T
    kept = coo_array((np.ones(len(inside)), (ends[0], ends[1])), shape=(n_rows, n_rows))
    assert connected_components(kept, directed=False)[0] == labels.max() + 1
    components = cluster_pairs(n_rows, scored(triples), threshold=threshold, settings=COMPONENTS).labels
    assert len(set(zip(labels.tolist(), components.tolist(), strict=True))) == labels.max() + 1


@given(graphs())
def test_clustering_the_clusters_changes_nothing(graph: Graph) -> None:
    n_rows, triples = graph
    first = _guarded(n_rows, triples).labels
    inside = [t for t in triples if first[t[0]] == first[t[1]]]
    assert _guarded(n_rows, inside).labels.tolist() == first.tolist()


@settings(max_examples=30)
@given(graphs(), st.integers(1, 4))
def test_the_scored_pairs_give_the_same_clusters_again(graph: Graph, per_topic: int) -> None:
    n_rows, triples = graph
    allowed = ClusteringSettings(unseen_share=2.0)
    scorer = _TopicScorer(per_topic)
    once = cluster_pairs(n_rows, scored(triples), threshold=0.5, settings=allowed, score_unseen=scorer)
    known = {(a, b) for a, b, _ in triples}
    assert not known & set(scorer.pairs)
    assert len(set(scorer.pairs)) == len(scorer.pairs) <= 2 * len(triples)
    together = ScoredPairs.concatenate(scored(triples), once.scored)
    again = cluster_pairs(n_rows, together, threshold=0.5, settings=allowed)
    assert again.labels.tolist() == once.labels.tolist()


@settings(max_examples=50)
@given(graphs(), graphs(), st.integers(1, 4))
def test_the_result_for_a_component_depends_only_on_it(first: Graph, second: Graph, per_topic: int) -> None:
    """Two graphs have the same clusters alone and interleaved."""
    (n, triples), (m, others) = first, second
    places = [2 * row for row in range(n)], [2 * row + 1 for row in range(m)]
    both = [(at[a], at[b], p) for at, part in zip(places, (triples, others), strict=True) for a, b, p in part]

    def labels(n_rows: int, pairs: list[tuple[int, int, float]], spread: int) -> Rows:
        scorer = _TopicScorer(per_topic * spread)
        known = scored(pairs)
        return cluster_pairs(
            n_rows, known, threshold=0.5, settings=ClusteringSettings(), score_unseen=scorer
        ).labels

    together = labels(2 * max(n, m), both, 2)
    assert _same(together[places[0]]) == _same(labels(n, triples, 1))


def test_planted_topics_are_found_in_a_chained_corpus() -> None:
    """6,000 rows in topics of 1 to 7, with random links between topics that chain most of them."""
    rng = np.random.default_rng(0)
    topic = np.sort(rng.integers(0, 1500, 6000))
    a, b = np.repeat(np.arange(6000), 8), (np.repeat(np.arange(6000), 8) + np.tile(np.arange(1, 9), 6000))
    a, b = a[b < 6000], b[b < 6000]
    same = topic[a] == topic[b]
    probability = np.where(same, rng.uniform(0.8, 1.0, len(a)), rng.uniform(0.0, 0.2, len(a)))
    probability[~same & (rng.random(len(a)) < 0.2)] = 0.85
    pairs = scored(list(zip(a.tolist(), b.tolist(), probability.tolist(), strict=True)))
    partition = cluster_pairs(6000, pairs, threshold=0.5, settings=GUARDED)
    assert partition.counts["largest_component"] > 2000
    together = partition.labels[a] == partition.labels[b]
    assert (together & same).sum() / together.sum() > 0.9
    assert (together & same).sum() / same.sum() > 0.97
