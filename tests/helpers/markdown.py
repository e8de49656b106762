"""Blocks of code in Markdown pages that a test runs."""

from __future__ import annotations

import re
from pathlib import Path


def fenced_blocks(page: Path, name: str) -> list[str]:
    """Return the fenced blocks behind each `<!-- tested: name -->` of a page."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(rf"^<!-- tested: {name} -->\n```\w+\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert blocks, f"{page.name} has no block {name}"
    return blocks
