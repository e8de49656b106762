"""A run against labels in files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from dupmine.errors import InputError
from dupmine.evaluation.run import evaluate_run
from dupmine.results.run_folder import open_run, write_run
from dupmine.schema import CLUSTERS, PAIRS

# 3 has the text of 1; the pair 1 5 is below the floor, so the clustering added it.
RUN_PAIRS = [
    ("1", "2", 0.9, 0.8, True, "cross-encoder"),
    ("1", "4", 0.8, 0.2, False, "cross-encoder"),
    ("2", "6", 0.7, 0.7, True, "cross-encoder"),
    ("4", "5", 0.85, 0.9, True, "cross-encoder"),
    ("4", "6", 0.65, 0.1, False, "cross-encoder"),
    ("1", "5", 0.5, 0.9, True, "cross-encoder"),
    ("1", "3", 1.0, 1.0, True, "exact"),
]


def pair_row(
    left: str, right: str, cosine: float, probability: float, accepted: bool, by: str
) -> dict[str, Any]:
    named = {"left_id": left, "right_id": right, "cosine": cosine, "is_duplicate": accepted, "decided_by": by}
    named |= {"scored_by": by}
    return dict.fromkeys(PAIRS.names, probability) | named


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
        "pairs": pa.Table.from_pylist([pair_row(*pair) for pair in RUN_PAIRS], schema=PAIRS),
        "deduplicated": documents,
        "removed": gone,
    }
    with open_run(folder) as run:
        write_run(
            run.staging,
            tables,
            {"settings": {"retrieval": {"floor": 0.6}}, "columns": {}, "counts": {}, "seconds": {}},
        )
    return folder


def labels(folder: Path, content: str) -> Path:
    path = folder / "labels.csv"
    path.write_text(content)
    return path


def test_labelled_pairs(run: Path, tmp_path: Path) -> None:
    path = labels(tmp_path, "qid1,qid2,is_duplicate\n1,2,1\n1,3,0\n1,4,1\n5,4,1\n6,NA,0\n6,99,1\n")
    assert evaluate_run(run, path)["clusters"] == pytest.approx(
        {"labelled pairs": 5, "not in the run": 1, "precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3}
    )


def test_labelled_pairs_as_words_and_in_other_formats(run: Path, tmp_path: Path) -> None:
    expected = {"labelled pairs": 2, "not in the run": 0, "precision": 1.0, "recall": 1.0, "f1": 1.0}
    path = labels(tmp_path, "qid1,qid2,is_duplicate\n1,2,True\n1,007,false\n")
    assert evaluate_run(run, path)["clusters"] == expected
    lines = tmp_path / "labels.jsonl"
    lines.write_text(
        '{"qid1": 1, "qid2": 2, "is_duplicate": true}\n{"qid1": 1, "qid2": 6, "is_duplicate": 0}\n'
    )
    assert evaluate_run(run, lines)["clusters"] == expected
    parquet = tmp_path / "labels.parquet"
    pd.DataFrame({"qid1": [1, 1], "qid2": [2, 6], "is_duplicate": [True, False]}).to_parquet(parquet)
    assert evaluate_run(run, parquet)["clusters"] == expected


def test_gold_clusters(run: Path, tmp_path: Path) -> None:
    path = labels(tmp_path, "id,cluster\n1,x\n2,x\n3,y\n4,z\n5,z\n6,w\nNA,v\n99,x\n")
    clusters = evaluate_run(run, path)["clusters"]
    assert (clusters["labelled documents"], clusters["not in the run"]) == (7, 1)
    assert (clusters["pair_precision"], clusters["pair_recall"]) == (0.5, 1.0)


def test_stages_against_labelled_pairs(run: Path, tmp_path: Path) -> None:
    content = "qid1,qid2,is_duplicate\n3,1,1\n3,2,1\n4,6,1\n5,1,1\n2,6,0\n6,5,0\n4,1,0\n6,99,1\n"
    stages = evaluate_run(run, labels(tmp_path, content))
    assert stages["clusters"] == pytest.approx(
        {"labelled pairs": 7, "not in the run": 1, "precision": 1.0, "recall": 0.5, "f1": 2 / 3}
    )
    # Accepted: 3-1 and 3-2 by the text of 1, and 2-6. Of the four duplicates, 5-1 is not a candidate, and
    # 4-6 is the second candidate of 6 and the third of 4.
    assert stages["accepted"] == pytest.approx({"precision": 2 / 3, "recall": 0.5, "f1": 4 / 7})
    assert stages["candidates"] == {
        "recall@1": 0.5,
        "recall@5": 0.75,
        "recall@10": 0.75,
        "recall@20": 0.75,
        "recall@50": 0.75,
        "recall": 0.75,
    }
    # Gold {1 2 3 5} {4 6}, found {1 2 3} {4 5} {6}: of 7 gold pairs 3 found, of 4 found pairs 3 gold.
    closure = stages["closure"]
    assert closure["labelled documents"] == 6
    assert (closure["pair_precision"], closure["pair_recall"]) == (3 / 4, 3 / 7)


def test_stages_against_gold_clusters(run: Path, tmp_path: Path) -> None:
    path = labels(tmp_path, "id,cluster\n1,x\n2,x\n3,x\n4,y\n5,y\n6,x\n")
    stages = evaluate_run(run, path)
    # Texts x = {1 2 6} and y = {4 5}: accepted 1-2, 2-6 and 4-5 of four pairs; 1-6 is not a candidate.
    assert stages["accepted"] == pytest.approx({"precision": 1.0, "recall": 0.75, "f1": 6 / 7})
    assert (stages["candidates"]["recall@1"], stages["candidates"]["recall"]) == (0.75, 0.75)
    assert "closure" not in stages


def test_stages_of_a_run_without_pairs(run: Path, tmp_path: Path) -> None:
    stages = evaluate_run(run, labels(tmp_path, "qid1,qid2,is_duplicate\n6,007,1\n6,NA,0\n"))
    assert stages["accepted"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0}
    assert set(stages["candidates"].values()) == {0.0}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            "a,b\n1,2\n",
            "expected the columns id, cluster or qid1, qid2, is_duplicate, found a, b",
        ),
        ("", "expected the columns id, cluster or qid1, qid2, is_duplicate, found an empty file"),
        ("id,cluster\n1,\n", "a label or an id is missing; remove or complete that row"),
        ("id,cluster\n1,a\n1,b\n", "the id '1' occurs twice; give each document one cluster"),
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
        evaluate_run(run, path)
    assert str(caught.value) == f"{path}: {expected}"


def test_missing_labels_and_missing_run(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv: no such file: check the path$"):
        evaluate_run(run, tmp_path / "none.csv")
    with pytest.raises(InputError, match=r"is not a run of dupmine: manifest\.json is missing$"):
        evaluate_run(tmp_path, tmp_path / "none.csv")
