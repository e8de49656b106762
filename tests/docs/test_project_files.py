"""What stands in two places of the project's files is the same in both."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

import dupmine

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_the_citation_is_of_this_version() -> None:
    citation = read("CITATION.cff")
    assert citation["version"] == PROJECT["version"] == dupmine.__version__
    assert citation["license"] == PROJECT["license"]
    assert citation["authors"] == PROJECT["authors"]
    assert citation["repository-code"] == PROJECT["urls"]["Source"] == read("mkdocs.yml")["repo_url"]


def test_a_commit_runs_the_pinned_ruff() -> None:
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    [repository] = read(".pre-commit-config.yaml")["repos"]
    wanted = {tool for hook in repository["hooks"] for tool in hook["additional_dependencies"]}
    assert {tool for tool in wanted if tool.startswith("ruff==")} == {pin for pin in pins if "ruff" in pin}


def test_the_workflow_makes_what_the_makefile_has() -> None:
    jobs = read(".github/workflows/ci.yml")["jobs"]
    commands = [step["run"] for step in jobs["test"]["steps"] if "run" in step]
    assert ".ci/run" in commands
    lines = [*commands, *(ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()]
    made = {target for line in lines if line.startswith("make ") for target in line.split()[1:]}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^(\w+):", makefile, re.MULTILINE))
    assert {"browser", "check", "test", "smoke", "docs"} <= made <= targets
    pythons = {
        f"Programming Language :: Python :: {version}"
        for version in jobs["test"]["strategy"]["matrix"]["python"]
    }
    assert pythons <= set(PROJECT["classifiers"])


def test_the_image_copies_what_is_there() -> None:
    ignored = {line.strip("/") for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").split()}
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    sources = re.findall(r"^COPY ([\w./]+) ", dockerfile, re.MULTILINE)
    assert {"constraints.txt", "examples/questions.csv"} <= set(sources)
    assert all((ROOT / source).exists() and source.split("/")[0] not in ignored for source in sources)
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"][
        "packages"
    ]
    assert not ignored & {package.split(".")[1] for package in packages if "." in package}
