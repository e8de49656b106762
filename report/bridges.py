"""Pairs that alone hold a cluster together."""

from __future__ import annotations

from dataclasses import dataclass

from ..schema import Rows, ScoredPairs


@dataclass(frozen=True, slots=True)
class Bridge:
    """An accepted pair without which its cluster falls into two parts; `sides` counts their texts."""

    left: int
    right: int
    probability: float
    sides: tuple[int, int]


def find_bridges(accepted: ScoredPairs, cluster_of_row: Rows, n_texts: Rows) -> dict[int, Bridge]:
    """Return by cluster the bridge between its largest two parts, of at least two texts each.

    `accepted` are all accepted pairs of the clusters to look at; each of those is connected. Bridges are
    found by depth-first search (Tarjan 1974). Of equal ones the least probable is returned.
    """
    links: dict[int, list[tuple[int, int]]] = {}
    for pair, (a, b) in enumerate(zip(accepted.left.tolist(), accepted.right.tolist(), strict=True)):
        links.setdefault(a, []).append((b, pair))
        links.setdefault(b, []).append((a, pair))
    found: dict[int, Bridge] = {}
    for start in links:
        for pair, below in _bridges_from(start, links):
            left, right = int(accepted.left[pair]), int(accepted.right[pair])
            cluster = int(cluster_of_row[left])
            sides = (below, int(n_texts[cluster]) - below)
            bridge = Bridge(left, right, float(accepted.probability[pair]), sides)
            if min(sides) > 1 and (cluster not in found or _rank(bridge) > _rank(found[cluster])):
                found[cluster] = bridge
    return found


def _rank(bridge: Bridge) -> tuple[int, float]:
    return min(bridge.sides), -bridge.probability


def _bridges_from(start: int, links: dict[int, list[tuple[int, int]]]) -> list[tuple[int, int]]:
    """Return the bridges of one component: the pair, and the number of rows below it.

    Empties `links` of the component as it goes.
    """
    if not links[start]:
        return []
    seen, low, size = {start: 0}, {start: 0}, {start: 1}
    stack, found = [(start, -1)], []
    while stack:
        row, entered_by = stack[-1]
        if links[row]:
            other, pair = links[row].pop()
            if pair == entered_by:
                continue
            if other in seen:
                low[row] = min(low[row], seen[other])
            else:
                seen[other] = low[other] = len(seen)
                size[other] = 1
                stack.append((other, pair))
            continue
        stack.pop()
        if stack:
            above = stack[-1][0]
            low[above] = min(low[above], low[row])
            size[above] += size[row]
            if low[row] > seen[above]:
                found.append((entered_by, size[row]))
    return found
