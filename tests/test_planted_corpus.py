"""The two generated corpora have the clusters they claim; no model is needed."""

from __future__ import annotations

import csv
import runpy
import sys
import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from .helpers.planted import plant

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def normalise(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def clusters_by_text(texts: list[str], clusters: list[int]) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for text, cluster in zip(texts, clusters, strict=True):
        found.setdefault(normalise(text), set()).add(cluster)
    return found


def read_column(path: Path, column: str) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return [row[column] for row in csv.DictReader(file)]


@pytest.mark.parametrize("seed", [0, 1])
def test_plant_gives_distinct_texts_in_clusters_of_one_to_seven(seed: int) -> None:
    texts, clusters = plant(4000, seed)
    assert len(set(texts)) == len(texts) == 4000
    assert set(Counter(clusters).values()) == {1, 2, 3, 4, 5, 6, 7}
    assert all(len(found) == 1 for found in clusters_by_text(texts, clusters).values())


def test_plant_depends_on_the_seed_alone() -> None:
    assert plant(300, 3) == plant(300, 3)
    assert plant(300, 3) != plant(300, 4)


def test_plant_refuses_more_texts_than_its_actions_allow() -> None:
    with pytest.raises(ValueError, match="ask for fewer"):
        plant(50_000)


def test_committed_sample_is_what_the_script_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["generate.py", "--seed", "7", "--out", str(tmp_path)])
    runpy.run_path(str(EXAMPLES / "generate.py"), run_name="__main__")
    for name in ("questions.csv", "gold.csv"):
        assert (tmp_path / name).read_bytes() == (EXAMPLES / name).read_bytes()


def test_sample_gold_covers_every_question_and_splits_no_exact_duplicates() -> None:
    questions = read_column(EXAMPLES / "questions.csv", "question")
    gold = [int(number) for number in read_column(EXAMPLES / "gold.csv", "cluster")]
    assert read_column(EXAMPLES / "questions.csv", "id") == read_column(EXAMPLES / "gold.csv", "id")
    assert len(questions) == len(set(questions)) == 2000
    assert all(len(found) == 1 for found in clusters_by_text(questions, gold).values())
    shared = sum(size for size in Counter(gold).values() if size > 1)
    assert 0.35 <= shared / len(gold) <= 0.45
