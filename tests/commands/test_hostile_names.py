"""Every command with names, ids and texts that would move the cursor, reverse the text or add lines."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from dupmine.messages import escape

from ..helpers import shell
from ..helpers.tiny_models import TinyModels

EVIL = "\x1b[31m\u202eevil\x7f\x85\u2028\nINJECTED"
NAME = EVIL.replace("\x85", "")  # as some file systems refuse it


def check(outcome: shell.Outcome, code: int = 0) -> shell.Outcome:
    """Require an exit code, and that what was printed is harmless."""
    assert outcome.code == code, outcome
    for line in (outcome.out + outcome.err).split("\n"):
        assert escape(line) == line, outcome
        assert not line.startswith("INJECTED"), outcome
    return outcome


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / NAME
    folder.mkdir()
    texts = [f"How do I {EVIL} learn?", f"how do i {EVIL}  learn?", "Where is Paris?", "where  is paris?"]
    frame = pd.DataFrame({"id": [f"{i}{EVIL}" for i in range(4)], "text": texts, EVIL: "x"})
    frame.to_parquet(folder / "q.parquet")
    gold = pd.DataFrame({"id": frame["id"], "cluster": ["a", "a", "b", "b"]})
    gold.to_parquet(folder / "gold.parquet")
    pairs = {"text1": texts, "text2": texts[::-1], "label": [0, 1, 0, 1]}
    pd.DataFrame(pairs).to_parquet(folder / "pairs.parquet")
    return folder


@pytest.fixture
def models(tiny: TinyModels) -> list[str | Path]:
    return ["--bi-encoder", tiny["static"], "--cross-encoder", tiny["sigmoid"], "--device", "cpu"]


def test_runs(folder: Path, models: list[str | Path]) -> None:
    run = folder / "run"
    mined = check(shell.dupmine("mine", folder / "q.parquet", "--out", run, *models))
    assert "evil" in mined.out
    check(shell.dupmine("mine", folder / "q.parquet", "--out", run, *models), 2)
    for option in ("--text-column", "--id-column"):
        check(shell.dupmine("mine", folder / "q.parquet", "--out", folder / "no", option, f"no{EVIL}"), 2)
    for value in (f"{EVIL}:asc", f"{EVIL}:up"):
        outcome = shell.dupmine(
            "mine", folder / "q.parquet", "--out", folder / value[-2:], "--keep", value, *models
        )
        check(outcome, outcome.code)
    assert "evil" in check(shell.dupmine("show", run)).out
    check(shell.dupmine("show", run, f"0{EVIL}"))
    check(shell.dupmine("show", run, f"no{EVIL}"), 2)
    check(shell.dupmine("report", run, "--out", folder / "r.html"))
    check(shell.dupmine("evaluate-run", run, folder / "gold.parquet"))
    check(shell.dupmine("evaluate-run", run, folder / "none.parquet"), 2)
    outcome = shell.dupmine("audit", run)
    check(outcome, outcome.code)


def test_stores(folder: Path, tiny: TinyModels) -> None:
    store = folder / "store"
    models = [
        "--set",
        f"retrieval.bi_encoder={tiny['static']}",
        "--set",
        f"rerank.cross_encoder={tiny['sigmoid']}",
    ]
    check(shell.dupmine("store", "init", store, *models))
    check(shell.dupmine("store", "init", store, *models), 2)
    check(shell.dupmine("store", "update", store, folder / "q.parquet"))
    for command in ("status", "changes", "verify", "compact"):
        check(shell.dupmine("store", command, store))
    for command, texts in (("status", []), ("changes", []), ("query", ["how?"])):
        printed = check(shell.dupmine("store", command, store, *texts, "--json")).out
        assert json.loads(printed)
    assert "evil" in check(shell.dupmine("store", "query", store, f"how {EVIL}?")).out
    check(shell.dupmine("store", "export", store, "--out", folder / "exported"))
    check(shell.dupmine("store", "changes", store, "--since", "9"), 2)
    check(shell.dupmine("store", "delete", store, f"no{EVIL}"), 2)
    check(shell.dupmine("store", "delete", store, f"0{EVIL}"))
    (store / f"x{NAME}").write_text("x")
    check(shell.dupmine("store", "verify", store))
    check(shell.dupmine("store", "rollback", store, "1"))
    check(shell.dupmine("show", store))


def test_commands_about_models(folder: Path, tiny: TinyModels) -> None:
    pairs = folder / "pairs.parquet"
    check(
        shell.dupmine("evaluate", tiny["sigmoid"], pairs, "--device", "cpu", "--out", folder / "evaluation")
    )
    split = shell.dupmine(
        "split", pairs, "--out", folder / "splits", "--by", "pair", "--shares", "0.5,0.25,0.25"
    )
    check(split, split.code)
    none = folder / "none.parquet"
    for command in (
        ("evaluate", tiny["sigmoid"], none),
        ("evaluate", none, pairs),
        ("split", none, "--out", folder / "s"),
        ("calibrate", none, pairs),
        ("train", "cross-encoder", none, "--out", folder / "m"),
        ("train", "bi-encoder", none, "--out", folder / "m"),
        ("export", none, "--pairs", pairs, "--out", folder / "x"),
        ("compare", none, "--out", folder / "c"),
        ("review", none),
        ("report", none),
        ("show", none),
        ("audit", none),
    ):
        check(shell.dupmine(*command), 2)
