"""Count the frequent words of the training questions: retrieval/word_frequencies.tsv.

    python benchmarks/word_frequencies.py DATA

DATA is a folder with `pairs.parquet` (question1, question2, split); only split `train` is counted. Words that
stand in fewer than one question of a thousand hardly lose weight in a static model, so they are left out.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from pathlib import Path

import pandas as pd

OUT = Path(__file__).parent.parent / "retrieval" / "word_frequencies.tsv"
RAREST = 1e-3  # of the questions
WORD = re.compile(r"[^\W_]+|[^\w\s]")


def main() -> None:
    """Count and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with pairs.parquet")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    pairs = pd.read_parquet(
        arguments.data / "pairs.parquet",
        columns=["question1", "question2"],
        filters=[("split", "==", "train")],
    )
    questions = pd.concat([pairs["question1"], pairs["question2"]]).unique()
    write(arguments.out, count_words(list(questions)))


def count_words(questions: list[str]) -> list[tuple[str, int]]:
    """Return the frequent words, marks among them, and how often they stand in all questions together.

    The first, empty word has the count of all the words that are too rare.
    """
    counts = Counter(word for question in questions for word in WORD.findall(question.lower()))
    frequent = sorted((word, n) for word, n in counts.items() if n >= RAREST * len(questions))
    rest = counts.total() - sum(n for _, n in frequent)
    return [("", rest), *sorted(frequent, key=lambda item: (-item[1], item[0]))]


def write(path: Path, counts: list[tuple[str, int]]) -> None:
    """Write words and counts as lines of two columns."""
    path.write_text("".join(f"{word}\t{n}\n" for word, n in counts), encoding="utf-8")


if __name__ == "__main__":
    main()
