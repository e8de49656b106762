"""Logs as JSON: every line on standard error is an object, whatever a run logs."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ..helpers import shell
from ..helpers.tiny_models import TinyModels

KEYS = ["time", "level", "logger", "message"]


def objects(text: str) -> list[dict[str, Any]]:
    """Parse each line; its time must be UTC, in ISO 8601."""
    found: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
    for line in found:
        assert list(line)[:4] == KEYS
        assert datetime.fromisoformat(line["time"]).utcoffset() == timedelta(0)
    return found


def python(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.csv"
    path.write_text(shell.QUESTIONS, encoding="utf-8")
    return path


def test_a_run_on_a_terminal_writes_json_and_no_bars(
    tmp_path: Path, questions: Path, tiny: TinyModels
) -> None:
    terminal, device = pty.openpty()
    models = ["--bi-encoder", tiny["bi-encoder"], "--cross-encoder", tiny["sigmoid"]]
    flags = ["--out", str(tmp_path / "out"), "--log-format", "json", "--log-level", "info"]
    command = [sys.executable, "-m", "dupmine", "mine", str(questions), *models, *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=device, text=True) as process:
        os.close(device)
        shown = b""
        with suppress(OSError):  # how Linux says that the other end is closed
            while piece := os.read(terminal, 1 << 16):
                shown += piece
        printed = process.communicate()[0]
    os.close(terminal)
    lines = objects(shown.decode())
    assert next(line["message"] for line in lines if line["logger"] == "dupmine.corpus.reader") == (
        "texts from column question, ids from id"
    )
    assert {line["level"] for line in lines} == {"INFO"}
    assert process.returncode == 0
    assert printed.startswith("           9 documents\n")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("nowhere.csv", "--out", "out"), "nowhere.csv: no such file"),
        (("--nonsense",), "No such option: --nonsense"),
        ((), "name at least one file, folder or glob"),
    ],
)
def test_the_error_that_ends_a_run_is_json(args: tuple[str, ...], message: str) -> None:
    outcome = shell.run_process("mine", *args, "--log-format=json")
    [line] = objects(outcome.err)
    assert message in line["message"]
    assert (line["level"], line["logger"], line["exit_code"]) == ("ERROR", "dupmine", 2)
    assert (outcome.code, outcome.out) == (2, "")


def test_warnings_of_python_are_json() -> None:
    ended = python(
        "import warnings, dupmine.commands.logs; dupmine.commands.logs.log_json(); warnings.warn('old\\nhat')"
    )
    [line] = objects(ended.stderr)
    assert (line["level"], line["logger"]) == ("WARNING", "py.warnings")
    assert "UserWarning: old\nhat" in line["message"]


def test_a_bug_is_logged_with_its_traceback_in_one_line() -> None:
    ended = python(
        "import sys, dupmine.commands.logs as logs\n"
        "logs.log_json()\n"
        "try:\n    [][1]\n"
        "except IndexError as error:\n    sys.exit(logs.log_end(error))"
    )
    [line] = objects(ended.stderr)
    assert (ended.returncode, line["level"], line["exit_code"]) == (1, "CRITICAL", 1)
    assert line["message"] == "IndexError: list index out of range"
    assert line["exc_info"].startswith("Traceback (most recent call last):\n")


def test_help_ends_with_0() -> None:
    outcome = shell.run_process("mine", "--log-format", "json", "--help")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("Usage: ")


def test_an_unknown_format_of_logs() -> None:
    outcome = shell.dupmine("mine", "q.csv", "--out", "x", "--log-format", "xml")
    assert (outcome.code, outcome.out) == (2, "")
    assert "'xml' is not one of 'text', 'json'" in outcome.err


def test_json_without_its_package_ends_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pythonjsonlogger", None)
    monkeypatch.delitem(sys.modules, "pythonjsonlogger.json", raising=False)
    outcome = shell.dupmine("mine", "q.csv", "--out", "x", "--log-format", "json")
    assert outcome == shell.Outcome(
        2,
        "",
        "dupmine: --log-format json needs pythonjsonlogger, which is not installed: "
        "pip install 'dupmine[nightly]'\n",
    )
