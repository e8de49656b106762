"""Values from outside as they appear in messages: on one line, printable, and short."""

from __future__ import annotations

from collections.abc import Sequence


def describe_error(error: BaseException) -> str:
    """Return the message of another library's error on one line of at most 200 printable characters."""
    text = " ".join(str(error).split())[:200] or type(error).__name__
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def display(value: object) -> str:
    """Return a name or id from the data on one printable line of about 80 characters at most."""
    text = str(value)
    text = text if len(text) <= 80 else f"{text[:80]}…"
    return text if text.isprintable() and text else repr(text)


def display_all(names: Sequence[str]) -> str:
    """Return the first 30 names, separated by commas, and the number of the others."""
    rest = f" and {len(names) - 30} more" if len(names) > 30 else ""
    return ", ".join(map(display, names[:30])) + rest


def explain_unreadable(path: str, error: OSError) -> str:
    """Return the message for a file that the system cannot open."""
    reason = error.strerror or describe_error(error)
    return f"{path}: cannot be opened ({reason}): check the file and its permissions"
