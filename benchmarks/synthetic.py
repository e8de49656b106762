"""Write a synthetic corpus of any size: seeded questions with planted duplicates.

    python benchmarks/synthetic.py --texts 100000 --seed 0 --out FOLDER

`questions.csv` (id, question) and `gold.csv` (id, cluster), as examples/generate.py writes them. A cluster
asks one of a few things about four words drawn from a vocabulary of 18,000, in the wordings below and with
the sample's changes of spelling. The templates of the sample would not do: what they say outweighs what they
ask about, so that look-alikes would grow with the corpus. The same seed always writes the same bytes.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

from dupmine.examples.generate import NEAR, rewrite, write_csv
from dupmine.inference.locate import locate_model
from dupmine.settings import BUILTIN_CROSS_ENCODER

DUPLICATE_SHARE = 0.4  # of the texts stand in clusters of two and more
SIZES, SIZE_WEIGHTS = (2, 3, 4, 5, 6), (55, 25, 12, 6, 2)
MEAN_SIZE = sum(s * w for s, w in zip(SIZES, SIZE_WEIGHTS, strict=True)) / sum(SIZE_WEIGHTS)
UNTIDY_SHARE = 0.15
TRIES = 100
WORDINGS = (
    (
        "How do I {} the {} with a {} {}?",
        "How can I {} the {} with a {} {}?",
        "What is the best way to {} the {} with a {} {}?",
        "What is a good way to {} the {} with a {} {}?",
    ),
    (
        "Where can I find a {} {} for the {} {}?",
        "Where do I get a {} {} for the {} {}?",
        "What is a good place to find a {} {} for the {} {}?",
    ),
    (
        "Why does the {} {} need a {} {}?",
        "For what reason does the {} {} need a {} {}?",
        "What does the {} {} need a {} {} for?",
    ),
)
COMMON = 2000  # the first words of the vocabulary, which say too little


def main() -> None:
    """Parse the command line and write both files."""
    parser = argparse.ArgumentParser(description="Write a synthetic corpus with planted duplicates.")
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=DUPLICATE_SHARE, help="of texts that have a duplicate")
    parser.add_argument("--out", type=Path, required=True, help="folder for questions.csv and gold.csv")
    options = parser.parse_args()
    write(options.out, texts=options.texts, seed=options.seed, share=options.share)


def write(out: Path, *, texts: int, seed: int = 0, share: float = DUPLICATE_SHARE) -> None:
    """Write the questions and their clusters, in random order, into a folder."""
    lines = list(generate(texts=texts, seed=seed, share=share))
    random.Random(seed).shuffle(lines)
    out.mkdir(parents=True, exist_ok=True)
    write_csv(
        out / "questions.csv", ("id", "question"), ((str(i), text) for i, (_, text) in enumerate(lines))
    )
    write_csv(
        out / "gold.csv", ("id", "cluster"), ((str(i), cluster) for i, (cluster, _) in enumerate(lines))
    )


def generate(*, texts: int, seed: int = 0, share: float = DUPLICATE_SHARE) -> Iterator[tuple[int, str]]:
    """Yield (cluster, question), a cluster at a time; a share of the texts has a duplicate.

    All texts differ, and those of one cluster ask the same in other words or other spelling.
    """
    rng = random.Random(seed)
    vocabulary = read_vocabulary()
    clustered = share / MEAN_SIZE
    chance = clustered / (clustered + 1 - share)  # that a cluster has more than one text
    left, cluster = texts, 0
    used: set[tuple[str, ...]] = set()
    while left:
        words = tuple(rng.sample(vocabulary, 4))
        if words in used:
            continue
        used.add(words)
        size = min(rng.choices(SIZES, SIZE_WEIGHTS)[0] if rng.random() < chance else 1, left)
        for text in ask([wording.format(*words) for wording in rng.choice(WORDINGS)], size, rng):
            yield cluster, text
        left, cluster = left - size, cluster + 1


def read_vocabulary() -> list[str]:
    """Return the longer, less common words that the shipped cross-encoder's tokenizer has whole."""
    path = locate_model(BUILTIN_CROSS_ENCODER) / "tokenizer.json"
    tokens = json.loads(path.read_text(encoding="utf-8"))["model"]["vocab"]
    return [token for token in tokens if re.fullmatch("[a-z]{4,}", token)][COMMON:]


def ask(phrasings: list[str], size: int, rng: random.Random) -> list[str]:
    """Return `size` different texts that ask one thing: first in other words, then in other spelling."""
    asked = rng.sample(phrasings, min(size, len(phrasings)))
    asked = [rewrite(text, NEAR, rng) if rng.random() < UNTIDY_SHARE else text for text in asked]
    distinct = dict.fromkeys(asked)
    tries = 0
    while len(distinct) < size:
        # Without a question mark and long words a text has no other spelling; the wordings have more.
        known = list(distinct) if tries < TRIES else phrasings
        distinct[rewrite(rng.choice(known), NEAR, rng)] = None
        tries += 1
    return list(distinct)


if __name__ == "__main__":
    main()
