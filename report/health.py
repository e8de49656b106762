"""How well each cluster holds together, and which ones deserve a look."""

from __future__ import annotations

import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from ..schema import Doubles, Floats, Rows, ScoredPairs
from .bridges import Bridge, find_bridges
from .source import Members, Mined, cluster_members, texts

_BANDS = np.array([2, 3, 4, 5, 6, 8, 12, 20, 50])  # sizes that are compared with each other begin here
_LOOSE = 0.67  # a denser cluster is not called loose
_LOOSEST = 0.1  # share of each band
_FEW = 5  # a share of fewer clusters says nothing
_SMALL = 0.3  # weight of what is seen in the texts alone


@dataclass(frozen=True, slots=True)
class Health:
    """Measures of each cluster of `members`, `(n_clusters,)`.

    `texts` counts its distinct texts; `density` is the share of their pairs that are accepted, `lowest` the
    lowest known probability of a member and the representative, `spread` 1 less the mean of those. `bridges`
    has the accepted pair that alone joins the largest two parts. `reasons` say in words why a cluster is
    suspicious, and `suspicion` adds up their weights, 0 where there is none.
    """

    members: Members
    pairs: ScoredPairs
    pair_start: Rows
    texts: Rows
    accepted: Rows
    density: Doubles
    lowest: Floats
    spread: Doubles
    bridges: dict[int, Bridge]
    reasons: dict[int, list[str]] = field(default_factory=dict)
    suspicion: Doubles = field(default_factory=lambda: np.empty(0))

    def pairs_of(self, place: int) -> ScoredPairs:
        """Return the scored pairs inside a cluster."""
        return self.pairs.where(np.arange(self.pair_start[place], self.pair_start[place + 1]))

    def place_of(self, cluster_id: int) -> int | None:
        """Return the place of the cluster with a number, None where there is none."""
        found = np.flatnonzero(self.members.cluster_id == cluster_id)
        return int(found[0]) if len(found) else None

    def most_suspicious(self) -> Rows:
        """Return the places of the suspicious clusters, the worst first."""
        order = np.lexsort((-self.members.size, -self.suspicion))
        return order[self.suspicion[order] > 0]


def examine(mined: Mined) -> Health:
    """Measure the clusters of a result."""
    members = cluster_members(mined)
    n_clusters, threshold = len(members), mined.settings.rerank.accepts_from
    cluster_of_row = np.full(int(mined.row_of.max(initial=-1)) + 1, -1)
    cluster_of_row[members.row] = members.cluster_of
    pairs, pair_start = _inside(mined.scored_pairs, cluster_of_row, n_clusters)
    accepted = pairs.probability >= threshold
    cluster = cluster_of_row[pairs.left]
    n_texts = np.bincount(cluster_of_row[cluster_of_row >= 0], minlength=n_clusters)
    n_accepted = np.bincount(cluster[accepted], minlength=n_clusters)
    possible = n_texts * (n_texts - 1) // 2
    density = np.where(possible > 0, n_accepted / np.maximum(possible, 1), 1.0)
    chained = pairs.where(accepted & (n_accepted < possible)[cluster] & (n_texts >= 4)[cluster])
    lowest, mean = _to_representatives(members)
    health = Health(
        members=members,
        pairs=pairs,
        pair_start=pair_start,
        texts=n_texts,
        accepted=n_accepted,
        density=density,
        lowest=lowest,
        spread=1.0 - mean,
        bridges=find_bridges(chained, cluster_of_row, n_texts),
        suspicion=np.zeros(n_clusters),
    )
    for remark in (_loose, _bridged, _far):
        remark(health, threshold)
    _odd_texts(health, mined)
    return health


def _inside(pairs: ScoredPairs, cluster_of_row: Rows, n_clusters: int) -> tuple[ScoredPairs, Rows]:
    """Return the pairs inside clusters, sorted by cluster, and where each cluster's begin."""
    left = cluster_of_row[pairs.left]
    at = np.flatnonzero((left >= 0) & (left == cluster_of_row[pairs.right]))
    at = at[np.argsort(left[at], kind="stable")]
    return pairs.where(at), np.searchsorted(left[at], np.arange(n_clusters + 1))


