"""Labels from elsewhere: taken over by id, and precision and recall on them at each threshold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dupmine import InputError, MiningResult
from dupmine.report.audit import wilson
from dupmine.report.imported import import_labels, measure_imported
from dupmine.report.journal import open_journal, read_journals
from dupmine.report.page import render_report

from ..helpers.results import make_result


@pytest.fixture(scope="module")
def result() -> MiningResult:
    return make_result()


def labelled(result: MiningResult) -> pd.DataFrame:
    """Return random pairs of documents, scored ones among them, with labels by a coin."""
    ids = np.array(result.corpus.documents["doc_id"].to_pylist())
    generator = np.random.default_rng(5)
    pairs = result.scored_pairs
    scored = generator.permutation(len(pairs))[:60]
    ends = np.concatenate(
        [
            np.stack([result.anchors[pairs.right[scored]], result.anchors[pairs.left[scored]]]),
            generator.integers(len(ids), size=(2, 60)),
        ],
        axis=1,
    )
    flags = generator.integers(2, size=ends.shape[1])
    return pd.DataFrame({"qid1": ids[ends[0]], "qid2": ids[ends[1]], "is_duplicate": flags})


def take_over(result: MiningResult, table: pd.DataFrame, folder: Path) -> tuple[int, int]:
    table.to_csv(folder / "labels.csv", index=False)
    with open_journal(folder / "review", "ann") as journal:
        return import_labels(result, folder / "labels.csv", journal, "ann")


def test_precision_and_recall_by_hand(result: MiningResult, tmp_path: Path) -> None:
    table = labelled(result).drop_duplicates(["qid1", "qid2"])
    table = table[table["qid1"] != table["qid2"]]
    strange = pd.DataFrame({"qid1": ["nobody"], "qid2": table["qid1"][:1], "is_duplicate": [1]})
    assert take_over(result, pd.concat([table, strange]), tmp_path) == (len(table), 1)
    labels = read_journals(tmp_path / "review")
    assert set(labels["source"].to_pylist()) == {"import"}
    found = {
        frozenset((row["left_id"], row["right_id"])): row["label"] == "duplicate"
        for row in labels.to_pylist()
    }
    position = {doc_id: i for i, doc_id in enumerate(result.corpus.documents["doc_id"].to_pylist())}
    pairs = result.scored_pairs
    ends = zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)
    score = dict(zip(ends, pairs.probability.tolist(), strict=True))
    for point in measure_imported(result, labels, [0.3, 0.5, 0.8]):
        accepted = []
        for pair, flag in found.items():
            rows = sorted(int(result.row_of[position[doc_id]]) for doc_id in pair)
            equal = rows[0] == rows[1]
            accepted.append((equal or score.get((rows[0], rows[1]), 0.0) >= point.threshold, flag))
        hits = sum(a and flag for a, flag in accepted)
        n_accepted, n_same = sum(a for a, _ in accepted), sum(flag for _, flag in accepted)
        assert (point.precision.n, point.recall.n) == (n_accepted, n_same)
        assert point.precision.value == pytest.approx(hits / n_accepted)
        assert point.recall.value == pytest.approx(hits / n_same)
        assert (point.recall.low, point.recall.high) == wilson(point.recall.value, n_same)


def test_the_report_says_whose_labels_they_are(result: MiningResult, tmp_path: Path) -> None:
    take_over(result, labelled(result), tmp_path)
    with_labels = render_report(result, name="r", labels=read_journals(tmp_path / "review"))
    assert "audit" in with_labels  # not audited: the page still says how to
    assert len(with_labels) != len(render_report(result, name="r"))


def test_labels_of_other_documents_are_refused(result: MiningResult, tmp_path: Path) -> None:
    strange = pd.DataFrame({"qid1": ["x"], "qid2": ["y"], "is_duplicate": [1]})
    with pytest.raises(InputError, match=r"labels\.csv: no pair of documents of the result"):
        take_over(result, strange, tmp_path)
    gold = pd.DataFrame({"id": ["x"], "cluster": ["1"]})
    with pytest.raises(InputError, match="expected labelled pairs with the columns qid1"):
        take_over(result, gold, tmp_path)
    assert not len(read_journals(tmp_path / "review"))
