"""Labels: journals that outlive a crash, what an audit may use, and reviewers who disagree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from dupmine import InputError, LockError, SettingsError
from dupmine.disk.folder import write_table
from dupmine.report.journal import open_journal, read_journals
from dupmine.report.labels import LABELS, kappa, labels_for_audit, labels_table, read_labels
from dupmine.report.review import Review, make_questions
from dupmine.report.source import fingerprint, text_hash
from dupmine.report.strata import audit_frame

from ..helpers.results import make_result

ROW: dict[str, Any] = {
    "left_id": "a",
    "right_id": "b",
    "left_hash": "1",
    "right_hash": "2",
    "label": "duplicate",
    "reviewer": "ann",
    "decided_at": "2026-01-02T03:04:05.000006+00:00",
    "session": "s",
    "seconds": 1.5,
    "note": "",
    "revealed_score": False,
    "source": "audit",
    "sample_id": "x",
    "stratum": "y",
    "inclusion_probability": 0.5,
    "probability_then": 0.75,
    "threshold_then": 0.5,
    "run": "r",
}


def test_a_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    with open_journal(tmp_path, "ann") as journal:
        journal.add([ROW])
        journal.add([ROW | {"left_id": "c"}])
    path = tmp_path / "ann" / "journal.jsonl"
    whole = path.read_bytes()
    for cut in range(len(whole) // 2 + 1, len(whole)):
        path.write_bytes(whole[:cut])
        assert [row["left_id"] for row in read_journals(tmp_path).to_pylist()] == ["a"], cut
    with open_journal(tmp_path, "ann") as journal:
        journal.add([ROW | {"left_id": "d"}])
    assert [row["left_id"] for row in read_journals(tmp_path).to_pylist()] == ["a", "d"]


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    with open_journal(tmp_path, "ann") as journal:
        journal.add([ROW])
        journal.add([ROW])
    path = tmp_path / "ann" / "journal.jsonl"
    path.write_bytes(b"{" + path.read_bytes())
    with pytest.raises(InputError, match=rf"^{path}, line 1: .*; remove the line$"):
        read_journals(tmp_path)


def test_an_answer_taken_back_does_not_count(tmp_path: Path) -> None:
    with open_journal(tmp_path, "ann") as journal:
        first = journal.add([ROW])
        journal.add([ROW | {"left_id": "c"}])
        journal.undo(first)
        with pytest.raises(InputError, match="there is no answer"):
            journal.undo(first)
    assert [row["left_id"] for row in read_journals(tmp_path).to_pylist()] == ["c"]


def test_a_reviewer_has_one_journal_at_a_time(tmp_path: Path) -> None:
    with (
        open_journal(tmp_path, "ann"),
        open_journal(tmp_path, "bob"),
        pytest.raises(LockError),
        open_journal(tmp_path, "ann"),
    ):
        pass
    for name in ("../ann", "", ".hidden", "a/b"):
        with pytest.raises(SettingsError, match="--reviewer"), open_journal(tmp_path, name):
            pass


def test_the_latest_label_of_a_reviewer_counts() -> None:
    later = ROW | {
        "label": "different",
        "decided_at": "2026-01-03T00:00:00+00:00",
        "left_id": "b",
        "right_id": "a",
    }
    other = ROW | {"reviewer": "bob"}
    labels = {row["reviewer"]: row["label"] for row in labels_table([later, ROW, other]).to_pylist()}
    assert labels == {"ann": "different", "bob": "duplicate"}
    assert len(labels_table([later, ROW, other])) == 2


def test_labels_survive_a_file(tmp_path: Path) -> None:
    path = tmp_path / "labels.parquet"
    write_table(path, labels_table([ROW, ROW | {"left_id": "c", "inclusion_probability": None}]))
    table = read_labels(path)
    assert table.schema.equals(LABELS)
    assert table["inclusion_probability"].to_pylist() == [0.5, None]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop(["stratum"]), r"the column stratum is missing"),
        (
            lambda table: table.set_column(4, "label", [["perhaps"]]),
            r"label holds 'perhaps'; expected duplicate",
        ),
        (lambda table: table.set_column(11, "source", [["guess"]]), r"source holds 'guess'; expected audit"),
        (lambda table: table.set_column(8, "seconds", [["soon"]]), r"seconds|soon|parse"),
    ],
)
def test_tables_that_are_no_labels(tmp_path: Path, change: Any, message: str) -> None:
    path = tmp_path / "labels.parquet"
    pq.write_table(change(labels_table([ROW])), path)
    with pytest.raises(InputError, match=message):
        read_labels(path)
    with pytest.raises(InputError, match="there is no such file"):
        read_labels(tmp_path / "other.parquet")


def test_an_audit_takes_only_what_was_drawn_for_it(tmp_path: Path) -> None:
    result = make_result(40)
    frame = audit_frame(result)
    with open_journal(tmp_path, "ann") as journal:
        review = Review(result, make_questions(result, "audit", 100), journal, "ann")
        for answer in ["duplicate"] * 30 + ["different"] * 5 + ["unsure"] * 5:
            review.answer(review.state()["question"]["number"], [answer])
    rows = read_journals(tmp_path).to_pylist()
    spoiled = [
        rows[0] | {"source": "borderline"},
        rows[1] | {"inclusion_probability": None},
        rows[2] | {"run": "another"},
        rows[3] | {"left_id": "nobody"},
    ]
    usable = labels_for_audit(result, frame, labels_table([*rows[4:], *spoiled]))
    assert len(usable.labelled.at) + len(usable.labelled.unsure) == 36
    assert len(usable.labelled.unsure) == 5
    assert sorted(usable.refused.values()) == [1, 1, 1, 1]
    reasons = " ".join(usable.refused)
    assert all(
        word in reasons
        for word in ("source is borderline", "no inclusion probability", "another run", "not in")
    )


def test_of_several_reviewers_the_majority_counts() -> None:
    result = make_result(40)
    frame = audit_frame(result)
    ends = result.anchors[np.array([frame.left[:2], frame.right[:2]])]
    ids = result.corpus.documents["doc_id"].to_pylist()
    shared = ROW | {"run": fingerprint(result)}
    first, second = ({"left_id": ids[ends[0, i]], "right_id": ids[ends[1, i]]} for i in (0, 1))
    rows = [
        shared | first | {"reviewer": "ann"},
        shared | first | {"reviewer": "bob"},
        shared | first | {"reviewer": "cid", "label": "different"},
        shared | second | {"reviewer": "ann"},
        shared | second | {"reviewer": "bob", "label": "different"},
    ]
    usable = labels_for_audit(result, frame, labels_table(rows))
    assert usable.labelled.at.tolist() == [0]
    assert usable.labelled.duplicate.tolist() == [True]
    assert usable.labelled.unsure.tolist() == [1]
    assert len(usable.disagreements) == 2
    assert usable.reviewers == ("ann", "bob", "cid")


def test_kappa_by_hand() -> None:
    first = dict(enumerate(["duplicate"] * 25 + ["different"] * 25))
    second = dict(enumerate(["duplicate"] * 20 + ["different"] * 5 + ["duplicate"] * 10 + ["different"] * 15))
    assert kappa([first, second]) == pytest.approx(0.4)  # agreed 0.7, by chance 0.5
    assert kappa([first, {}]) is None
    assert kappa([first, first]) == 1.0


def test_a_text_has_one_name_however_it_is_written() -> None:
    assert text_hash("How  do I?") == text_hash("how do i?")
    assert text_hash("How do I?") != text_hash("How do you?")
    assert len(text_hash("\ud800")) == 32
