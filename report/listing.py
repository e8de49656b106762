"""Clusters and pairs as lines for the terminal."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..errors import InputError
from .health import Health
from .selection import Strategy, borderline_pairs, pairs_frame, select_clusters
from .source import Mined, doc_ids, texts
from .words import shorten, visible

_MEMBERS = 6  # of each cluster in a list


def list_selection(mined: Mined, health: Health, strategy: Strategy, n: int) -> list[str]:
    """Return lines about the clusters or pairs that a strategy selects."""
    if strategy is Strategy.borderline:
        frame = pairs_frame(mined, mined.scored_pairs.where(borderline_pairs(mined, n)))
        threshold = mined.settings.rerank.accepts_from
        heading = f"{len(frame)} pairs nearest to the threshold {threshold:g}, the nearest first"
        return [heading, *pair_lines(frame)]
    places = select_clusters(health, strategy, n)
    if not len(places):
        return ["no suspicious cluster" if len(health.members) else "no clusters"]
    lines = [f"{len(places)} of {len(health.members):,} clusters: {_ORDER[strategy]}"]
    for place in places.tolist():
        lines += ["", *cluster_lines(mined, health, place, most=_MEMBERS)]
    return lines


_ORDER = {
    Strategy.largest: "the largest first",
    Strategy.suspicious: "the most suspicious first",
    Strategy.random: "drawn at random",
}


def cluster_lines(mined: Mined, health: Health, place: int, *, most: int | None = None) -> list[str]:
    """Return lines about one cluster: its measures, what is suspicious, and its documents."""
    members, size = health.members, int(health.members.size[place])
    lines = [
        f"cluster {members.cluster_id[place]}: {size} documents, weakest link "
        f"{members.weakest_link[place]:.2f}, {health.density[place]:.0%} of its pairs accepted"
    ]
    lines += [f"  ! {reason}" for reason in health.reasons.get(place, [])]
    shown = members.lines(place)
    shown = slice(shown.start, min(shown.stop, shown.start + (most or size)))
    at = members.document[shown]
    named = zip(doc_ids(mined, at), texts(mined, at), members.probability[shown], strict=True)
    for i, (doc_id, text, probability) in enumerate(named):
        role = "stays" if i == 0 else "    ?" if np.isnan(probability) else f"{probability:5.2f}"
        lines.append(f"  {role}  {visible(doc_id)}: {shorten(text)}")
    if size > shown.stop - shown.start:
        lines.append(f"         and {size - (shown.stop - shown.start)} more")
    return lines


def pair_lines(frame: pd.DataFrame) -> list[str]:
    """Return two lines a pair, with what was decided."""
    lines = []
    for pair in frame.to_dict("records"):
        where = "different clusters" if pd.isna(pair["cluster_id"]) else f"cluster {pair['cluster_id']}"
        decision = "accepted" if pair["is_duplicate"] else "rejected"
        lines += [
            "",
            f"{pair['probability']:.3f} {decision}, {where}",
            f"  {visible(pair['left_id'])}: {shorten(pair['left_text'])}",
            f"  {visible(pair['right_id'])}: {shorten(pair['right_text'])}",
        ]
    return lines


def list_one(mined: Mined, health: Health, name: str, *, is_document: bool = False) -> list[str]:
    """Return lines about the cluster with a number, or about a document and its cluster.

    Raises:
        InputError: there is neither.
    """
    documents = mined.corpus.documents
    is_number = name.isascii() and name.isdigit() and not is_document
    place = health.place_of(int(name)) if is_number else None
    ids: list[str] = documents["doc_id"].to_pylist()
    position = ids.index(name) if name in ids else None
    if place is not None:
        lines = cluster_lines(mined, health, place)
        if position is not None:
            lines.append(f"\nthere is a document with the id {visible(name)} too: add --document to see it")
        return lines
    if position is None:
        kind = "document" if is_document else "cluster and no document"
        raise InputError(f"there is no {kind} with the id {name!r:.80}")
    found = np.flatnonzero(health.members.document == position)
    if not len(found):
        return [f"{visible(name)}: {shorten(texts(mined, np.array([position]))[0])}", "  no duplicates"]
    return cluster_lines(mined, health, int(health.members.cluster_of[found[0]]))