def _to_representatives(members: Members) -> tuple[Floats, Doubles]:
    """Return the lowest and the mean known probability of the other members to the representative."""
    known = ~np.isnan(members.probability)
    known[members.start] = False
    cluster, value = members.cluster_of[known], members.probability[known]
    lowest = np.ones(len(members), np.float32)
    np.minimum.at(lowest, cluster, value)
    count = np.bincount(cluster, minlength=len(members))
    total = np.bincount(cluster, value.astype(np.float64), minlength=len(members))
    return lowest, np.where(count > 0, total / np.maximum(count, 1), 1.0)


def _remark(health: Health, place: int, weight: float, reason: str) -> None:
    health.suspicion[place] += weight
    health.reasons.setdefault(place, []).append(reason)


def _loose(health: Health, threshold: float) -> None:
    """Remark the lowest density within each size."""
    bands = np.searchsorted(_BANDS, health.texts, side="right")
    for band in np.unique(bands[health.texts > 2]):
        same = np.flatnonzero(bands == band)
        if len(same) < _FEW:
            continue
        bound, median = np.quantile(health.density[same], (_LOOSEST, 0.5))
        for place in same[health.density[same] <= min(bound, _LOOSE)].tolist():
            n_texts = int(health.texts[place])
            reason = (
                f"loose: {health.accepted[place]:,} of the {n_texts * (n_texts - 1) // 2:,} pairs of its "
                f"{n_texts} texts are accepted ({health.density[place]:.0%}; usual: {median:.0%})"
            )
            _remark(health, place, 1.0 - float(health.density[place] / max(median, 1e-9)), reason)


def _bridged(health: Health, threshold: float) -> None:
    """Remark clusters that one pair alone holds together."""
    for place, bridge in health.bridges.items():
        small, large = sorted(bridge.sides)
        reason = (
            f"one pair alone ({bridge.probability:.2f}) joins {small} of its texts with the other {large}"
        )
        _remark(health, place, 2.0 * small / (small + large), reason)


def _far(health: Health, threshold: float) -> None:
    """Remark members that would go although their pair with the one that stays is not accepted."""
    members = health.members
    below = np.bincount(members.cluster_of[members.probability < threshold], minlength=len(members))
    for place in np.flatnonzero(below).tolist():
        lowest = float(health.lowest[place])
        reason = (
            f"{below[place]} of its documents would go although their pair with the one that stays is not "
            f"accepted (lowest probability {lowest:.2f})"
        )
        _remark(health, place, 1.0 - lowest / threshold, reason)


def _odd_texts(health: Health, mined: Mined) -> None:
    """Remark clusters with several scripts, or with texts that are longer than the models read."""
    members, longest = health.members, mined.settings.corpus.max_tokens
    cluster_of = members.cluster_of
    odd: dict[int, set[str]] = {}
    long: Counter[int] = Counter()
    for line, text in enumerate(texts(mined, members.document)):
        if not text.isascii():
            odd.setdefault(int(cluster_of[line]), set()).add("")
        if len(text) > longest and len(text.split()) > longest:
            long[int(cluster_of[line])] += 1
    for place in odd:
        scripts = {
            script
            for text in texts(mined, members.document[members.lines(place)])
            for script in _scripts(text)
        }
        if len(scripts) > 1:
            _remark(health, place, _SMALL, f"letters of several scripts: {', '.join(sorted(scripts))}")
    for place, count in long.items():
        reason = f"{count} of its texts are longer than the {longest} tokens that the models read"
        _remark(health, place, _SMALL, reason)


def _scripts(text: str) -> set[str]:
    """Return the scripts of a text's letters, as Latin or Cyrillic."""
    return {_script(sign) for sign in set(text[:2000]) if sign.isalpha()} - {""}


@lru_cache(maxsize=10_000)
def _script(sign: str) -> str:
    words = unicodedata.name(sign, "").split()
    if (
        not words
        or "MATHEMATICAL" in words
        or words[0] in ("FULLWIDTH", "MODIFIER", "MICRO", "FEMININE", "MASCULINE")
    ):
        return ""
    return {"Cjk": "Chinese", "Hiragana": "Japanese", "Katakana": "Japanese"}.get(
        words[0].title(), words[0].title()
    )
