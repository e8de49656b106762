"""The labelled questions of the benchmarks: a corpus of any size, and F1 on the pairs that are in it.

DATA is a folder with `questions-eval.csv` (qid, question) and `pairs.parquet` (qid1, qid2, is_duplicate,
split). A smaller corpus holds the questions of the first labelled pairs, so that it has duplicates too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dupmine.evaluation.metrics import pair_metrics
from dupmine.schema import Flags, Rows

FILE = "questions-eval.csv"


def read_questions(file: Path) -> pd.DataFrame:
    """Return the columns qid and question, both as text."""
    return pd.read_csv(file, dtype=str, keep_default_na=False)


def read_pairs(data: Path, splits: tuple[str, ...] = ("valid", "test")) -> pd.DataFrame:
    """Return the labelled pairs of some splits; the ids are text."""
    pairs = pd.read_parquet(data / "pairs.parquet", columns=["qid1", "qid2", "is_duplicate", "split"])
    ids = {name: pairs[name].astype(str) for name in ("qid1", "qid2")}
    return pairs.assign(**ids)[pairs["split"].isin(splits)].reset_index(drop=True)


def corpus_of(data: Path, limit: int | None, folder: Path) -> Path:
    """Return the file of all questions, or write one of the first `limit` into `folder` and return that."""
    whole = data / FILE
    if limit is None:
        return whole
    questions = read_questions(whole)
    asked = pd.unique(read_pairs(data)[["qid1", "qid2"]].to_numpy().ravel())[:limit]
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"questions-{limit}.csv"
    questions[questions["qid"].isin(asked)].to_csv(part, index=False)
    return part


class Judge:
    """The labelled pairs whose questions are both in a corpus, as positions there."""

    def __init__(self, pairs: pd.DataFrame, qids: npt.ArrayLike) -> None:
        """Look the pairs up among the ids of the corpus, in the corpus's order."""
        place = pd.Series(np.arange(len(np.asarray(qids))), index=np.asarray(qids))
        both = pairs[pairs["qid1"].isin(place.index) & pairs["qid2"].isin(place.index)]
        ends = np.array([place[both[name]].to_numpy(np.int64) for name in ("qid1", "qid2")])
        self.left, self.right = ends.min(axis=0), ends.max(axis=0)
        self.actual: Flags = both["is_duplicate"].to_numpy() == 1
        self._n = len(place)

    def __len__(self) -> int:
        return len(self.left)

    def sample(self, most: int, seed: int = 0) -> Judge:
        """Return at most so many of the pairs, drawn at random."""
        chosen = np.sort(np.random.default_rng(seed).permutation(len(self))[:most])
        part = object.__new__(Judge)
        part.left, part.right = self.left[chosen], self.right[chosen]
        part.actual, part._n = self.actual[chosen], self._n
        return part

    def among(self, left: Rows, right: Rows) -> Flags:
        """Return which labelled pairs are among the given ones, in any orientation."""
        keys = np.minimum(left, right) * self._n + np.maximum(left, right)
        return np.isin(self.left * self._n + self.right, keys)

    def figures(self, accepted: Flags) -> dict[str, float]:
        """Return precision, recall and F1 of what was accepted, and how many pairs are labelled."""
        return {"labelled_pairs": len(self), **pair_metrics(accepted, self.actual)}


def write_figures(path: Path, figures: dict[str, Any]) -> None:
    """Print figures and write them as JSON."""
    text = json.dumps(figures, indent=2)
    print(text)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8")
