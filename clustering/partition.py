"""From accepted pairs to clusters; components that are chains are divided."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..schema import Doubles, Flags, Rows, ScoredPairs
from ..settings import ClusteringSettings
from .linkage import link_groups
from .refinement import move_rows

ScoreUnseen = Callable[[Rows, Rows], ScoredPairs]


@dataclass(frozen=True, slots=True)
class Partition:
    """The clusters of all rows.

    `labels` is (n_rows,) int64. Clusters, single rows included, are numbered from 0 in the order of their
    smallest row. `scored` holds the pairs that were scored during clustering.
    """

    labels: Rows
    scored: ScoredPairs
    counts: dict[str, int]


def cluster_pairs(
    n_rows: int,
    pairs: ScoredPairs,
    *,
    threshold: float,
    settings: ClusteringSettings,
    score_unseen: ScoreUnseen | None = None,
) -> Partition:
    """Cluster the rows by the pairs with a probability of at least `threshold`.

    Every cluster is connected by such pairs. `pairs` are all pairs with a known probability, accepted or
    not, each once, `left < right`. Method `components` returns the connected components. Method `guarded`
    divides those that are not cliques into groups of similar rows (`link_groups`, then `move_rows`), scores
    the unknown pairs inside a group where there are at most `settings.unseen_share` for each known one, and
    divides the components again. The result for a component depends only on the pairs inside it. Without
    `score_unseen` nothing is scored: `pairs` and a partition's `scored` together give the same labels.
    """
    pairs = ScoredPairs.concatenate(pairs)
    components = find_components(n_rows, pairs, threshold)
    labels, unsettled, n_scored, n_skipped = components, 0, 0, 0
    scored = pairs.where(np.zeros(len(pairs), dtype=bool))
    if settings.method == "guarded":
        labels, unsettled = _divide(components, pairs, threshold, settings)
        if score_unseen is not None:
            left, right, n_skipped = _unseen(labels, pairs, settings.unseen_share)
            n_scored = len(left)
            if n_scored:
                scored = score_unseen(left, right)
                assert len(scored) == n_scored, "score_unseen must score every pair"
                all_pairs = ScoredPairs.concatenate(pairs, scored)
                labels, unsettled = _divide(components, all_pairs, threshold, settings)
    counts = {"rows_unsettled": unsettled, "pairs_scored": n_scored, "pairs_left_unseen": n_skipped}
    return Partition(labels, scored, _counts(components, labels) | counts)


def find_components(n_rows: int, pairs: ScoredPairs, threshold: float) -> Rows:
    """Label the components of accepted pairs, numbered in the order of their first row, (n_rows,)."""
    accepted = pairs.where(pairs.probability >= threshold)
    ends = (accepted.left, accepted.right)
    graph = coo_array((np.ones(len(accepted), dtype=np.int8), ends), shape=(n_rows, n_rows))
    return canonical_labels(connected_components(graph, directed=False)[1])


def canonical_labels(labels: npt.NDArray[np.integer]) -> Rows:
    """Number the labels from 0, in the order of their first row."""
    return np.asarray(pd.factorize(labels)[0], np.int64)


def _divide(
    components: Rows, pairs: ScoredPairs, threshold: float, settings: ClusteringSettings
) -> tuple[Rows, int]:
    """Divide the components that are not cliques; return labels and the number of unsettled rows."""
    inside = pairs.where(components[pairs.left] == components[pairs.right])
    accepted = inside.where(inside.probability >= threshold)
    incomplete = (_count_unknown(components, accepted) > 0)[components]
    rows = np.flatnonzero(incomplete)
    links = inside.where(incomplete[inside.left])
    ends = np.searchsorted(rows, links.left), np.searchsorted(rows, links.right)
    similarity, least = _similarity(links, threshold), settings.agreement
    groups = link_groups(len(rows), *ends, similarity, unknown=settings.unknown, least=least)
    groups, unsettled = move_rows(groups, *ends, similarity, unknown=settings.unknown, least=least)
    labels = components.copy()
    labels[rows] = components.max(initial=0) + 1 + groups
    # A row that moved may have been the only link between two others of its group.
    kept = accepted.where(labels[accepted.left] == labels[accepted.right])
    return find_components(len(components), kept, threshold), unsettled


def _similarity(pairs: ScoredPairs, threshold: float) -> Doubles:
    """Return the probabilities on a scale where the threshold is 0.5, by a shift of their log-odds."""
    bound = min(max(threshold, 1e-6), 1 - 1e-6)
    probability = pairs.probability.astype(np.float64)
    same, different = probability * (1 - bound), (1 - probability) * bound
    similarity: Doubles = same / (same + different)
    return similarity


def _count_unknown(labels: Rows, known: ScoredPairs) -> Rows:
    """Count the pairs inside each cluster that are not among `known`, (n_clusters,)."""
    sizes = np.bincount(labels)
    inside = known.left[labels[known.left] == labels[known.right]]
    return sizes * (sizes - 1) // 2 - np.bincount(labels[inside], minlength=len(sizes))


def _unseen(labels: Rows, pairs: ScoredPairs, share: float) -> tuple[Rows, Rows, int]:
    """List the unknown pairs inside clusters: left, right, and the number of those that are not listed.

    A cluster is skipped if they are more than `share` times its known pairs.
    """
    unknown, sizes = _count_unknown(labels, pairs), np.bincount(labels)
    listed = unknown <= share * (sizes * (sizes - 1) // 2 - unknown)
    left, right = _all_pairs(labels, listed & (unknown > 0))
    n_rows = len(labels)
    new = ~np.isin(left * n_rows + right, pairs.left * n_rows + pairs.right)
    return left[new], right[new], int(unknown[~listed].sum())


def _all_pairs(labels: Rows, selected: Flags) -> tuple[Rows, Rows]:
    """List all pairs of rows that share one of the `selected` clusters, sorted, left < right."""
    rows = np.flatnonzero(selected[labels])
    members = pd.DataFrame({"cluster": labels[rows], "row": rows})
    pairs = members.merge(members, on="cluster")[["row_x", "row_y"]]
    left, right = pairs[pairs["row_x"] < pairs["row_y"]].sort_values(["row_x", "row_y"]).to_numpy().T
    return left, right


def _counts(components: Rows, labels: Rows) -> dict[str, int]:
    sizes, parts = np.bincount(components), np.bincount(labels)
    shared = np.unique(np.stack([components, labels]), axis=1)[0]
    return {
        "components": int((sizes > 1).sum()),
        "largest_component": int(sizes.max(initial=0)),
        "components_divided": int((np.bincount(shared) > 1).sum()),
        "clusters": int((parts > 1).sum()),
        "largest_cluster": int(parts.max(initial=0)),
    }
