"""Which clusters and pairs to look at first."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd

from ..schema import Floats, Rows, ScoredPairs
from .health import Health, examine
from .source import Members, Mined, doc_ids, texts

SEED = 42


class Strategy(StrEnum):
    """What is worth a look."""

    borderline = "borderline"
    suspicious = "suspicious"
    random = "random"
    largest = "largest"


def select_clusters(health: Health, strategy: Strategy, n: int, seed: int = SEED) -> Rows:
    """Return the places of clusters to look at; `borderline` goes by the weakest link."""
    members = health.members
    if strategy is Strategy.suspicious:
        return health.most_suspicious()[:n]
    if strategy is Strategy.random:
        drawn = np.random.default_rng(seed).permutation(len(members))[:n]
        return np.sort(drawn)
    key = -members.size if strategy is Strategy.largest else members.weakest_link
    return np.lexsort((members.cluster_id, key))[:n]


def borderline_pairs(mined: Mined, n: int) -> Rows:
    """Return the positions of the scored pairs nearest to the threshold, by log-odds, the nearest first."""
    pairs, threshold = mined.scored_pairs, mined.settings.rerank.accepts_from
    bound = min(max(threshold, 1e-6), 1 - 1e-6)
    distance = np.abs(pairs.logit.astype(np.float64) - np.log(bound / (1 - bound)))
    nearest = np.argpartition(distance, n)[:n] if n < len(pairs) else np.arange(len(pairs))
    return nearest[np.lexsort((nearest, distance[nearest]))]


def sample_pairs(mined: Mined, n: int, strategy: Strategy, seed: int = SEED) -> pd.DataFrame:
    """Return pairs to look at.

    `borderline`: nearest to the threshold, on both sides. `suspicious`: of the most suspicious clusters, the
    member least like the representative, with the reasons. `random`: accepted pairs at random. `largest`: as
    `suspicious`, of the largest clusters. Columns: left_id, right_id, left_text, right_text, probability,
    is_duplicate, cluster_id (null where the two are not in one cluster), reason.
    """
    pairs = mined.scored_pairs
    if strategy is Strategy.borderline:
        return pairs_frame(mined, pairs.where(borderline_pairs(mined, n)))
    if strategy is Strategy.random:
        accepted = np.flatnonzero(pairs.probability >= mined.settings.rerank.accepts_from)
        drawn = np.random.default_rng(seed).permutation(len(accepted))[:n]
        return pairs_frame(mined, pairs.where(np.sort(accepted[drawn])))
    health = examine(mined)
    places = select_clusters(health, strategy, n, seed)
    lines = [_farthest(health.members, place) for place in places.tolist()]
    right, cluster = np.array(lines, np.int64), pd.array(health.members.cluster_id[places], "Int64")
    return _frame(
        mined,
        health.members.document[health.members.start[places]],
        health.members.document[right],
        probability=health.members.probability[right],
        cluster_id=cluster,
        reason=["; ".join(health.reasons.get(place, [])) for place in places.tolist()],
    )


def _farthest(members: Members, place: int) -> int:
    lines = members.lines(place)
    return int(lines.start) + 1 + int(np.argmin(np.nan_to_num(members.probability[lines][1:], nan=2.0)))


def pairs_frame(mined: Mined, pairs: ScoredPairs) -> pd.DataFrame:
    """Return pairs with their ids and texts."""
    labels = mined.row_labels
    together = labels[pairs.left] == labels[pairs.right]
    cluster = pd.array(np.where(together, labels[pairs.left], -1), "Int64")
    cluster[~together] = pd.NA
    left, right = mined.anchors[pairs.left], mined.anchors[pairs.right]
    return _frame(mined, left, right, probability=pairs.probability, cluster_id=cluster, reason="")


def _frame(mined: Mined, left: Rows, right: Rows, *, probability: Floats, **columns: Any) -> pd.DataFrame:
    """Return pairs of documents with their ids and texts, and other columns."""
    return pd.DataFrame(
        {
            "left_id": doc_ids(mined, left),
            "right_id": doc_ids(mined, right),
            "left_text": texts(mined, left),
            "right_text": texts(mined, right),
            "probability": probability,
            "is_duplicate": probability >= mined.settings.rerank.accepts_from,
            **columns,
        }
    )
