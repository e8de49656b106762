"""The notebook in examples/: it runs from the first cell to the last and shows what it says."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTEBOOK = EXAMPLES / "look_and_choose.ipynb"


def shown(notebook: nbformat.NotebookNode) -> list[str]:
    """Return what each code cell printed or returned, as text."""
    return [
        "".join(
            output.get("text") or output["data"]["text/plain"]
            for output in cell.outputs
            if output.get("name") != "stderr"
        )
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call] # nbformat has no types
    committed = shown(notebook)
    folder = {"metadata": {"path": str(EXAMPLES)}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=folder).execute()
    texts = shown(notebook)
    assert "MiningResult(2,000 documents" in texts[0]
    [explanation] = [text for text in texts if "decided by" in text]
    assert re.search(r"^  [+-]\d\.\d\d logit = ", explanation, re.MULTILINE)
    quality = re.findall(r"^0\.\d+ +(0\.\d+) +(0\.\d+)$", texts[6], re.MULTILINE)
    precision, recall = ([float(value) for value in column] for column in zip(*quality, strict=True))
    assert len(precision) == 5
    assert precision == sorted(precision)
    assert recall == sorted(recall, reverse=True)
    # Nothing but digits may differ from the committed outputs, from one machine to another.
    for cell in (0, 2, 5, 6):
        assert re.sub(r"\d+|\s+", " ", committed[cell]) == re.sub(r"\d+|\s+", " ", texts[cell])
