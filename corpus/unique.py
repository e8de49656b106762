"""Normalise texts, and collapse exact duplicates."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache, partial
from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..schema import Rows, UniqueTexts

# Unicode's Default_Ignorable_Code_Point: soft hyphens, zero-width and direction marks, variation selectors.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]"
)
_LONG = 1000  # characters: shorter texts never take long


def normalised_key(text: str) -> str:
    """Return the key under which texts count as equal: NFKC, case-folded, white space collapsed.

    Invisible characters are removed, symbols are kept, so "C", "C++" and "C#" differ. So are superscripts,
    subscripts and fractions, which NFKC would make digits in line: "10\u2076" is not "106". Folding can
    leave text that is not NFKC, hence the second normalisation (Unicode 15, section 3.13, toNFKC_Casefold).
    """
    folded = _INVISIBLE.sub("", _fold_width(text).casefold())
    return " ".join(_fold_width(folded).split())


def _fold_width(text: str) -> str:
    """Return the NFKC form, except for raised and lowered characters and fractions, which stay."""
    if text.isascii():
        return text
    pattern, units = _raised()
    # They start a sequence and combine with nothing, so what lies between them can be normalised alone.
    parts = pattern.split(text.translate(units))
    return "".join(part if i % 2 else _nfkc(part) for i, part in enumerate(parts))


@cache
def _raised() -> tuple[re.Pattern[str], dict[int, str]]:
    """Return a pattern for superscripts, subscripts and fractions, and units that contain one, spelt out.

    "TM" and "SM" are marks and change no meaning.
    """
    decompositions = {chr(c): unicodedata.decomposition(chr(c)).split() for c in range(0x80, 0x20000)}
    raised = {
        character
        for character, (kind, *_) in ((c, parts) for c, parts in decompositions.items() if parts)
        if kind in {"<super>", "<sub>", "<fraction>"} and character not in "\u2120\u2122"
    }
    spelt = {
        ord(character): "".join(chr(int(code, 16)) for code in parts if not code.startswith("<"))
        for character, parts in decompositions.items()
        if character not in raised and any(chr(int(p, 16)) in raised for p in parts if not p.startswith("<"))
    }
    return re.compile(f"([{''.join(sorted(raised))}])"), spelt


def _nfkc(text: str) -> str:
    """Return the NFKC form, in linear time."""
    # Python sorts accents by insertion: a million of them on one letter would take an hour.
    if len(text) > _LONG and not text.isascii():
        text = _accent_runs().sub(_sort_accents, text)
    return unicodedata.normalize("NFKC", text)


@cache
def _accent_runs() -> re.Pattern[str]:
    """Return a pattern for long runs of characters that combine with the one before, decomposed or not.

    It includes all characters behind U+FFFF: a search for single ones would be slow.
    """
    plane = map(chr, range(0x300, 0x10000))
    accents = (c for c in plane if all(map(unicodedata.combining, unicodedata.normalize("NFKD", c))))
    return re.compile(f"[{''.join(accents)}\U00010000-\U0001ffff]{{32,}}")


def _sort_accents(run: re.Match[str]) -> str:
    """Put a run of accents in canonical order, which changes no normal form."""
    decomposed = "".join(map(partial(unicodedata.normalize, "NFKD"), run[0]))
    groups = groupby(decomposed, key=lambda c: unicodedata.combining(c) > 0)
    return "".join("".join(sorted(group, key=unicodedata.combining)) for _, group in groups)


def texts_of_rows(texts: pa.ChunkedArray, row_of: Rows) -> list[str]:
    """Return the text of each row as `collapse_exact_duplicates` chooses it, without normalising again."""
    table = pa.table({"row": row_of, "text": texts})
    order = pc.sort_indices(table, sort_keys=[("row", "ascending"), ("text", "ascending")]).to_numpy()
    rows, first = np.unique(row_of[order], return_index=True)
    chosen: list[str] = texts.take(pa.array(order[first[rows >= 0]])).to_pylist()
    return chosen


def find_rows(wanted: Sequence[str], texts: pa.ChunkedArray, row_of: Rows) -> Rows:
    """Return the row of each wanted text in a corpus, -1 where it has none.

    The corpus is normalised only if a wanted text is not in it as it is spelt.
    """
    rows = dict(zip(texts.to_pylist(), row_of.tolist(), strict=True))
    others = [text for text in wanted if text not in rows]
    if others:
        by_key = {normalised_key(text): row for text, row in rows.items() if row >= 0}
        rows |= {text: by_key.get(normalised_key(text), -1) for text in others}
    return np.array([rows[text] for text in wanted], np.int64)


def collapse_exact_duplicates(texts: pa.ChunkedArray) -> UniqueTexts:
    """Return one row per distinct normalised text; empty texts get no row.

    Of several spellings of one key the first in code-point order is kept, so that rows and texts do not
    depend on the order of the input.
    """
    raw = texts.to_pylist()
    table = pa.table({"key": pa.array(map(normalised_key, raw), pa.large_string()), "text": raw})
    order = pc.sort_indices(table, sort_keys=[("key", "ascending"), ("text", "ascending")])
    keys = table["key"].take(order)
    filled = pc.not_equal(keys, "").to_numpy()
    starts = filled.copy()
    starts[1:] &= pc.not_equal(keys.slice(1), keys.slice(0, max(len(keys) - 1, 0))).to_numpy()
    positions = order.to_numpy()
    row_of = np.full(len(raw), -1, np.int64)
    row_of[positions[filled]] = np.cumsum(starts)[filled] - 1
    return UniqueTexts([raw[i] for i in positions[starts]], row_of)
