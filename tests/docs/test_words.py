"""Plain technical English: words that the project does not use, where a reader meets them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# What to say instead.
BANNED = {
    r"anew": "again",
    r"evidence": "features",
    r"fore(?:see|sees|saw|seen|seeing)": "predict",
    r"(?:hang|hangs|hung|hanging) together": "connected, one component",
    r"(?:has|have|having|had) (?:its|their|a) say": "is considered",
    r"(?:has|have) it (?:its|their|your) way": "override",
    r"(?<!there )is no (?!longer|more)(?!\d)\w+": "is not a ...",
    r"judg(?:e|es|ed|ing|ement|ements|ment|ments)": "evaluate, evaluation, metrics",
    r"likeness(?:es)?": "similarity",
    r"likest": "most similar",
    r"mend(?:s|ed|ing)?": "repair, correct",
    r"nobody knows": "unknown",
    r"(?:comes?|came) to light": "is found",
    r"reckon(?:s|ed|ing)?": "estimate",
    r"(?:spares?|spared|sparing)": "skip, save",
    r"(?:steps?|stepped) aside": "is not used",
    r"vouch(?:es|ed|ing)?(?: for)?": "support",
    r"what meets what": "which texts are compared",
    r"whereupon|thereof|therein|thereby|herein": "then, of it, in it",
    r"does for it|do for it": "suffices",
    r"wordings?": "lexical features, phrasing",
}
PATTERN = re.compile("|".join(rf"\b(?:{word})\b" for word in BANNED), re.IGNORECASE)

PAGES = sorted(
    path
    for pattern in (
        "*.md",
        "docs/*.md",
        "models/*/README.md",
        ".github/**/*.md",
        "configs/*.yaml",
        "training/*.j2",
    )
    for path in ROOT.glob(pattern)
)
ROOMS = {path.parent for path in ROOT.glob("*/__init__.py")} - {ROOT / "tests", ROOT / "benchmarks"}
MODULES = sorted([*ROOT.glob("*.py"), *(path for room in ROOMS for path in room.rglob("*.py"))])


def lines_of_text(path: Path) -> Iterator[tuple[int, str]]:
    """Give what a reader of a page reads, or of a module's docstrings and messages, with line numbers."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield from enumerate(text.splitlines(), start=1)
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            for offset, line in enumerate(node.value.splitlines()):
                yield node.lineno + offset, line


def banned_words(path: Path) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{number}: {match[0]!r} in {line.strip()!r}"
        for number, line in lines_of_text(path)
        for match in PATTERN.finditer(line)
    ]


@pytest.mark.parametrize("paths", [PAGES, MODULES], ids=["pages", "modules"])
def test_words_are_plain(paths: list[Path]) -> None:
    assert len(paths) > 10
    found = [place for path in paths for place in banned_words(path)]
    assert found == [], "\n".join(found)


def test_a_banned_word_is_seen() -> None:
    assert PATTERN.findall("It is no store; Judged anew, they hang together.") == [
        "is no store",
        "Judged",
        "anew",
        "hang together",
    ]
    assert not PATTERN.search("There is no document; it is no longer needed, amended, adjudged.")
