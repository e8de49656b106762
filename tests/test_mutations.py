"""Changed files end in a result or a message; `make chaos` tries a thousand of each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def test_changed_commits_trees_and_models_end_no_process(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    command = [sys.executable, "-m", "dupmine.tests.helpers.mutations", "--each", "12", "--out", str(out)]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}  # others would not survive a fork
    ended = subprocess.run(command, env=one_thread, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    figures = json.loads(out.read_text())
    assert set(figures) == {"commit", "decision", "cascade", "bi-encoder", "cross-encoder"}
    for figure in figures.values():
        assert set(figure["ends"]) <= {"read", "refused", "other error"}
        assert figure["ends"]["refused"] > 0
