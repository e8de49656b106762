"""Texts of strangers made safe to show: on one line, with marks for what the eye does not see."""

from __future__ import annotations

import re

# What moves or hides other text, or ends a line: controls, direction marks, separators, zero-width signs.
# A zero-width joiner is not among them: emoji need it. assets/text.js has the same list.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff"
    "\ud800-\udfff]"
)
WIDTH = 100


def visible(text: str) -> str:
    """Return a text on one line in which hidden characters are written as [U+202E]."""
    marked = _HIDDEN.sub(lambda match: f"[U+{ord(match[0]):04X}]", text)
    return " ".join(marked.split())


def shorten(text: str, width: int = WIDTH) -> str:
    """Return a text on one line of at most `width` characters."""
    line = visible(text[: 4 * width])
    return line if len(line) <= width and len(text) <= 4 * width else line[: width - 1] + "…"
