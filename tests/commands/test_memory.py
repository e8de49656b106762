"""Too little memory: one line and exit code 5, and a store as it was."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dupmine.errors import ModelError, find_memory_error

from ..helpers import shell


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_an_address_space_too_small_for_the_models(log_format: str, tmp_path: Path) -> None:
    """The models' libraries alone need more than a gigabyte."""
    path = tmp_path / "q.csv"
    path.write_text(shell.QUESTIONS)
    limit = 1_200_000_000
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "dupmine",
            "mine",
            path,
            "--out",
            tmp_path / "out",
            "--log-format",
            log_format,
        ],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    line = ended.stderr.splitlines()[-1]
    message = json.loads(line)["message"] if log_format == "json" else line.removeprefix("dupmine: ")
    assert (ended.returncode, message.partition(" (")[0]) == (5, "there is not enough memory")
    assert log_format == "text" or json.loads(line)["exit_code"] == 5
    assert [path.name for path in tmp_path.iterdir()] == ["q.csv"]


def test_memory_that_torch_and_numpy_do_not_get_is_told_from_other_errors() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    found = find_memory_error(caught.value)
    assert found is not None
    assert str(found).startswith("there is not enough memory (")
    assert found.exit_code == 5
    wrapped = ModelError("model m cannot be loaded")
    wrapped.__cause__ = MemoryError()
    assert find_memory_error(wrapped) is not None
    assert find_memory_error(ModelError("model m cannot be loaded")) is None
    assert find_memory_error(RuntimeError("a shape does not fit")) is None
