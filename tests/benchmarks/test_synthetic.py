"""The generator of synthetic corpora: the same bytes from a seed, and clusters that are what it says."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from dupmine.benchmarks import synthetic
from dupmine.corpus.unique import collapse_exact_duplicates


def read(folder: Path) -> pd.DataFrame:
    tables = [pd.read_csv(folder / f"{name}.csv", keep_default_na=False) for name in ("questions", "gold")]
    return tables[0].merge(tables[1], on="id", validate="1:1")


def test_a_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        synthetic.write(tmp_path / name, texts=200, seed=seed)
    for file in ("questions.csv", "gold.csv"):
        first, again, other = ((tmp_path / name / file).read_bytes() for name in "abc")
        assert first == again
        assert first != other


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_the_share_of_texts_with_a_duplicate(tmp_path: Path, share: float) -> None:
    synthetic.write(tmp_path, texts=5000, seed=1, share=share)
    corpus = read(tmp_path)
    assert len(corpus) == 5000
    sizes = corpus["cluster"].map(corpus["cluster"].value_counts())
    assert (sizes > 1).mean() == pytest.approx(share, abs=0.03)
    assert len(collapse_exact_duplicates(pa.chunked_array([corpus["question"].tolist()]))) == 5000


def test_clusters_ask_about_the_same_words() -> None:
    rows = list(synthetic.generate(texts=300, seed=2))
    vocabulary = set(synthetic.read_vocabulary())
    clusters = pd.DataFrame(rows, columns=["cluster", "text"]).groupby("cluster")["text"]
    words = [[vocabulary & set(text.rstrip("?").split()) for text in texts] for _, texts in clusters]
    # One word of a text may be spelt otherwise.
    assert all(len(text & texts[0]) >= 2 for texts in words for text in texts)
    asked = [frozenset(set.union(*texts)) for texts in words]
    assert len(set(asked)) == len(asked)


def test_corpora_of_one_seed_begin_alike() -> None:
    small, large = (list(synthetic.generate(texts=n, seed=3)) for n in (50, 500))
    assert small[:40] == large[:40]


def test_texts_without_another_spelling_do_not_go_on_for_ever() -> None:
    class Impatient(random.Random):
        draws = 0

        def choice(self, seq: Any) -> Any:
            self.draws += 1
            assert self.draws < 10_000
            return super().choice(seq)

    for seed in range(300):  # some of them begin with the text that has no question mark
        assert len(set(synthetic.ask(["Why is the load clever?"], 3, Impatient(seed)))) == 3
