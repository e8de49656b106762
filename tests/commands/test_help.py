"""The help: groups, examples that can be typed, and completion."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from dupmine.cli import app
from dupmine.commands.mine import MiningOptions
from dupmine.commands.options import CorpusOptions

from ..helpers import shell

MODEL_COMMANDS = ["split", "evaluate", "calibrate", "compare", "export", "train"]
COMMANDS = ["mine", "link", "show", "report", "review", "audit", "evaluate-run", "store", *MODEL_COMMANDS]


def sections(*args: str) -> dict[str, list[str]]:
    """Return the names in each section of a command's help."""
    outcome = shell.dupmine(*args, "--help")
    assert (outcome.code, outcome.err) == (0, "")
    names: list[str] = []
    found: dict[str, list[str]] = {}
    for line in outcome.out.splitlines():
        if line.endswith(":") and not line.startswith(" "):
            names = found.setdefault(line[:-1], [])
        elif match := re.match(r"  (?:-\w, )?(--[\w-]+|[\w-]+)", line):
            names.append(match[1])
    return found


def test_commands_are_in_groups_and_mine_is_first() -> None:
    listed = sections()
    assert list(listed) == ["Options", "Find duplicates", "Train and evaluate models"]
    assert listed["Find duplicates"] + listed["Train and evaluate models"] == COMMANDS


def test_summaries_are_not_cut() -> None:
    assert "..." not in shell.dupmine("--help").out.partition("Find duplicates:")[2]
    assert "..." not in shell.dupmine("store", "--help").out.partition("Commands:")[2]


def test_options_of_mine_are_in_groups() -> None:
    listed = sections("mine")
    assert list(listed)[:6] == [
        "Arguments",
        "Output",
        "Input",
        "Models and thresholds",
        "Settings",
        "Running",
    ]
    assert listed["Output"] == ["--out", "--overwrite", "--restart", "--singletons"]
    assert listed["Settings"] == ["--config", "--set", "--print-config"]
    assert "Folder for the result.  [required]" in shell.dupmine("mine", "--help").out


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in {"store", "train"}])
def test_examples_can_be_typed(command: str) -> None:
    examples = re.findall(r"^    dupmine (.+)$", shell.dupmine(command, "--help").out, re.MULTILINE)
    assert examples
    for example in examples:
        name, *arguments = shlex.split(example)
        assert name == command
        parsed = typer.main.get_group(app).commands[name].make_context(name, arguments)
        assert name != "mine" or parsed.params["out"]


def test_options_know_their_settings() -> None:
    assert MiningOptions(threshold=0.0, floor=None).settings() == {"threshold": 0.0}
    assert CorpusOptions(text_column="title").settings() == {"corpus.text_column": "title"}


def test_a_shell_completes_commands(tmp_path: Path) -> None:
    asks = {"_DUPMINE_COMPLETE": "complete_bash", "COMP_WORDS": "dupmine ev", "COMP_CWORD": "1"}
    command = [sys.executable, "-m", "dupmine"]
    done = subprocess.run(command, env=os.environ | asks, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["evaluate-run", "evaluate"]
