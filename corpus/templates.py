"""Template families: many texts that differ only in numbers and codes, or in one word.

"Where is order 1?" to "Where is order 9999?" are near each other, so that their pairs would grow with the
square of their number, and mean nothing. A text of a family is compared only with texts that fill its gaps
alike.
"""

from __future__ import annotations

import re
import zlib
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, pairwise

import numpy as np

from ..schema import Flags, Rows
from .unique import normalised_key

# Of half a million questions of Quora no family of numbers has more than 20 texts, and none of a word 231.
LEAST_OF_NUMBERS = 50
LEAST_OF_WORDS = 500
_FIXED_WORDS = 6  # around a gap for one word
_LONGEST = 60  # words of texts whose gap may be a word
_COMPARED = 8  # members of a family that stage 1 compares with all other texts

# In Latin letters, as other scripts may have no spaces between words. It is sought once per word: from each
# letter of a word of a million letters it would take minutes.
_CODE = re.compile(r"(?:(?<![a-z0-9])[a-z0-9]*)?\d(?:[a-z0-9]|[.,:/](?=\d)|[-_](?=[a-z0-9]*\d))*")
_NUMBER = re.compile(r"[\d,]*\d(\.\d+)?")
_GAP = "\x00"


@dataclass(frozen=True, slots=True)
class _Masked:
    """A text with gaps for its numbers and codes, and what fills them."""

    words: tuple[str, ...]
    filling: str


def _mask(text: str) -> _Masked:
    key = normalised_key(text)
    filling = " ".join(_canonical(code) for code in _CODE.findall(key))
    return _Masked(tuple(_CODE.sub(_GAP, key).split()), filling)


def _canonical(code: str) -> str:
    """Return a number without leading zeros and commas, a code as it is."""
    if not _NUMBER.fullmatch(code):
        return code
    whole, point, rest = code.replace(",", "").partition(".")
    return (whole.lstrip("0") or "0") + point + rest


class Families:
    """The template families of some texts.

    `family` is the number of each text's family, -1 for none, `(n_texts,)`. A text is in one family.
    """

    def __init__(self, texts: Sequence[str], family: Rows, gaps: dict[int, int]) -> None:
        """Hold the families; `gaps` has the place of the word for families that differ in one."""
        self.family = family
        self._gaps = gaps
        self._texts = texts
        self._masks: dict[int, _Masked] = {}  # those of few texts are asked for

    def __len__(self) -> int:
        """Return the number of families."""
        return int(self.family.max(initial=-1)) + 1

    @property
    def members(self) -> int:
        """The number of texts in families."""
        return int((self.family >= 0).sum())

    @cached_property
    def compared(self) -> Rows:
        """The rows that stage 1 compares: all texts of no family, and a few of each family, sorted.

        These have the smallest checksums of their fillings, so that like families are compared by like texts.
        """
        chosen = [np.flatnonzero(self.family < 0)]
        for rows in self._rows_of_families:
            sums = np.array([zlib.crc32(self._filling(row).encode()) for row in rows.tolist()])
            chosen.append(rows[np.lexsort((rows, sums))[:_COMPARED]])
        return np.sort(np.concatenate(chosen))

    def allow(self, left: Rows, right: Rows) -> Flags:
        """Return which pairs of rows may ask the same: those of no family, and those filled by the same."""
        in_family = np.flatnonzero((self.family[left] >= 0) | (self.family[right] >= 0))
        allowed = np.ones(len(left), bool)
        allowed[in_family] = [
            self._may_match(a, b)
            for a, b in zip(left[in_family].tolist(), right[in_family].tolist(), strict=True)
        ]
        return allowed

    def extend(self, left: Rows, right: Rows) -> tuple[Rows, Rows]:
        """Return the pairs of all members that pairs of compared rows stand for, sorted, `left < right`.

        A text near a family is paired with the members filled by the same, and two families that are near
        with each other's; members of one family are paired if they are filled by the same, as 7 and 007.
        """
        found = {(a, b) for a, b in zip(left.tolist(), right.tolist(), strict=True) if self._may_match(a, b)}
        found |= set(self._pairs_inside())
        sides = {self._order(a, b) for a, b in zip(left.tolist(), right.tolist(), strict=True)}
        for side in sides:
            if side is not None:
                found |= set(self._pairs_between(*side))
        keys = np.array(sorted(found), np.int64).reshape(-1, 2)
        return keys[:, 0], keys[:, 1]

    def _order(self, a: int, b: int) -> tuple[int, int] | None:
        """Return the family of a pair, and the other side: a row as it is, a family counted from -1 down."""
        first, second = (int(self.family[row]) for row in (a, b))
        if max(first, second) < 0 or first == second:
            return None
        if min(first, second) >= 0:
            return min(first, second), -1 - max(first, second)
        return (first, b) if first >= 0 else (second, a)

    def _pairs_inside(self) -> Iterator[tuple[int, int]]:
        for rows in self._rows_by_filling.values():
            yield from combinations(rows, 2)

    def _pairs_between(self, family: int, other: int) -> Iterator[tuple[int, int]]:
        rows = [other] if other >= 0 else self._rows_of_families[-1 - other].tolist()
        for row in rows:
            for filling in self._fillings(row, family):
                for member in self._rows_by_filling.get((family, filling), ()):
                    yield (min(row, member), max(row, member))

    def _may_match(self, a: int, b: int) -> bool:
        first, second = int(self.family[a]), int(self.family[b])
        if first == second:
            return first < 0 or self._filling(a) == self._filling(b)
        return all(
            family < 0 or self._filling(member) in self._fillings(other, family)
            for family, member, other in ((first, a, b), (second, b, a))
        )

    def _fillings(self, row: int, family: int) -> Iterable[str]:
        """Return what a row may fill the gaps of a family with."""
        masked = self._mask(row)
        if family not in self._gaps:
            return (masked.filling,)
        own = int(self.family[row])
        words = masked.words if own < 0 or own not in self._gaps else (masked.words[self._gaps[own]],)
        return {_fill(word, masked.filling) for word in words}

    def _filling(self, row: int) -> str:
        """Return what fills the gaps of a member of a family."""
        masked, gap = self._mask(row), self._gaps.get(int(self.family[row]))
        return masked.filling if gap is None else _fill(masked.words[gap], masked.filling)

    def _mask(self, row: int) -> _Masked:
        if row not in self._masks:
            self._masks[row] = _mask(self._texts[row])
        return self._masks[row]

    @cached_property
    def _rows_of_families(self) -> list[Rows]:
        order = np.argsort(self.family, kind="stable")
        starts = np.searchsorted(self.family[order], np.arange(len(self) + 1))
        return [order[start:end] for start, end in pairwise(starts)]

    @cached_property
    def _rows_by_filling(self) -> dict[tuple[int, str], list[int]]:
        rows: dict[tuple[int, str], list[int]] = defaultdict(list)
        for row in np.flatnonzero(self.family >= 0).tolist():
            rows[int(self.family[row]), self._filling(row)].append(row)
        return dict(rows)


