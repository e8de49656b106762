"""What happens at the very end of a command: after the commit nothing changes its exit code."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from unittest.mock import patch

import pytest

from dupmine.disk.owned import Owns, remove_owned
from dupmine.store.commits import generations

from ..helpers import shell
from ..helpers.disk_calls import seen_calls
from .test_logs import objects
from .test_store import filled, run

__all__ = ["filled"]  # a fixture


@pytest.fixture
def store(filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(filled, tmp_path / "s"))


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_counts_until_the_commit_and_not_after_it(
    signum: signal.Signals, store: Path, tmp_path: Path
) -> None:
    """The signal comes at each of the last calls that change the disk, in a copy of the store each time."""
    calls = 0

    def delete(folder: Path, at: int) -> int:
        """Delete a document, be sent a signal at a call, and return the exit code."""
        nonlocal calls
        calls = 0

        def see(call: str, path: str) -> None:
            nonlocal calls
            calls += 1
            if calls == at:
                os.kill(os.getpid(), signum)

        with seen_calls(folder, see, sync=False):
            return shell.dupmine("store", "delete", folder, "b1", "-q").code

    assert delete(shutil.copytree(store, tmp_path / "whole"), 0) == 0
    codes = []
    for at in range(calls - 22, calls + 1, 3):
        folder = shutil.copytree(store, tmp_path / f"at{at}")
        codes.append(delete(folder, at))
        assert (codes[-1] == 0) == (generations(folder)[-1] == 2), (at, codes)
        assert run("verify", folder) == [f"intact, at generation {2 if codes[-1] == 0 else 1}"]
    assert set(codes) == {0, 128 + signum}


# Deletes a document, and sends itself a signal at the first rename, which is that of writer.json.
INTERRUPTED = """
import os, sys

signum, store, rename = int(sys.argv[1]), sys.argv[2], os.replace

def interrupt(*args, **kwargs):
    os.kill(os.getpid(), signum)
    rename(*args, **kwargs)

os.replace = interrupt
sys.argv = ["dupmine", "store", "delete", store, "b1", "--log-format", "json"]
from dupmine.cli import main
main()
"""


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_the_last_line_of_json_tells_the_signal(signum: signal.Signals, store: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(int(signum)), str(store)],
        capture_output=True,
        text=True,
        check=False,
    )
    line = objects(ended.stderr)[-1]
    assert (ended.returncode, line["exit_code"]) == (128 + signum, 128 + signum)
    assert line["message"] == f"stopped by {signum.name}"
    assert generations(store)[-1] == 1


@pytest.mark.parametrize("command", ["delete", "compact", "export"])
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_report_that_cannot_be_printed_is_a_warning(command: str, log_format: str, store: Path) -> None:
    more = {"delete": ["b1"], "export": ["--out", str(store.with_name("out"))]}.get(command, [])
    arguments = [command, str(store), *more, "--log-format", log_format]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "dupmine", "store", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (ended.returncode, generations(store)[-1]) == (0, 1 if command == "export" else 2)
    assert "the report was not printed: No space left on device" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_no_error_of_the_cleaning_changes_the_exit_code(store: Path) -> None:
    def fail(folder: Path, owns: Owns, keep: Collection[str] = ()) -> list[str]:
        if generations(store)[-1] == 2:
            raise RuntimeError("odd")
        return remove_owned(folder, owns, keep)

    with patch("dupmine.store.maintenance.remove_owned", fail):
        outcome = shell.dupmine("store", "delete", store, "b1", "-q")
    assert (outcome.code, outcome.out) == (0, "")
    assert generations(store)[-1] == 2
