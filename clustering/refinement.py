"""Local search: single rows move to the group where they raise the agreement."""

from __future__ import annotations

import numpy as np

from ..schema import Doubles, Flags, Rows
from .linkage import round_exactly

_MIN_GAIN = 1e-9
_MAX_ROUNDS = 100


def move_rows(
    labels: Rows, left: Rows, right: Rows, similarity: Doubles, *, unknown: float, least: float
) -> tuple[Rows, int]:
    """Move single rows between groups, or out of them, while that raises the agreement of the groups.

    The agreement is the sum of `similarity - least` over all pairs inside groups, where pairs that are not
    among `left`, `right` count as `unknown`: correlation clustering (Bansal, Blum and Chawla 2004). Each
    round makes the moves with the largest gains among those that share no group. Returns new labels,
    (n_rows,), and the number of rows that could still move after 100 rounds; 80,000 rows needed 13.
    """
    n_rows = len(labels)
    labels = np.unique(labels, return_inverse=True)[1]
    source, target = np.concatenate([left, right]), np.concatenate([right, left])
    excess = np.tile(round_exactly(similarity - unknown), 2)
    active = np.ones(n_rows, dtype=bool)
    for _ in range(_MAX_ROUNDS):
        if not active.any():
            break
        links = active[source]
        rows, goals, gains = _best_moves(
            labels, active, source[links], target[links], excess[links], unknown - least
        )
        rows, goals = _independent(labels, rows, goals, gains)
        touched = np.isin(labels, np.concatenate([labels[rows], goals]))
        out = goals < 0
        goals[out] = labels.max(initial=0) + 1 + np.arange(out.sum())
        labels[rows] = goals
        active = touched.copy()
        active[source[touched[target]]] = True
        labels = np.unique(labels, return_inverse=True)[1]
    return labels, int(active.sum())


def _best_moves(
    labels: Rows, active: Flags, source: Rows, target: Rows, excess: Doubles, cost: float
) -> tuple[Rows, Rows, Doubles]:
    """Find the best move of each active row, if any gains: row, group (-1: out of all groups), gain.

    `cost`, below 0, is the agreement of a pair without its excess.
    """
    size = np.bincount(labels)
    links, inverse = np.unique(source * len(size) + labels[target], return_inverse=True)
    row, goal = np.divmod(links, len(size))
    pull = np.bincount(inverse, excess, minlength=len(links))
    home = goal == labels[row]
    stay = cost * (size[labels] - 1.0)
    stay[row[home]] += pull[home]
    movers = np.flatnonzero(active & (size[labels] > 1))
    row = np.concatenate([row[~home], movers])
    gain = np.concatenate([(pull + cost * size[goal])[~home], np.zeros(len(movers))]) - stay[row]
    goal = np.concatenate([goal[~home], np.full(len(movers), -1)])
    order = np.lexsort((goal, -gain, row))
    order = order[np.unique(row[order], return_index=True)[1]]
    order = order[gain[order] > _MIN_GAIN]
    return row[order], goal[order], gain[order]


def _independent(labels: Rows, rows: Rows, goals: Rows, gains: Doubles) -> tuple[Rows, Rows]:
    """Keep the moves with the largest gains such that no group takes part in two."""
    used: set[int] = set()
    kept = []
    order = np.lexsort((rows, -gains))
    ends = zip(order.tolist(), labels[rows[order]].tolist(), goals[order].tolist(), strict=True)
    for move, origin, goal in ends:
        if origin not in used and goal not in used:
            kept.append(move)
            used.add(origin)
            if goal >= 0:
                used.add(goal)
    return rows[kept], goals[kept]
