"""What the page holds as data: columns of numbers and texts, for the scripts in `assets`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..schema import Rows, ranges
from .audit import Point, Share
from .health import Health
from .selection import SEED, borderline_pairs
from .source import Mined, doc_ids, texts
from .strata import LEAST
from .thresholds import ThresholdPoint

MOST_DOCUMENTS = 60_000  # in clusters on the page; of more a sample is shown
_LONGEST = 2_000  # characters of a text
_MOST_CHANGES = 500  # documents that change sides, of each point and side
_BORDERLINE = 200
_BINS = 50
_WORST = 1_000  # clusters of each kind that a sample certainly holds

Json = dict[str, Any]


class _Documents:
    """The documents of the page, numbered as they are first asked for."""

    def __init__(self) -> None:
        self.number: dict[int, int] = {}

    def numbers(self, at: Rows) -> list[int]:
        """Return the numbers of documents by position."""
        return [self.number.setdefault(position, len(self.number)) for position in at.tolist()]

    def columns(self, mined: Mined) -> Json:
        """Return ids and texts; of a cut text `length` tells how long it is."""
        at = np.fromiter(self.number, np.int64, len(self.number))
        whole = texts(mined, at)
        return {
            "id": doc_ids(mined, at),
            "text": [text[:_LONGEST] for text in whole],
            "length": {i: len(text) for i, text in enumerate(whole) if len(text) > _LONGEST},
        }


def page_data(
    mined: Mined, health: Health, points: Sequence[ThresholdPoint], measured: Sequence[Point]
) -> Json:
    """Return the data of the page; `measured` has precision and recall of the points, or nothing."""
    documents = _Documents()
    places = _sample_clusters(health)
    clusters = _clusters(health, places, documents)
    data = {
        "threshold": mined.settings.rerank.accepts_from,
        "total": len(health.members),
        "totalDocuments": int(health.members.size.sum()),
        "clusters": clusters,
        "points": _points(mined, points, measured, documents),
        "borderline": _borderline(mined, documents),
        "histogram": _histogram(mined),
        "sizes": _sizes(health),
    }
    return data | {"documents": documents.columns(mined)}


def _sample_clusters(health: Health) -> Rows:
    """Return the places of the clusters to show: all, or the worst and largest, and others at random."""
    members = health.members
    if members.size.sum() <= MOST_DOCUMENTS:
        return np.arange(len(members))
    first = [
        health.most_suspicious()[:_WORST],
        np.argsort(-members.size, kind="stable")[:_WORST],
        np.argsort(members.weakest_link, kind="stable")[:_WORST],
        np.random.default_rng(SEED).permutation(len(members)),
    ]
    order = np.concatenate(first)
    order = order[np.sort(np.unique(order, return_index=True)[1])]
    return np.sort(order[np.cumsum(members.size[order]) <= MOST_DOCUMENTS])


def _clusters(health: Health, places: Rows, documents: _Documents) -> Json:
    """Return the clusters, their members and the pairs inside, the last two one after the other."""
    members = health.members
    lines = ranges(members.start[places], members.size[places])
    numbers, inside = _text_numbers(health, places)
    pairs = health.pairs.where(inside)
    known = np.nan_to_num(members.probability[lines], nan=-1)
    return {
        "id": members.cluster_id[places].tolist(),
        "size": members.size[places].tolist(),
        "texts": health.texts[places].tolist(),
        "pairs": (health.pair_start[places + 1] - health.pair_start[places]).tolist(),
        "weakest": _short(members.weakest_link[places]),
        "density": _short(health.density[places]),
        "spread": _short(health.spread[places]),
        "suspicion": _short(health.suspicion[places]),
        "reasons": {i: health.reasons[p] for i, p in enumerate(places.tolist()) if p in health.reasons},
        "bridges": {
            i: [numbers[bridge.left], numbers[bridge.right], *bridge.sides]
            for i, p in enumerate(places.tolist())
            if (bridge := health.bridges.get(p))
        },
        "member": {
            "document": documents.numbers(members.document[lines]),
            "text": [numbers[row] for row in members.row[lines].tolist()],
            "probability": _short(known),
        },
        "pair": {
            "left": [numbers[row] for row in pairs.left.tolist()],
            "right": [numbers[row] for row in pairs.right.tolist()],
            "probability": _short(pairs.probability),
            "cosine": _short(pairs.cosine, 3),
        },
    }


def _text_numbers(health: Health, places: Rows) -> tuple[dict[int, int], Rows]:
    """Number the distinct texts of each cluster from 0, and list the positions of the pairs inside."""
    numbers: dict[int, int] = {}
    for place in places.tolist():
        first = len(numbers)
        for row in health.members.row[health.members.lines(place)].tolist():
            if row not in numbers:
                numbers[row] = len(numbers) - first
    start = health.pair_start[places]
    return numbers, ranges(start, health.pair_start[places + 1] - start)


def _points(
    mined: Mined, points: Sequence[ThresholdPoint], measured: Sequence[Point], documents: _Documents
) -> list[Json]:
    own = next(point for point in points if point.threshold == mined.settings.rerank.accepts_from)
    by_threshold = {point.threshold: point for point in measured}
    listed = []
    for point in points:
        measured_at = by_threshold.get(point.threshold)
        listed.append(
            {
                "threshold": point.threshold,
                "accepted": point.accepted_pairs,
                "clusters": point.clusters,
                "removed": point.removed_documents,
                "largest": point.largest_cluster,
                "precision": measured_at and _share(measured_at.precision),
                "recall": measured_at and _share(measured_at.recall),
                "goes": _changes(point, own, documents),
                "stays": _changes(own, point, documents),
            }
        )
    return listed


def _changes(more: ThresholdPoint, less: ThresholdPoint, documents: _Documents) -> Json:
    """Return the documents that could go by `more` and stay by `less`, with the one that stays for each."""
    changed = np.flatnonzero(~np.isin(more.removed, less.removed, assume_unique=True))
    shown = changed
    if len(changed) > _MOST_CHANGES:
        shown = np.sort(np.random.default_rng(SEED).permutation(changed)[:_MOST_CHANGES])
    return {
        "count": len(changed),
        "document": documents.numbers(more.removed[shown]),
        "stays": documents.numbers(more.representative[shown]),
    }


def _share(share: Share) -> list[float] | None:
    """Return a share and its interval, None where too few labels tell of it."""
    if share.n < LEAST:
        return None
    return [round(value, 4) for value in (share.value, share.low, share.high)]


def _borderline(mined: Mined, documents: _Documents) -> Json:
    pairs = mined.scored_pairs.where(borderline_pairs(mined, _BORDERLINE))
    labels = mined.row_labels
    return {
        "left": documents.numbers(mined.anchors[pairs.left]),
        "right": documents.numbers(mined.anchors[pairs.right]),
        "probability": _short(pairs.probability),
        "accepted": (pairs.probability >= mined.settings.rerank.accepts_from).astype(int).tolist(),
        "together": (labels[pairs.left] == labels[pairs.right]).astype(int).tolist(),
    }


def _histogram(mined: Mined) -> Json:
    """Count the scored pairs by probability, accepted and rejected ones apart."""
    probability = mined.scored_pairs.probability.astype(np.float64)
    accepted = probability >= np.float32(mined.settings.rerank.accepts_from)
    edges = np.linspace(0, 1, _BINS + 1)
    return {
        "edges": edges.round(2).tolist(),
        "accepted": np.histogram(probability[accepted], edges)[0].tolist(),
        "rejected": np.histogram(probability[~accepted], edges)[0].tolist(),
    }


def _sizes(health: Health) -> Json:
    size, count = np.unique(health.members.size, return_counts=True)
    return {"size": size.tolist(), "clusters": count.tolist()}


def _short(values: np.ndarray[Any, np.dtype[Any]], digits: int = 4) -> list[float]:
    rounded: list[float] = values.astype(np.float64).round(digits).tolist()
    return rounded
