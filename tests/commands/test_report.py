"""`dupmine report`, `dupmine review --export` and `dupmine audit`, for a run and for a store."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dupmine import Miner, MiningResult, Store
from dupmine.report.journal import open_journal, review_folder
from dupmine.report.review import Review, make_questions

from ..helpers import shell
from ..helpers.results import make_result


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    make_result(60).save(folder)
    return folder


def label(folder: Path, result: MiningResult, size: int = 150) -> None:
    """Answer an audit as a reviewer does who knows the groups of the made-up texts."""
    with open_journal(review_folder(folder), "ann") as journal:
        review = Review(result, make_questions(result, "audit", size), journal, "ann")
        while question := review.state()["question"]:
            left, right = (text.lower().split(" ")[1] for text in question["texts"])
            review.answer(question["number"], ["duplicate" if left == right else "different"])
            if review.state()["question"] is None:
                review.new_session()


def called(*args: str | Path) -> str:
    outcome = shell.dupmine(*args)
    assert (outcome.code, outcome.err) == (0, "")
    return outcome.out


def test_a_report_lies_beside_the_run(run: Path) -> None:
    path = run.with_name("run.html")
    assert called("report", run).startswith(f"written to {path} (")
    first = path.read_bytes()
    assert "Not audited" in first.decode()
    called("report", run)
    assert path.read_bytes() == first
    assert {file.name for file in run.parent.iterdir()} == {"run", "run.html", "run.thresholds.parquet"}
    assert MiningResult.load(run)  # nothing was put into the run's own folder
    outcome = shell.dupmine("report", run, "-o", path)
    assert (outcome.code, outcome.err) == (2, f"dupmine: {path} exists: give --overwrite or another name\n")


def test_an_audit_is_in_the_report(run: Path) -> None:
    result = MiningResult.load(run)
    label(run, result)
    printed = called("audit", run).splitlines()
    assert printed[0].endswith("labels by ann, 0 unsure (95% intervals)")
    estimate = json.loads(called("audit", run, "--json"))
    group_of = result.clusters["text"].str.lower().str.split(" ").str[1]
    heads = result.clusters["is_representative"]
    head_of = dict(zip(result.clusters["cluster_id"][heads], group_of[heads], strict=True))
    right = (group_of == result.clusters["cluster_id"].map(head_of))[~heads]
    assert estimate["removed"]["low"] <= right.mean() <= estimate["removed"]["high"]
    assert estimate["removed"]["population"] == len(right)
    page = run.with_name("run.html")
    called("report", run)
    assert f"{estimate['removed']['value']:.1%}" in page.read_text(encoding="utf-8")
    assert "Not audited" not in page.read_text(encoding="utf-8")


def test_labels_are_exported_and_read_again(run: Path, tmp_path: Path) -> None:
    label(run, MiningResult.load(run), 100)
    path = tmp_path / "labels.parquet"
    assert called("review", run, "--export", path).endswith(f"labels written to {path}\n")
    assert len(pq.read_table(path)) >= 90
    assert called("audit", run, "--labels", path) == called("audit", run)


def test_labels_are_taken_over(run: Path, tmp_path: Path) -> None:
    clusters = pq.read_table(run / "clusters.parquet")["doc_id"].to_pylist()
    pairs = tmp_path / "pairs.csv"
    pairs.write_text(f"qid1,qid2,is_duplicate\n{clusters[0]},{clusters[1]},1\n{clusters[0]},nobody,0\n")
    said = called("review", run, "--import", pairs, "--reviewer", "ann")
    assert said.startswith("1 labels taken over; 1 left out: a document is not in the result\n")
    called("review", run, "--export", tmp_path / "labels.parquet")
    [label] = pq.read_table(tmp_path / "labels.parquet").to_pylist()
    assert (label["left_id"], label["right_id"]) == (clusters[0], clusters[1])
    assert (label["label"], label["source"], label["reviewer"]) == ("duplicate", "import", "ann")
    both = shell.dupmine("review", run, "--import", pairs, "--export", tmp_path / "again.parquet")
    assert (both.code, "give one of --import and --export" in both.err) == (2, True)


def test_an_audit_suggests_a_threshold_and_counts_labels(run: Path) -> None:
    label(run, MiningResult.load(run), 300)
    out = called("audit", run, "--target-precision", "0.9", "--how-many", "0.02")
    assert "chosen by the lower bound on half of the labels" in out
    assert "more labels for plus or minus 0.02: " in out
    found = json.loads(called("audit", run, "--how-many", "0.5", "--json"))
    assert found["labels_needed"] == {"accepted": 0, "missed": 0, "removed": 0}


def test_labels_of_another_run_are_refused(run: Path, tmp_path: Path) -> None:
    label(run, MiningResult.load(run), 100)
    path = tmp_path / "labels.parquet"
    called("review", run, "--export", path)
    other = tmp_path / "other"
    make_result(60, seed=1).save(other)
    outcome = shell.dupmine("audit", other, "--labels", path)
    assert outcome.code == 2
    assert "refused: of another run" in outcome.err
    outcome = shell.dupmine("audit", other)
    assert "no label of an audit. Make some with `dupmine review" in outcome.err


def test_a_store_is_shown_as_well(tmp_path: Path, miner: Miner) -> None:
    path = tmp_path / "questions.csv"
    path.write_text(shell.QUESTIONS, encoding="utf-8")
    store = Store.create(tmp_path / "store", miner.settings, progress=False)
    store.__dict__["models"] = miner.models
    store.update_files([path])
    assert called("show", tmp_path / "store").startswith("3 of 3 clusters: the largest first")
    called("report", tmp_path / "store")
    assert (tmp_path / "store.html").is_file()
    assert store.verify() == []


def test_a_report_loads_no_torch(run: Path) -> None:
    program = (
        "import sys; from dupmine.cli import main\n"
        f"sys.argv = ['dupmine', 'report', {str(run)!r}]\nmain()\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)
