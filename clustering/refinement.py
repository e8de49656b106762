"""Local search over a grouping: single rows move to where they belong better."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..schema import Rows
from .linkage import Likeness, exact

_LEAST_GAIN = 1e-9
_MOST_ROUNDS = 100


def move_rows(
    labels: Rows, left: Rows, right: Rows, likeness: Likeness, *, unknown: float, least: float
) -> tuple[Rows, int]:
    """Move single rows between groups, or out of them, while that raises the agreement of the grouping.

    Its agreement is the sum of likeness less `least` over all pairs inside groups, those not among `left`,
    `right` counting as `unknown`: correlation clustering (Bansal, Blum and Chawla 2004). In each round the
    moves with the largest gains are made, of those that share no group. Returns new labels, (n_rows,), and
    how many rows might still move when the search ended after 100 rounds; 13 were needed for 80,000 rows.
    """
    n_rows = len(labels)
    labels = np.unique(labels, return_inverse=True)[1]
    source, target = np.concatenate([left, right]), np.concatenate([right, left])
    excess = np.tile(exact(likeness - unknown), 2)
    active = np.ones(n_rows, dtype=bool)
    for _ in range(_MOST_ROUNDS):
        if not active.any():
            break
        seen = active[source]
        rows, goals, gains = _best_moves(
            labels, active, source[seen], target[seen], excess[seen], unknown - least
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
    labels: Rows, active: npt.NDArray[np.bool_], source: Rows, target: Rows, excess: Likeness, cost: float
) -> tuple[Rows, Rows, Likeness]:
    """Find each active row's best move that gains: row, group (-1: out of all), gain.

    `cost` is what a pair adds to the agreement before its excess is counted, below 0.
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
    order = order[gain[order] > _LEAST_GAIN]
    return row[order], goal[order], gain[order]


def _independent(labels: Rows, rows: Rows, goals: Rows, gains: Likeness) -> tuple[Rows, Rows]:
    """Keep the moves with the largest gains, so that no group takes part in two."""
    taken: set[int] = set()
    kept = []
    order = np.lexsort((rows, -gains))
    ends = zip(order.tolist(), labels[rows[order]].tolist(), goals[order].tolist(), strict=True)
    for move, origin, goal in ends:
        if origin not in taken and goal not in taken:
            kept.append(move)
            taken.add(origin)
            if goal >= 0:
                taken.add(goal)
    return rows[kept], goals[kept]
