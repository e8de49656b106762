"""The map in CONTRIBUTING.md leads to files, functions and rooms that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from ..test_house import FLOOR

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def names_of(tree: ast.Module | ast.ClassDef, prefix: str = "") -> set[str]:
    """Return the functions, classes, methods and assigned names of a module."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(prefix + node.name)
        if isinstance(node, ast.ClassDef):
            names |= names_of(node, f"{prefix}{node.name}.")
        if isinstance(node, ast.Assign):
            names |= {prefix + target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


@pytest.mark.parametrize(("path", "name"), re.findall(r"`([\w/]+\.py): ([\w.]+)`", PAGE))
def test_a_place_of_the_map_exists(path: str, name: str) -> None:
    assert name in names_of(ast.parse((ROOT / path).read_text(encoding="utf-8")))


def test_every_room_is_on_the_map() -> None:
    lines = re.findall(r"^\| ((?:`[\w/.]+`(?:, )?)+) \|", PAGE, re.MULTILINE)
    mapped = {re.sub(r"/$|\.py$", "", name) for line in lines for name in re.findall(r"`([^`]+)`", line)}
    assert mapped == set(FLOOR)


def test_linked_files_exist() -> None:
    links = re.findall(r"\]\(([\w/.]+)\)", PAGE)
    assert links
    assert all((ROOT / link).exists() for link in links)
