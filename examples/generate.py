"""Write the sample corpus: the hand-written questions, joined by generated ones with planted duplicates.

    python examples/generate.py --seed 7 --out examples

The same seed always writes the same bytes: `questions.csv` (id, question) and `gold.csv` (id, cluster), where
two questions have the same cluster number when, and only when, they ask the same thing.
"""

from __future__ import annotations

import argparse
import csv
import random
import re
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
SIZES = (2, 3, 4, 5, 6, 7, 8)
SIZE_WEIGHTS = (50, 25, 12, 6, 4, 2, 1)
INTENTS = 1250
UNTIDY_SHARE = 0.2
EXACT_SHARE = 0.25

Change = Callable[[str, random.Random], str]


def read_handwritten(path: Path) -> list[list[str]]:
    """Return the hand-written clusters; a singleton is a cluster of one."""
    clusters: dict[str, list[str]] = defaultdict(list)
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            clusters[row["cluster"]].append(row["question"])
    return list(clusters.values())


def read_phrasings(path: Path) -> Iterator[list[str]]:
    """Yield, for each intent of each entity, every way the templates have to ask it."""
    with path.open("rb") as file:
        topics = tomllib.load(file)["topic"]
    for topic in topics:
        for templates in topic["intents"]:
            for entity in topic["entities"]:
                yield [template.format(e=entity) for template in templates]


def spread_spaces(text: str, rng: random.Random) -> str:
    """Double one space and add one at the end."""
    place = rng.choice([match.start() for match in re.finditer(" ", text)])
    return f"{text[:place]} {text[place:]} "


def widen_mark(text: str, _: random.Random) -> str:
    """Use the full-width question mark, which NFKC maps to the plain one."""
    return text.replace("?", "\uff1f")


def hold_spaces(text: str, _: random.Random) -> str:
    """Use no-break spaces, which NFKC maps to plain ones."""
    return text.replace(" ", "\u00a0")


def join_letters(text: str, _: random.Random) -> str:
    """Use the ligatures of fi and fl, which NFKC takes apart."""
    return text.replace("fi", "\ufb01").replace("fl", "\ufb02")


def lower_case(text: str, _: random.Random) -> str:
    """Write all in small letters."""
    return text.lower()


def upper_case(text: str, _: random.Random) -> str:
    """Write all in capitals."""
    return text.upper()


def drop_mark(text: str, _: random.Random) -> str:
    """Leave out the question mark."""
    return text.replace("?", "").rstrip()


def repeat_mark(text: str, _: random.Random) -> str:
    """Ask with emphasis."""
    return text.replace("?", "???")


def curl_apostrophe(text: str, _: random.Random) -> str:
    """Use the typographic apostrophe, which NFKC keeps."""
    return text.replace("'", "\u2019")


def swap_letters(text: str, rng: random.Random) -> str:
    """Exchange two neighbouring letters inside a long, small-letter word."""
    words = list(re.finditer(r"\b[a-z]{7,}\b", text))
    if not words:
        return text
    word = rng.choice(words)
    place = rng.randrange(word.start() + 1, word.end() - 2)
    return text[:place] + text[place + 1] + text[place] + text[place + 2 :]


EXACT: tuple[Change, ...] = (lower_case, upper_case, spread_spaces, widen_mark, hold_spaces, join_letters)
NEAR: tuple[Change, ...] = (drop_mark, repeat_mark, curl_apostrophe, swap_letters)


def rewrite(text: str, changes: Sequence[Change], rng: random.Random) -> str:
    """Apply one of the changes, at random."""
    return rng.choice(changes)(text, rng)


def plant_cluster(phrasings: Sequence[str], size: int, rng: random.Random) -> list[str]:
    """Return `size` different strings that ask the same: other words first, then other spelling."""
    texts = rng.sample(phrasings, min(size, len(phrasings)))
    texts = [rewrite(text, NEAR, rng) if rng.random() < UNTIDY_SHARE else text for text in texts]
    if rng.random() < EXACT_SHARE:
        texts[-1] = rewrite(texts[0], EXACT, rng)
    distinct = list(dict.fromkeys(texts))
    while len(distinct) < size:
        text = rewrite(rng.choice(phrasings), EXACT + NEAR, rng)
        if text not in distinct:
            distinct.append(text)
    return distinct


def generate_clusters(intents: Sequence[list[str]], questions: int, rng: random.Random) -> list[list[str]]:
    """Ask every intent once, and the first ones more often, so that there are `questions` in all."""
    spare = questions - len(intents)
    clusters = []
    for phrasings in intents:
        size = min(rng.choices(SIZES, SIZE_WEIGHTS)[0], spare + 1)
        clusters.append(plant_cluster(phrasings, size, rng))
        spare -= size - 1
    return clusters


def shuffle(clusters: Iterable[list[str]], rng: random.Random) -> list[tuple[int, str]]:
    """Return (cluster, question) in random order, clusters numbered from 1 by first appearance."""
    rows = [(number, text) for number, texts in enumerate(clusters) for text in texts]
    rng.shuffle(rows)
    numbers: dict[int, int] = {}
    return [(numbers.setdefault(number, len(numbers) + 1), text) for number, text in rows]


def write_csv(path: Path, header: tuple[str, str], rows: Iterable[tuple[str, object]]) -> None:
    """Write rows under a header, in UTF-8 with Unix line ends."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def build(*, seed: int, questions: int) -> list[tuple[int, str]]:
    """Return (cluster, question) of the whole sample, in file order.

    A ValueError says that `questions` is too small to ask every question once.
    """
    rng = random.Random(seed)
    handwritten = read_handwritten(HERE / "handwritten.csv")
    intents = rng.sample(list(read_phrasings(HERE / "templates.toml")), INTENTS)
    generated = questions - sum(map(len, handwritten))
    if generated < len(intents):
        least = questions - generated + len(intents)
        raise ValueError(f"the sample needs at least {least} questions, got {questions}; raise --questions")
    return shuffle(handwritten + generate_clusters(intents, generated, rng), rng)


def main() -> None:
    """Parse the command line and write both files."""
    parser = argparse.ArgumentParser(description="Write the sample corpus and its gold clusters.")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--questions", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=HERE, help="folder for questions.csv and gold.csv")
    options = parser.parse_args()
    rows = build(seed=options.seed, questions=options.questions)
    options.out.mkdir(parents=True, exist_ok=True)
    ids = [f"q{number:04d}" for number in range(1, len(rows) + 1)]
    questions = zip(ids, (text for _, text in rows), strict=True)
    gold = zip(ids, (cluster for cluster, _ in rows), strict=True)
    write_csv(options.out / "questions.csv", ("id", "question"), questions)
    write_csv(options.out / "gold.csv", ("id", "cluster"), gold)


if __name__ == "__main__":
    main()
