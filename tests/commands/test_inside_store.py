"""Nothing but the store itself is written inside the folder of a store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dupmine.errors import OutputError
from dupmine.report.journal import open_journal

from ..helpers import shell
from ..helpers.results import make_result
from ..helpers.small_store import files_in

PAIRS = "qid1,qid2,question1,question2,is_duplicate\n" + "".join(
    f"{i},{i + 100},How do I draw a cat {i}?,How do I draw a dog {i}?,{i % 2}\n" for i in range(20)
)
COMPARE = """
split: {file: PAIRS}
approaches: {plain: {kind: bi-encoder, base: all-MiniLM-L6-v2, trained: false}}
"""

COMMANDS: dict[str, tuple[str, ...]] = {
    "mine": ("mine", "PAIRS", "--text-column", "question1", "--out", "INSIDE/run"),
    "split": ("split", "PAIRS", "--out", "INSIDE/split"),
    "compare": ("compare", "compare.yaml", "--out", "INSIDE/compared"),
    "report": ("report", "RUN", "-o", "INSIDE/report.html"),
    "report deep": ("report", "RUN", "-o", "INSIDE/states/new/report.html", "--overwrite"),
    "xlsx": ("show", "RUN", "--xlsx", "INSIDE/run.xlsx"),
    "csv": ("show", "RUN", "--csv", "INSIDE"),
    "csv below": ("show", "RUN", "--csv", "INSIDE/tables"),
    "labels": ("review", "RUN", "--export", "INSIDE/labels.parquet"),
    "metrics": ("mine", "PAIRS", "--out", "elsewhere", "--metrics", "INSIDE/dupmine.prom"),
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a run and the folders of a store."""
    make_result(10).save(tmp_path / "RUN")
    for name in ("generations/00000000.json", "states/00000000.parquet"):
        (tmp_path / "INSIDE" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "INSIDE" / name).write_bytes(b"")
    (tmp_path / "PAIRS").with_suffix(".csv").write_text(PAIRS)
    (tmp_path / "compare.yaml").write_text(COMPARE.replace("PAIRS", "PAIRS.csv"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("case", COMMANDS)
def test_commands_write_nothing_inside_a_store(case: str, place: Path) -> None:
    before = files_in(place)
    outcome = shell.dupmine(*(part.replace("PAIRS", "PAIRS.csv") for part in COMMANDS[case]))
    assert outcome.code == 2
    assert outcome.err.endswith(f" is inside the store {place / 'INSIDE'}: name another place\n")
    assert outcome.err.count("\n") == 1
    assert files_in(place) == before


WRITERS: dict[str, Callable[[Path], object]] = {
    "csv": lambda path: make_result(5).to_csv(path),
    "xlsx": lambda path: make_result(5).to_excel(path),
    "run": lambda path: make_result(5).save(path),
    "labels": lambda path: open_journal(path, "ann").__enter__(),
}


@pytest.mark.parametrize("case", WRITERS)
def test_calls_write_nothing_inside_a_store(case: str, place: Path) -> None:
    before = files_in(place)
    with pytest.raises(OutputError, match=r" is inside the store .*INSIDE: name another place$"):
        WRITERS[case](Path("INSIDE/new"))
    assert files_in(place) == before
