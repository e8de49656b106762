"""Backslashes in a delimited file: escapes of Spark or MySQL, or plain characters."""

from __future__ import annotations

import re
from collections.abc import Iterator

_MYSQL_LETTERS = b"nrt0bZ%_'"
_BREAKS = b"\r\n"
_DOUBLED = re.compile(rb'[^,;\t|\r\n"\\]""')
_ENCLOSED = r"(?:^|{0})'(?:[^']|'')*''(?:[^']|'')*'(?:{0}|\r?$)"


def find_runs(data: bytearray) -> Iterator[tuple[int, int, bytes]]:
    """Yield where each run of backslashes starts, how long it is, and the character behind it."""
    start = data.find(b"\\")
    while start >= 0:
        end = start + 1
        while data[end : end + 1] == b"\\":
            end += 1
        yield start, end - start, bytes(data[end : end + 1])
        start = data.find(b"\\", end)


def may_be_spark(data: bytearray, delimiter: str) -> bool:
    """Return whether quotes stand behind backslashes, and nowhere as doubled ones would."""
    if b'"' not in data or b'\\"' not in data:
        return False
    ends = (b"", delimiter.encode(), b"\r", b"\n")
    found = False
    for start, length, after in find_runs(data):
        if after == b'"' and length % 2:
            quote = start + length
            if data[quote + 1 : quote + 2] == b'"' and bytes(data[quote + 2 : quote + 3]) not in ends:
                return False
            found = True
    return found


def find_mysql_signs(data: bytearray, delimiter: str) -> set[str]:
    r"""Return what only MySQL writes: `nulls` (fields that are \N), and escaped `breaks` or delimiters.

    Nothing where a backslash stands before another character than those that MySQL escapes.
    """
    sign = delimiter.encode()
    signs = set()
    for start, length, after in find_runs(data):
        if length % 2 == 0 or after == b'"':
            continue
        if after == b"N" and length == 1 and _is_field(data, start, start + 2, sign):
            signs.add("nulls")
        elif after in (b"\n", b"\r", sign):
            signs.add("breaks")
        elif after not in _MYSQL_LETTERS:
            return set()
    return signs


def _is_field(data: bytearray, start: int, end: int, delimiter: bytes) -> bool:
    before, after = bytes(data[start - 1 : start]) if start else b"\n", bytes(data[end : end + 1])
    return before in (delimiter, b"\n") and after in (delimiter, b"", b"\r", b"\n")


def choose_program(data: bytearray, delimiter: str) -> str | None:
    """Return the program whose escapes those before no quote are, None where they could be of both."""
    runs = [(length, after) for _, length, after in find_runs(data) if after != b'"']
    odd = {after for length, after in runs if length % 2}
    if not runs or any(after not in _MYSQL_LETTERS + _BREAKS + b"N" + delimiter.encode() for after in odd):
        return "spark"
    if odd & {b"\n", b"\r", delimiter.encode(), b"0", b"N"}:
        return "mysql"
    return None


def may_be_escapes(data: bytearray) -> bool:
    """Return whether backslashes could be escapes; doubled quotes tell of another writer."""
    if b"\\" not in data:
        return False
    if b'"' in data:  # a byte is found faster than two
        if b'""' in data and _DOUBLED.search(data):
            return False
        if b'\\"' in data:
            return True
    letters = _MYSQL_LETTERS + _BREAKS + b'N"'
    return all(length % 2 == 0 or after in letters for _, length, after in find_runs(data))


def has_single_quotes(data: bytearray, delimiter: str) -> bool:
    """Return whether a field is enclosed in single quotes and has doubled ones inside."""
    if b"'" not in data:
        return False
    pattern = re.compile(_ENCLOSED.format(re.escape(delimiter)).encode())
    place = data.find(b"''")
    while place >= 0:
        start, end = data.rfind(b"\n", 0, place) + 1, data.find(b"\n", place)
        end = end if end >= 0 else len(data)
        if pattern.search(data[start:end]):
            return True
        place = data.find(b"''", end)
    return False
