"""Splits keep components whole and labels in proportion; the leak is counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from dupmine.corpus.questions import number_questions, question_components
from dupmine.errors import DupmineError, InputError
from dupmine.evaluation.splits import Leak, measure_leak, sample_pairs, split_pairs
from dupmine.schema import LabelledPairs
from tests.helpers import shell

SHARES = (0.8, 0.1, 0.1)


def labelled(pairs: list[tuple[str, str, float]], ids: list[tuple[str, str]] | None = None) -> LabelledPairs:
    left, right, label = (list(column) for column in zip(*pairs, strict=True))
    left_id, right_id = (None, None) if ids is None else (list(c) for c in zip(*ids, strict=True))
    return LabelledPairs(left, right, np.array(label, np.float32), left_id, right_id, "pairs.csv")


def random_pairs(n: int, questions: int, seed: int = 0) -> LabelledPairs:
    ends = np.random.default_rng(seed).integers(0, questions, (n, 2))
    return labelled([(f"question {a}", f"question {b}", float(i % 3 == 0)) for i, (a, b) in enumerate(ends)])


def test_questions_are_joined_by_normalised_text_and_by_id() -> None:
    pairs = [("How?", "Why?", 1.0), ("how? ", "Who?", 0.0), ("Where?", "When?", 1.0), ("What?", "Whom?", 0.0)]
    assert question_components(labelled(pairs)).tolist() == [0, 0, 1, 2]
    ids = [("1", "2"), ("", "4"), ("5", "6"), ("4", "")]
    questions = number_questions(labelled(pairs, ids))
    assert questions[0, 0] == questions[0, 1]  # by text, though one has no id
    assert questions[1, 1] == questions[0, 3]  # by id, though the texts differ
    assert len(np.unique(questions)) == 6
    assert question_components(labelled(pairs, ids)).tolist() == [0, 0, 1, 0]


@settings(max_examples=30, suppress_health_check=[HealthCheck.filter_too_much])
@given(
    st.lists(st.tuples(*[st.integers(0, 150)] * 2, st.booleans()), min_size=30, max_size=80),
    st.integers(0, 9),
)
def test_a_split_by_question_keeps_every_pair_and_cuts_no_component(
    drawn: list[tuple[int, int, bool]], seed: int
) -> None:
    pairs = labelled([(f"q{a}", f"q{b}", float(same)) for a, b, same in drawn])
    try:
        sets = split_pairs(pairs, SHARES, by="question", seed=seed)
    except InputError:
        reject()  # too few components, or one class in a split
    assert sorted(np.concatenate(sets)) == list(range(len(pairs)))
    components = question_components(pairs)
    assert sum(len(set(components[rows])) for rows in sets) == len(set(components))
    leaks = measure_leak([pairs.take(rows) for rows in sets])
    assert [leak.leaked_questions for leak in leaks] == [0, 0, 0]


def test_a_split_by_question_has_the_requested_sizes_and_labels() -> None:
    pairs = random_pairs(3000, 12_000)
    sets = split_pairs(pairs, SHARES, by="question", seed=1)
    assert [len(rows) for rows in sets] == pytest.approx([2400, 300, 300], abs=3)
    assert [float(pairs.label[rows].mean()) for rows in sets] == pytest.approx([1 / 3] * 3, abs=0.005)
    again = split_pairs(pairs, SHARES, by="question", seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(sets, again, strict=True))


def test_a_split_by_pair_is_that_of_train_test_split() -> None:
    pairs = random_pairs(1000, 300)
    drawn = sample_pairs(pairs, 500, seed=42)
    expected, _ = train_test_split(np.arange(1000), train_size=500, stratify=pairs.label, random_state=42)
    assert drawn.tolist() == sorted(expected)
    train, rest = train_test_split(np.arange(1000), test_size=0.2, stratify=pairs.label, random_state=42)
    valid, test = train_test_split(rest, test_size=0.5, stratify=pairs.label[rest], random_state=42)
    sets = split_pairs(pairs, SHARES, by="pair", seed=42)
    assert [rows.tolist() for rows in sets] == [sorted(train), sorted(valid), sorted(test)]


def test_continuous_labels_are_stratified() -> None:
    label = np.linspace(0, 1, 500, dtype=np.float32)
    pairs = LabelledPairs([f"a{i}" for i in range(500)], [f"b{i}" for i in range(500)], label)
    for by in ("pair", "question"):
        sets = split_pairs(pairs, SHARES, by=by, seed=0)
        assert [len(rows) for rows in sets] == [400, 50, 50]
        assert np.bincount(np.minimum(label[sets[2]] * 5, 4).astype(int)).tolist() == [10] * 5


def test_the_leak_is_counted_against_the_first_set() -> None:
    train = labelled([("a", "b", 1.0), ("c", "d", 0.0)])
    test = labelled([("a", "C", 1.0), ("a", "x", 0.0), ("y", "z", 0.0), ("y", "x", 0.0)])
    assert measure_leak([train, test]) == [Leak(2, 0.5, 4, 0, 0), Leak(4, 0.25, 5, 2, 2)]


def make_file(folder: Path, n: int = 300) -> Path:
    pairs = random_pairs(n, 400)
    frame = pd.DataFrame({"question1": pairs.left, "question2": pairs.right, "is_duplicate": pairs.label})
    frame["split"], frame["note"] = "old", [f"note {i}" for i in range(n)]
    frame.loc[7, "question1"] = " "
    path = folder / "pairs.parquet"
    frame.to_parquet(path)
    return path


def test_split_writes_all_columns_and_prints_the_leak(tmp_path: Path) -> None:
    path = make_file(tmp_path)
    outcome = shell.dupmine("split", path, "--out", tmp_path / "out", "--sample", "200", "--by", "pair")
    assert (outcome.code, "7 pairs" in outcome.err) == (0, False)
    parts = {
        name: pd.read_parquet(tmp_path / "out" / f"{name}.parquet") for name in ("train", "valid", "test")
    }
    assert [len(part) for part in parts.values()] == [160, 20, 20]
    source = pd.read_parquet(path)
    for name, part in parts.items():
        assert set(part["split"]) == {name}
        assert list(part.columns) == list(source.columns)
        kept = source.set_index("note").loc[part["note"]]
        assert part["question2"].tolist() == kept["question2"].tolist()
    lines = outcome.out.splitlines()
    assert " ".join(lines[0].split()) == "pairs mean label questions also in train pairs with those"
    assert lines[2].split()[:3] == ["valid", "20", f"{parts['valid']['is_duplicate'].mean():.3f}"]
    seen = set(parts["train"]["question1"]) | set(parts["train"]["question2"])
    leaked = set(parts["valid"]["question1"]) | set(parts["valid"]["question2"])
    assert lines[2].split()[4] == str(len(seen & leaked))


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        (["--shares", "0.5,0.5,0.5"], "--shares 0.5,0.5,0.5: expected shares above 0 that sum to 1"),
        (["--shares", "1,0,0"], "--shares 1,0,0: expected shares above 0 that sum to 1"),
        (["--shares", "0.5,x"], "--shares 0.5,x: expected three numbers such as 0.8,0.1,0.1"),
        (["--sample", "9000"], "--sample 9,000: there are only 299 pairs in "),
        (
            ["--shares", "0.998,0.001,0.001"],
            "pairs would hold only one class: give more pairs, or other --shares",
        ),
        (["--label-column", "note2"], "no column note2 (setting pairs.label_column): did you mean note?"),
    ],
)
def test_impossible_splits(tmp_path: Path, args: list[str], problem: str) -> None:
    outcome = shell.dupmine("split", make_file(tmp_path), "--out", tmp_path / "out", *args)
    assert (outcome.code, outcome.out) == (2, "")
    assert problem in outcome.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pairs.parquet"]


def test_too_few_components_and_a_folder_with_other_things(tmp_path: Path) -> None:
    pairs = labelled([("a", "b", 1.0), ("a", "c", 0.0), ("d", "e", 1.0), ("e", "f", 0.0)])
    with pytest.raises(
        DupmineError, match=r"^pairs\.csv: its pairs form 2 connected components .*fewer than 3"
    ):
        split_pairs(pairs, SHARES, by="question", seed=0)
    path, out = make_file(tmp_path), tmp_path / "out"
    assert shell.dupmine("split", path, "--out", out).code == 0
    before = (out / "test.parquet").read_bytes()
    refused = shell.dupmine("split", path, "--out", out, "--seed", "7")
    assert (refused.code, refused.err.count("is not empty; give --overwrite")) == (2, 1)
    assert shell.dupmine("split", path, "--out", out, "--seed", "7", "--overwrite").code == 0
    assert (out / "test.parquet").read_bytes() != before
    (out / "mine.txt").write_text("x")
    refused = shell.dupmine("split", path, "--out", out, "--overwrite")
    assert (refused.code, refused.err.count("holds mine.txt, which this command does not write")) == (2, 1)
