"""docs/nightly.md: its commands run in order, its schedules parse, its exit codes are those of --help."""

from __future__ import annotations

import ast
import builtins
import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from croniter import croniter

from dupmine import load_settings
from dupmine.commands.prometheus import GAUGES, PREFIX

from ..helpers import shell
from ..helpers.markdown import fenced_blocks

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "nightly.md").read_text(encoding="utf-8")
PROGRAM = "/opt/dupmine/bin/dupmine"


def blocks(name: str) -> list[str]:
    return fenced_blocks(ROOT / "docs" / "nightly.md", name)


def commands() -> list[list[str]]:
    return [shlex.split(line) for block in blocks("nightly") for line in block.splitlines()]


def check_flags(arguments: list[str]) -> None:
    """Check a command line of a schedule against the help of its command."""
    program, *command = arguments[:3]
    assert program == PROGRAM
    outcome = shell.dupmine(*command, "--help")
    assert outcome.code == 0, command
    known = set(re.findall(r"--[a-z-]+", outcome.out))
    assert {argument for argument in arguments if argument.startswith("--")} <= known


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The first questions of the sample, and what the page calls tonight's files."""
    lines = (ROOT / "examples" / "questions.csv").read_text(encoding="utf-8").splitlines()
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    for name in ("examples", "tonight"):
        (tmp_path / name).mkdir()
    (tmp_path / "examples" / "questions.csv").write_text("\n".join(lines[:41]), encoding="utf-8")
    tonight = [*lines[:41], "n1,How can I learn Python?", "n2,What is the best way to learn Python?"]
    (tmp_path / "tonight" / "questions.csv").write_text("\n".join(tonight), encoding="utf-8")
    (tmp_path / "tonight" / "deleted.txt").write_text("q0001\nq0002\n", encoding="utf-8")
    (tmp_path / "tonight" / "asked.txt").write_text("how can i learn  python\nWhy?\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_in_order(folder: Path) -> None:
    printed: dict[str, list[str]] = {}
    for program, *arguments in commands():
        outcome = shell.dupmine(*arguments)
        assert (program, outcome.code, outcome.err) == ("dupmine", 0, ""), arguments
        printed.setdefault(arguments[1], []).append(outcome.out)
    created = json.loads(printed["changes"][1])
    assert [(line["generation"], line["event"], line["joined"]) for line in created] == [
        (2, "created", ["n1", "n2"])
    ]
    assert re.search(r"^\* +1 .* n1 ", printed["query"][0], re.MULTILINE)
    assert {(line["query"], line["doc_id"]) for line in json.loads(printed["query"][1])} == {
        (0, "n1"),
        (0, "n2"),
    }
    assert "generation 4\n" in printed["rollback"][0]
    stored = json.loads(shell.dupmine("store", "status", "questions.store", "--json").out)
    assert stored["documents"] == 40
    settled = {"rerank.threshold": stored["settings"]["rerank"]["threshold"]}
    assert stored["settings"] == load_settings(ROOT / "configs" / "nightly.yaml", settled).model_dump()


def test_nightly_config_differs_where_it_says_so() -> None:
    default, nightly = (
        load_settings().model_dump(),
        load_settings(ROOT / "configs" / "nightly.yaml").model_dump(),
    )
    differ = {
        key for stage, keys in nightly.items() for key, value in keys.items() if default[stage][key] != value
    }
    assert differ == {"text_column", "id_column", "precision", "keep", "keep_generations"}


def test_every_command_of_a_store_is_explained() -> None:
    listed = re.findall(
        r"^  (\w+) {2,}\S", shell.dupmine("store", "--help").out.partition("Commands:")[2], re.M
    )
    explained = set(re.findall(r"dupmine store (\w+)", PAGE))
    assert explained == {name for name in listed if not name.isdecimal()}


def test_exit_codes_are_those_of_the_help() -> None:
    epilog = shell.dupmine("store", "--help").out.partition("Exit codes:\n")[2]
    in_help = {int(code) for code in re.findall(r"^ {4}(\d+)|by SIGTERM|(?<=\()\d+", epilog, re.M) if code}
    in_help |= {int(code) for code in re.findall(r"(\d+) by SIG", epilog)}
    section = PAGE.partition("## Exit codes\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([\d, ]+) \|", section, re.MULTILINE)
    assert (
        {int(code) for row in rows for code in row.split(",")} == in_help == {0, 1, 2, 3, 4, 5, 129, 130, 143}
    )


def test_metrics_are_those_that_are_written() -> None:
    assert set(re.findall(r"`dupmine_(\w+)[`{]", PAGE)) == set(GAUGES)


def test_alerts_parse_and_name_metrics() -> None:
    [rules] = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
    for rule in rules["groups"][0]["rules"]:
        names = re.findall(rf"{PREFIX}(\w+)", rule["expr"])
        assert names
        assert set(names) <= set(GAUGES)


def test_cron_lines() -> None:
    [block] = blocks("cron")
    variable, *lines = block.splitlines()
    assert re.fullmatch(r"[A-Z]+=\S+", variable)
    assert len(lines) == 2
    for line in lines:
        *when, command = line.split(maxsplit=5)
        assert croniter.is_valid(" ".join(when), strict=True)
        assert "%" not in command  # cron takes it for a line break
        check_flags(shlex.split(command))


def unit(name: str) -> configparser.ConfigParser:
    [block] = blocks(name)
    parser = configparser.ConfigParser(strict=True, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign] # as its documentation shows it
    parser.read_string(block)
    return parser


def test_systemd_units() -> None:
    service, timer = unit("service"), unit("timer")
    assert set(service) - {"DEFAULT"} == {"Unit", "Service"}
    assert set(timer) - {"DEFAULT"} == {"Unit", "Timer", "Install"}
    assert service["Service"]["Type"] == "oneshot"
    assert timer["Install"]["WantedBy"] == "timers.target"
    assert set(service["Service"]["RestartPreventExitStatus"].split()) == {"2", "4", "5"}
    check_flags(shlex.split(service["Service"]["ExecStart"]))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    for name in ("service", "timer"):
        [text] = blocks(name)
        (tmp_path / f"dupmine.{name}").write_text(text.replace(PROGRAM, sys.executable), encoding="utf-8")
    paths = [str(tmp_path / f"dupmine.{name}") for name in ("service", "timer")]
    ended = subprocess.run(["systemd-analyze", "verify", *paths], check=False, capture_output=True, text=True)
    assert (ended.returncode, [line for line in ended.stderr.splitlines() if "dupmine" in line]) == (0, [])
    calendar = unit("timer")["Timer"]["OnCalendar"]
    subprocess.run(["systemd-analyze", "calendar", calendar], check=True, capture_output=True)


# What the classes of Airflow 3 take, of what the page gives them.
KEYWORDS = {
    "DAG": {"dag_id", "schedule", "start_date", "catchup", "max_active_runs", "default_args"},
    "BashOperator": {"task_id", "bash_command", "execution_timeout"},
    "datetime": set(),
    "timedelta": {"minutes", "hours"},
}


def test_the_airflow_dag() -> None:
    [source] = blocks("airflow")
    tree = ast.parse(source)
    compile(tree, "nightly.md", "exec")
    nodes = list(ast.walk(tree))
    imported = {(n.module, alias.name) for n in nodes if isinstance(n, ast.ImportFrom) for alias in n.names}
    assert imported == {
        ("datetime", "datetime"),
        ("datetime", "timedelta"),
        ("airflow.providers.standard.operators.bash", "BashOperator"),
        ("airflow.sdk", "DAG"),
    }
    names = [node for node in nodes if isinstance(node, ast.Name)]
    known = {node.id for node in names if isinstance(node.ctx, ast.Store)} | {name for _, name in imported}
    assert {node.id for node in names if isinstance(node.ctx, ast.Load)} <= known | set(dir(builtins))
    calls: dict[str, list[dict[str, Any]]] = {}
    for call in (node for node in nodes if isinstance(node, ast.Call)):
        assert isinstance(call.func, ast.Name)
        given = {str(keyword.arg): keyword.value for keyword in call.keywords}
        assert set(given) <= KEYWORDS[call.func.id]
        calls.setdefault(call.func.id, []).append(given)
    assert croniter.is_valid(ast.literal_eval(calls["DAG"][0]["schedule"]), strict=True)
    for task in calls["BashOperator"]:
        command = eval(compile(ast.Expression(task["bash_command"]), "nightly.md", "eval"), {"STORE": "s"})
        check_flags(shlex.split(command))
