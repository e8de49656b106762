"""Which encoding a file without a mark is in, as far as its bytes tell."""

from __future__ import annotations

import codecs
import re
import unicodedata

BOMS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",  # before UTF-16, whose mark is the start of this one
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_WIDE = ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")
_BLANKS = " \n,"
_NO_TEXT = ("Cc", "Cn", "Co")  # categories of control characters, and of what is no character
_SAMPLE = 1 << 16  # bytes that are looked at
_STRANGE = 0.02  # of the characters beyond ASCII, in names and quotations

# Letters of Western European languages, without those that are common in what other code pages make of the
# same bytes, such as the Czech \u0159 and \u010d, the Turkish \u0131 and \u015f or the Hungarian \u0151.
_LETTERS = frozenset("ÀÁÂÃÄÅÆÇÈÉÊËÍÎÏÑÓÔÖØÙÚÛÜŒßàáâãäåæçèéêëíîïñóôöøùúûüœìòÌÒ")
_QUOTES = "\u2039\u203a\u201c\u201d\u201e\u201a\u2013\u2014\u2026\u2022"  # and dashes
_INSIDE_WORDS = frozenset("\u2018\u2019\u00b4\u00b7")  # marks that stand between letters
_MARKS = _INSIDE_WORDS.union(_QUOTES, "\u00a0¡¿«»€£¥§©®™°²³½¼¾±\u00d7÷µªº¨")
_RUN = re.compile("[^\\W\\d_a-zA-Z]{4,}")  # Western words have few accents in a row
_UTF8 = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]")


def find_bom(head: bytes) -> tuple[str, int] | None:
    """Return the encoding of a byte order mark and its length, repeated ones included; None without one."""
    for bom, name in BOMS.items():
        if marks := re.match(b"(" + re.escape(bom) + b")+", head):
            return name, marks.end()
    return None


def find_wide(head: bytes) -> str | None:
    """Return UTF-16 or UTF-32 for text without a mark, None for other bytes.

    Text has spaces, breaks or commas, of which a wrong reading of the bytes leaves few.
    """
    head = head[:_SAMPLE]
    if b"\0" not in head:
        return None
    for name in _WIDE:
        text = codecs.getincrementaldecoder(name)("replace").decode(head)  # its end may be half a character
        blanks = sum(map(text.count, _BLANKS))
        if (
            10 * text.count("\ufffd") <= len(text)
            and 2 * blanks >= max(sum(map(head.count, _BLANKS.encode())), 1)
            and all(char in "\t\n\r" or unicodedata.category(char) not in _NO_TEXT for char in text)
        ):
            return name
    return None


def is_western(data: bytes) -> bool:
    """Return whether bytes read as cp1252 look like text of a Western European language."""
    if b"\0" in data:
        return False
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        return False
    places = [match.start() for match in _BEYOND_ASCII.finditer(data)]  # one byte is one character
    strange = sum(not _is_plausible(text, place) for place in places) + sum(map(len, _RUN.findall(text)))
    return strange <= _STRANGE * len(places)


def _is_plausible(text: str, place: int) -> bool:
    char, before, after = text[place], text[place - 1 : place], text[place + 1 : place + 2]
    if char in _LETTERS:
        # Portuguese has these before few letters; Romanian and Hungarian would have them before any.
        return char not in "ãÃ" or after.lower() in ("", "o", "e", "s", "i") or not after.isalpha()
    if char == "õ":
        return after == "e"
    return char in _MARKS and (char in _INSIDE_WORDS or not (before.isalpha() and after.isalpha()))


def guess_encoding(data: bytes) -> str | None:
    """Return the encoding that charset-normalizer finds most likely, None where it has no idea."""
    from charset_normalizer import from_bytes  # only where a file is not UTF-8

    lines = [line for line in data.split(b"\n") if not line.isascii()]
    best = from_bytes(b"\n".join(lines)[:_SAMPLE]).best()
    return None if best is None else best.encoding


def mixes_utf8(data: bytes) -> bool:
    """Return whether most of the bytes beyond ASCII are valid UTF-8 sequences."""
    sequences = sum(map(len, _UTF8.findall(data)))
    return 2 * sequences > len(_BEYOND_ASCII.findall(data))