def _fill(word: str, filling: str) -> str:
    return f"{word.strip('.,;:!?()')} {filling}".strip()


def find_families(texts: Sequence[str]) -> Families:
    """Find the families of distinct texts.

    At least 50 texts that are equal but for numbers and codes are one, codes being words with a digit; and at
    least 500 that are equal but for these and one word at the same place among six others or more.
    """
    family = np.full(len(texts), -1, np.int64)
    masks = np.zeros(len(texts), np.int64)  # hashes, 0 where a text has no number
    halves = np.zeros((2, len(texts)), np.int64)  # hashes, 0 where a text has too few or too many words
    for row, text in enumerate(texts):
        masked = _mask(text)
        words, middle = masked.words, len(masked.words) // 2
        if masked.filling:
            masks[row] = hash(words)
        if _FIXED_WORDS < len(words) <= _LONGEST:
            halves[:, row] = hash((len(words), words[:middle])), hash((len(words), words[middle:]))
    number = 0
    for rows in _group(masks, LEAST_OF_NUMBERS):
        family[rows] = number
        number += 1
    gaps: dict[int, int] = {}
    for gap, rows in _group_by_gap(texts, np.where(family < 0, halves, 0)):
        free = rows[family[rows] < 0]
        if len(free) >= LEAST_OF_WORDS:
            family[free], gaps[number] = number, gap
            number += 1
    return Families(texts, family, gaps)


def _group(keys: Rows, least: int) -> list[Rows]:
    """Return the positions of each key but 0 that occurs at least so often, the most frequent first."""
    order = np.argsort(keys, kind="stable")
    found, starts, sizes = np.unique(keys[order], return_index=True, return_counts=True)
    large = np.flatnonzero((sizes >= least) & (found != 0))
    groups = [order[starts[i] : starts[i] + sizes[i]] for i in large]
    return sorted(groups, key=lambda group: (-len(group), group[0]))


def _group_by_gap(texts: Sequence[str], halves: Rows) -> Iterator[tuple[int, Rows]]:
    """Yield rows that are equal but for the word at some place, and the place, the largest groups first.

    A word differs in one half of the texts, so that many have the other half in common: others are left out.
    """
    keys, rows, places = array("q"), array("q"), array("q")
    for side, hashes in enumerate(halves):
        for row in np.sort(np.concatenate([np.empty(0, np.int64), *_group(hashes, LEAST_OF_WORDS)])).tolist():
            words = _mask(texts[row]).words
            middle = len(words) // 2
            for place in range(middle, len(words)) if side == 0 else range(middle):
                keys.append(hash((place, words[:place], words[place + 1 :])))
                rows.append(row)
                places.append(place)
    for group in _group(np.array(keys, np.int64), LEAST_OF_WORDS):
        yield places[int(group[0])], np.array(rows, np.int64)[group]
