"""Values from outside as messages show them: on one line, printable, and short."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence

_OPTION = re.compile("`[^`]*`|(?<![\\w-])--([a-z]+(?:-[a-z]+)*)")
_KEYWORDS = {
    "overwrite": "overwrite=True",
    "restart": "restart=True",
    "no-header": "header=False",
    "out": "folder",
}
_JOINERS = "\u200c\u200d"  # they shape letters and emoji, and move nothing


def escape(text: str) -> str:
    """Return the text with control characters, line breaks and direction marks written as escapes."""
    if text.isprintable():
        return text
    return "".join(char if _is_harmless(char) else repr(char)[1:-1] for char in text)


def to_json(data: object) -> str:
    """Return data as one line of JSON, in which the same characters are written as JSON's escapes."""
    text = json.dumps(data, ensure_ascii=False, default=str)
    if text.isprintable():
        return text
    return "".join(char if _is_harmless(char) else json.dumps(char)[1:-1] for char in text)


def _is_harmless(char: str) -> bool:
    return char.isprintable() or char in _JOINERS or unicodedata.category(char) == "Zs"


def describe_error(error: BaseException) -> str:
    """Return the message of another library's error on one line of at most 200 printable characters."""
    return escape(" ".join(str(error).split())[:200] or type(error).__name__)


def display(value: object) -> str:
    """Return a name or id from the data on one printable line of about 80 characters at most."""
    text = str(value)
    text = text if len(text) <= 80 else f"{text[:80]}…"
    return text if text.isprintable() and text else repr(text)


def display_all(names: Sequence[str]) -> str:
    """Return the first 30 names, separated by commas, and the number of the others."""
    rest = f" and {len(names) - 30} more" if len(names) > 30 else ""
    return ", ".join(map(display, names[:30])) + rest


def speak_python(message: str) -> str:
    """Return a message in which options of the command line are keywords, as `text_column`.

    Whole commands, in backticks, stay.
    """
    return _OPTION.sub(_name_keyword, message)


def _name_keyword(option: re.Match[str]) -> str:
    name: str | None = option[1]
    return option[0] if name is None else _KEYWORDS.get(name, name.replace("-", "_"))


def explain_unreadable(path: str, error: OSError) -> str:
    """Return the message for a file that the system cannot open."""
    reason = error.strerror or describe_error(error)
    return f"{path}: cannot be opened ({reason}): check the file and its permissions"
