"""A run against labels in files."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from dupmine.errors import InputError
from dupmine.evaluation.run import evaluate
from dupmine.schema import CLUSTERS, PAIRS
from dupmine.store.run import open_run, write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a run with the clusters {1 2 3} and {4 5} and the single documents 6, NA and 007."""
    folder = tmp_path_factory.mktemp("evaluation") / "run"
    lines = [
        {
            "cluster_id": int(i > 3),
            "doc_id": str(i),
            "text": f"text {i}",
            "is_representative": i in {1, 4},
            "cluster_size": 3 if i < 4 else 2,
            "probability": 0.9,
            "weakest_link": 0.8,
        }
        for i in range(1, 6)
    ]
    documents = pa.table({"doc_id": ["1", "4", "6", "NA", "007"], "text": ["a", "b", "c", "d", "e"]})
    gone = pa.table({"doc_id": ["2", "3", "5"], "text": ["a", "b", "c"], "dupmine_position": [1, 2, 4]})
    tables = {
        "clusters": pa.Table.from_pylist(lines, schema=CLUSTERS),
        "pairs": PAIRS.empty_table(),
        "deduplicated": documents,
        "removed": gone,
    }
    with open_run(folder) as run:
        write_run(run.staging, tables, {"settings": {}, "columns": {}, "counts": {}, "seconds": {}})
    return folder


def labels(folder: Path, content: str) -> Path:
    path = folder / "labels.csv"
    path.write_text(content)
    return path


def test_labelled_pairs(run: Path, tmp_path: Path) -> None:
    path = labels(tmp_path, "qid1,qid2,is_duplicate\n1,2,1\n1,3,0\n1,4,1\n5,4,1\n6,NA,0\n6,99,1\n")
    assert evaluate(run, path) == pytest.approx(
        {"labelled pairs": 5, "not in the run": 1, "precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3}
    )


def test_labelled_pairs_as_words_and_in_parquet(run: Path, tmp_path: Path) -> None:
    expected = {"labelled pairs": 2, "not in the run": 0, "precision": 1.0, "recall": 1.0, "f1": 1.0}
    path = labels(tmp_path, "qid1,qid2,is_duplicate\n1,2,True\n1,007,false\n")
    assert evaluate(run, path) == expected
    parquet = tmp_path / "labels.parquet"
    pd.DataFrame({"qid1": [1, 1], "qid2": [2, 6], "is_duplicate": [True, False]}).to_parquet(parquet)
    assert evaluate(run, parquet) == expected


def test_gold_clusters(run: Path, tmp_path: Path) -> None:
    path = labels(tmp_path, "id,cluster\n1,x\n2,x\n3,y\n4,z\n5,z\n6,w\nNA,v\n99,x\n")
    found = evaluate(run, path)
    assert (found["labelled documents"], found["not in the run"]) == (7, 1)
    assert (found["pair_precision"], found["pair_recall"]) == (0.5, 1.0)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            "a,b\n1,2\n",
            "expected the columns id, cluster or qid1, qid2, is_duplicate, found a, b",
        ),
        ("", "no readable CSV or Parquet: No columns to parse from file"),
        ("id,cluster\n1,\n", "a label or an id is missing; remove or complete that row"),
        ("id,cluster\n1,a\n1,b\n", "the id '1' is there twice; give each document one cluster"),
        ("id,cluster\nx,a\n", "no labelled document is in the run; do the ids match?"),
        (
            "qid1,qid2,is_duplicate\n1,2,maybe\n",
            "is_duplicate holds 'maybe'; expected 0 or 1, or true or false",
        ),
    ],
)
def test_labels_that_cannot_be_used(run: Path, tmp_path: Path, content: str, expected: str) -> None:
    path = labels(tmp_path, content)
    with pytest.raises(InputError) as caught:
        evaluate(run, path)
    assert str(caught.value) == f"{path}: {expected}"


def test_missing_labels_and_missing_run(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv: there is no such file$"):
        evaluate(run, tmp_path / "none.csv")
    with pytest.raises(InputError, match=r"is no run of dupmine: manifest\.json is missing$"):
        evaluate(tmp_path, tmp_path / "none.csv")
