"""The training mixture: rewritten questions keep or change their meaning, and held-out texts stay out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dupmine.benchmarks import contrasts
from dupmine.benchmarks.mixture import Sources, nearest_of_others, rewrite_pairs

RNG = np.random.default_rng(0)
PAIRS = ("qqp", "domains")


@pytest.mark.parametrize(
    ("rewrite", "text", "other"),
    [
        (
            contrasts.change_direction,
            "How far is it from Rome to Paris?",
            "How far is it from Paris to Rome?",
        ),
        (contrasts.change_direction, "How do I convert PDF to Word?", "How do I convert Word to PDF?"),
        (contrasts.change_opposite, "How do I disable a widget?", "How do I enable a widget?"),
        (contrasts.negate, "Why do cats purr?", "Why don't cats purr?"),
        (contrasts.negate, "Why can we see stars?", "Why can't we see stars?"),
        (contrasts.use_alias, "What is ML?", "What is machine learning?"),
    ],
)
def test_a_rule_changes_what_it_names(rewrite: contrasts.Rewrite, text: str, other: str) -> None:
    assert rewrite(text, RNG) == other


@pytest.mark.parametrize("rewrite", [*contrasts.DIFFERENT.values(), contrasts.use_alias, contrasts.misspell])
def test_a_rule_leaves_texts_without_its_words_alone(rewrite: contrasts.Rewrite) -> None:
    assert rewrite("Is he at it?", RNG) is None


def test_a_changed_number_is_another_number() -> None:
    changed = {contrasts.change_number("Who won in 1998?", RNG) for _ in range(50)}
    assert "Who won in 1998?" not in changed
    assert {text[:11] for text in changed if text is not None} == {"Who won in "}
    assert contrasts.change_number("Is MP3 better?", RNG) is None


def test_a_misspelling_changes_one_word_by_at_most_two_letters() -> None:
    for _ in range(50):
        wrong = contrasts.misspell("How do I learn it?", RNG)
        if wrong is not None:
            assert wrong.startswith("How do I l")
            assert wrong.endswith("n it?")
            assert abs(len(wrong) - len("How do I learn it?")) <= 1


def test_rewritten_pairs_keep_their_label() -> None:
    pairs = pd.DataFrame(
        {"text1": ["a", "b"], "text2": ["What is history?", "What is religion?"], "label": [0, 1]}
    )
    rewritten = rewrite_pairs(pairs, {"misspelling": contrasts.misspell}, 2, RNG)
    assert set(rewritten["label"][rewritten["text1"] == "b"]) <= {1}
    assert set(rewritten["label"][rewritten["text1"] == "a"]) <= {0}


def test_nearest_texts_of_other_groups_are_found() -> None:
    cosine = np.array([[1, 0.9, 0.8, 0.1], [0.9, 1, 0.7, 0.2], [0.8, 0.7, 1, 0.5], [0.1, 0.2, 0.5, 1]])
    found = nearest_of_others(cosine.astype(np.float32), np.array([0, 0, 1, 1]), 4)
    assert sorted(map(tuple, found)) == [(0, 2), (1, 2)]  # not (0, 1) of one group, nor below 0.6


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A tiny folder of data: the text "kept" is held out, the offer "x" only as a pair."""
    for name in PAIRS:
        (tmp_path / name).mkdir()
    columns = ["question1", "question2", "is_duplicate", "split"]
    quora = [("a", "b", 1, "train"), ("Held  out?", "c", 0, "valid")]
    pd.DataFrame(quora, columns=columns).to_parquet(tmp_path / "qqp" / "pairs.parquet")
    pairs = [("er_x", "x", "y", 1, "train"), ("er_x", "x", "z", 0, "test"), ("forum", "d", "e", 0, "dev")]
    table = pd.DataFrame(pairs, columns=["dataset", "text1", "text2", "duplicate", "split"])
    table.assign(language="en", may_train_shipped=True).to_parquet(tmp_path / "domains" / "pairs.parquet")
    groups = pd.DataFrame({"dataset": ["faq"], "language": "de", "split": ["test"], "text": ["Wer?"]})
    groups.to_parquet(tmp_path / "domains" / "groups.parquet")
    return tmp_path


def test_pairs_with_a_held_out_text_are_left_out(data: Path) -> None:
    rows = [
        ("a", "b", "quora"),
        ("a", "HELD out?", "quora"),
        ("wer?", "a", "quora"),
        ("E", "a", "stsb"),
        ("x", "y", "er_x"),
        ("z", "x", "er_x"),
        (" ", "a", "quora"),
    ]
    table = pd.DataFrame(rows, columns=["text1", "text2", "part"])
    sources = Sources(data, {"forum"})
    assert sources.allowed(table).tolist() == [True, False, False, False, True, False, False]
    assert set(sources.pairs["part"]) == {"er_x"}
