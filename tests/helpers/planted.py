"""A synthetic corpus whose planted clusters the shipped models find exactly: the end-to-end tests' oracle.

`planted.txt` holds the actions, a verb and its objects a line ("draw: a giraffe, an owl"). They were chosen
with the shipped models by `choose_planted.py`, so that no two of them look alike: of the candidates (cosine
>= 0.60), those of one cluster have a probability of at least 0.55, all others of at most 0.30, to the
cross-encoder alone and to the corpus-aware decision, whatever the wordings.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import accumulate, cycle, pairwise, takewhile
from pathlib import Path

ACTIONS = Path(__file__).with_name("planted.txt")
TEMPLATES = ("How do I {}?", "How can I {}?", "What is the best way to {}?", "What is a good way to {}?")
SIZES = (1, 1, 2, 3, 4, 5, 6, 7, 7, 7, 7, 7, 7, 7)
WORDINGS = (1, 2, 3)
WORDING_WEIGHTS = (4, 4, 2)

# Each of these leaves the normalised text (NFKC, case folded, runs of white space made one space) as it was.
EXACT_CHANGES: tuple[Callable[[str], str], ...] = (
    str.lower,
    str.upper,
    lambda text: f"  {text} ",
    lambda text: text.replace(" ", "  ", 1),
    lambda text: text.replace(" ", "\u00a0"),
    lambda text: text.replace(" ", "\u2003"),
)


def read_actions() -> list[str]:
    """Return the actions, such as "draw a giraffe"."""
    lines = (line.split(": ") for line in ACTIONS.read_text(encoding="utf-8").splitlines())
    return [f"{verb} {thing}" for verb, things in lines for thing in things.split(", ")]


def plant_cluster(action: str, size: int, rng: random.Random) -> list[str]:
    """Return `size` different strings that ask how to do it, in up to three wordings."""
    wordings = min(size, rng.choices(WORDINGS, WORDING_WEIGHTS)[0])
    texts = [template.format(action) for template in rng.sample(TEMPLATES, wordings)]
    exact = [change(text) for text in texts for change in EXACT_CHANGES]
    return texts + rng.sample(exact, size - wordings)


def plant_sizes(n: int) -> list[int]:
    """Return cluster sizes that sum to `n`: `SIZES` over and over, the last one cut to fit."""
    ends = list(takewhile(lambda end: end < n, accumulate(cycle(SIZES))))
    return [end - start for start, end in pairwise([0, *ends, n])]


def plant(n: int = 4000, seed: int = 0) -> tuple[list[str], list[int]]:
    """Return `n` different texts in random order, and the number of the planted cluster of each.

    A ValueError says that `n` asks for more clusters than there are actions.
    """
    rng = random.Random(seed)
    sizes = plant_sizes(n)
    actions = read_actions()
    if len(sizes) > len(actions):
        raise ValueError(
            f"{n} texts need {len(sizes)} actions, planted.txt has {len(actions)}; ask for fewer"
        )
    chosen = zip(rng.sample(actions, len(sizes)), sizes, strict=True)
    rows = [
        (text, cluster)
        for cluster, (action, size) in enumerate(chosen)
        for text in plant_cluster(action, size, rng)
    ]
    rng.shuffle(rows)
    return [text for text, _ in rows], [cluster for _, cluster in rows]
