"""Commands import only what they need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dupmine import Store

from ..helpers import shell

SLOW = {"torch", "sentence_transformers", "transformers", "faiss", "pyarrow"}
CODE = f"""
import sys
from dupmine.cli import main
code = 0
try:
    main()
except SystemExit as end:
    code = end.code or 0
print(code, *set(sys.modules) & {SLOW})
"""
GOLD = "id,cluster\na1,a\na2,a\na3,a\nb1,b\nb2,b\nc1,c\n"


def run(*args: str | Path) -> tuple[int, set[str]]:
    """Run a command in a process of its own; return its exit code and the slow modules it imported."""
    command = [sys.executable, "-c", CODE, *map(str, args)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    code, *modules = printed.splitlines()[-1].split()
    return int(code), set(modules)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a store with the models of the package, which decide with the corpus."""
    folder = tmp_path_factory.mktemp("startup")
    (folder / "questions.csv").write_text(shell.QUESTIONS)
    (folder / "gold.csv").write_text(GOLD)
    Store.create(folder / "store", progress=False).update(folder / "questions.csv")
    return folder / "store"


@pytest.mark.parametrize("args", [("--help",), ("mine", "--help"), ("store", "update", "--help")])
def test_help_imports_nothing_slow(args: tuple[str, ...]) -> None:
    assert run(*args) == (0, set())


def test_status_and_init_of_a_store_import_no_model_code(store: Path) -> None:
    assert run("store", "status", store) == (0, {"pyarrow"})
    assert run("store", "init", store) == (2, {"pyarrow"})


def test_export_and_evaluate_run_import_no_model_code(store: Path, tmp_path: Path) -> None:
    assert run("store", "export", store, "--out", tmp_path / "run") == (0, {"pyarrow"})
    assert set(pq.read_table(tmp_path / "run" / "pairs.parquet")["decided_by"].to_pylist()) == {
        "corpus",
        "exact",
    }
    assert run("evaluate-run", tmp_path / "run", store.parent / "gold.csv") == (0, {"pyarrow"})
