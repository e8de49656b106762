"""Where the quotes of a CSV file stand, found without parsing it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_BLOCK = 1 << 24
_QUOTE, _LINE, _RETURN = b'"\n\r'

Bytes = npt.NDArray[np.uint8]
Positions = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Quotes:
    """The quotes of a file.

    `are_clean` says that every quote opens or closes a whole field or is doubled inside one, `hold_breaks`
    that some of these fields hold line breaks, and `may_join_rows` that each line of such a record has enough
    delimiters to be a row of its own.
    """

    are_clean: bool
    hold_breaks: bool = False
    may_join_rows: bool = False


def scan_quotes(data: bytearray, delimiter: str, width: int) -> Quotes:
    """Look at the quotes of a file whose header has `width` columns, in vectors over the bytes."""
    content = np.frombuffer(data, np.uint8)
    quotes = _find(content, _QUOTE)
    if not len(quotes):
        return Quotes(are_clean=True)
    if len(quotes) % 2 or not _close_fields(content, quotes, ord(delimiter)):
        return Quotes(are_clean=False)
    breaks = _find(content, _LINE)
    inside = _are_inside(breaks, quotes)
    if not inside.any():
        # Those before line breaks stand where these do.
        has_others = data.count(b"\r") > np.count_nonzero(content[breaks - 1] == _RETURN)
        returns = _find(content, _RETURN) if has_others else breaks[:0]
        return Quotes(True, hold_breaks=bool(_are_inside(returns, quotes).any()))
    counts = _count_delimiters(content, breaks, ord(delimiter))
    starts = np.flatnonzero(np.append(True, ~inside))  # of records, by line
    lowest: Positions = np.minimum.reduceat(counts, starts)
    lines = np.diff(np.append(starts, len(counts)))
    return Quotes(True, True, may_join_rows=bool(((lines > 1) & (lowest >= width - 1)).any()))


def _find(content: Bytes, byte: int) -> Positions:
    blocks = range(0, len(content), _BLOCK)
    found = [np.flatnonzero(content[start : start + _BLOCK] == byte) + start for start in blocks]
    return np.concatenate(found) if found else np.empty(0, np.int64)


def _close_fields(content: Bytes, quotes: Positions, delimiter: int) -> bool:
    """Return whether odd quotes stand at the start of a field and even ones at its end, or beside another."""
    is_border = np.zeros(256, bool)
    is_border[[delimiter, _LINE, _RETURN, _QUOTE]] = True
    opening, closing = quotes[0::2], quotes[1::2]
    before = content[opening[opening > 0] - 1]
    after = content[closing[closing + 1 < len(content)] + 1]
    return bool(is_border[before].all() and is_border[after].all())


def _are_inside(positions: Positions, quotes: Positions) -> npt.NDArray[np.bool_]:
    return np.asarray(np.searchsorted(quotes, positions) % 2 == 1)


def _count_delimiters(content: Bytes, breaks: Positions, delimiter: int) -> Positions:
    """Return the number of delimiters in each line, a high one for a blank line."""
    counts = np.bincount(np.searchsorted(breaks, _find(content, delimiter)), minlength=len(breaks) + 1)
    ends = np.append(breaks, len(content))
    length = np.diff(np.append(-1, ends)) - 1
    is_blank = (length == 0) | ((length == 1) & (content[np.maximum(ends - 1, 0)] == _RETURN))
    counts[is_blank] = np.iinfo(np.int64).max
    return counts
