"""Choose the actions of planted.txt anew, for other weights: `python -m tests.helpers.choose_planted`.

It drops the fewest it can find until the shipped models tell all wordings of those that stay apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import numpy as np

from dupmine import Miner
from dupmine.schema import probabilities

from .planted import ACTIONS, TEMPLATES, read_actions

LEAST_INSIDE = 0.55
MOST_BETWEEN = 0.30


def main() -> None:
    """Rewrite planted.txt."""
    miner = Miner()
    actions = read_actions()
    while dropped := misjudged(actions, miner):
        print(f"{len(dropped)} of {len(actions)} actions dropped")
        actions = [action for action in actions if action not in dropped]
    write(set(actions))


def misjudged(actions: list[str], miner: Miner) -> set[str]:
    """Return actions without which no two that stay look alike, to either model's last word."""
    texts = [template.format(action) for action in actions for template in TEMPLATES]
    result = miner.mine(texts)
    of_row = np.empty(int(result.row_of.max()) + 1, np.int64)
    of_row[result.row_of] = np.arange(len(texts)) // len(TEMPLATES)
    pairs = result.scored_pairs
    left, right = of_row[pairs.left], of_row[pairs.right]
    own = probabilities(pairs.pair_logit)
    low, high = np.minimum(own, pairs.probability), np.maximum(own, pairs.probability)
    bad = set(left[(left == right) & (low < LEAST_INSIDE)].tolist())
    apart = (left != right) & (high > MOST_BETWEEN)
    conflicts = set(zip(left[apart].tolist(), right[apart].tolist(), strict=True))
    while conflicts := {pair for pair in conflicts if bad.isdisjoint(pair)}:
        [(worst, _)] = Counter(end for pair in sorted(conflicts) for end in pair).most_common(1)
        bad.add(worst)
    return {actions[i] for i in bad}


def write(kept: Collection[str]) -> None:
    """Keep some actions of planted.txt."""
    lines = []
    for line in ACTIONS.read_text(encoding="utf-8").splitlines():
        verb, things = line.split(": ")
        if there := [thing for thing in things.split(", ") if f"{verb} {thing}" in kept]:
            lines.append(f"{verb}: {', '.join(there)}\n")
    ACTIONS.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
