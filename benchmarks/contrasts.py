"""Change a question so that it asks something else, or write the same question in another way.

Both are by rule, for the training mixture: a change of a number, of a name, of direction, of a word into its
opposite or of "do" into "don't" makes another question; a misspelling, an alias, lower case or left-out
question words do not.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

Rewrite = Callable[[str, np.random.Generator], str | None]

# Without "faster" and "slower", "add" and "remove", "on" and "off", which are left for judging.
_OPPOSITES = (
    "increase decrease, buy sell, install uninstall, enable disable, import export, upload download, "
    "start stop, open close, gain lose, win lose, before after, best worst, good bad, cheap expensive, "
    "male female, boys girls, men women, husband wife, first last, highest lowest, largest smallest, "
    "easy difficult, hot cold, private public, legal illegal, old new, long short, short tall, "
    "advantages disadvantages, pros cons, encrypt decrypt, send receive, lend borrow, minimum maximum, "
    "input output, inside outside, left right, love hate, hire fire, parents children, day night"
)
_NAMES = (
    "India China Japan Canada Germany France Russia Brazil Australia Pakistan Mexico Spain Italy",
    "Delhi Mumbai Bangalore London Paris Berlin Tokyo Chicago Boston Seattle Toronto Sydney Dubai",
    "Google Facebook Amazon Microsoft Apple Twitter Uber Netflix Samsung Nokia Sony",
    "Java Python Ruby Scala Perl Rust Kotlin Swift PHP",
    "Android iOS Windows Linux Ubuntu",
    "English French German Spanish Japanese Chinese Hindi Arabic",
    "January February March April June July August September October November December",
    "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "dog cat horse rabbit hamster",
)
_ALIASES = (
    ("United States", "US", "USA", "U.S."),
    ("United Kingdom", "UK", "U.K."),
    ("artificial intelligence", "AI"),
    ("machine learning", "ML"),
    ("JavaScript", "JS"),
    ("operating system", "OS"),
    ("World War 2", "WWII", "World War II", "second world war"),
    ("New York City", "NYC"),
    ("information technology", "IT"),
    ("and", "&"),
    ("per cent", "percent", "%"),
)
_NUMBER = re.compile(r"(?<![\w.])\d{1,7}(?![\w])")
_FROM_TO = re.compile(r"\b(?:from|convert|translate) (?:an? )?([\w-]+) (?:in)?to (?:an? )?([\w-]+)", re.I)
_WHY = re.compile(r"^(why|what if|how come)\b(.*?)\b(do|does|did|is|are|can|should|would|was)\b", re.I)
_OF = re.compile(r"^what (?:is|are) the ([\w -]{3,40}) (?:of|for) ([^?,]{3,60})\?*$", re.I)
_SHORTER = re.compile(r"^(what is|what are|how do i|how can i|how do you|how to)\b ?(the |a |an )?", re.I)


def change_number(text: str, rng: np.random.Generator) -> str | None:
    """Return the text with another number, None where it has none."""
    numbers = list(_NUMBER.finditer(text))
    if not numbers:
        return None
    chosen = numbers[rng.integers(len(numbers))]
    value = int(chosen[0])
    other = value + int(rng.choice([-2, -1, 1, 2, 3, 10]))
    return text[: chosen.start()] + str(other if other > 0 else value + 1) + text[chosen.end() :]


def change_name(text: str, rng: np.random.Generator) -> str | None:
    """Return the text with a name replaced by another of its kind, None where it has none that is known."""
    kinds = [(names.split(), re.findall(rf"\b(?:{names.replace(' ', '|')})\b", text)) for names in _NAMES]
    found = [(word, names) for names, words in kinds for word in words]
    if not found:
        return None
    word, names = found[rng.integers(len(found))]
    others = [name for name in names if name not in text]
    return re.sub(rf"\b{word}\b", str(rng.choice(others)), text) if others else None


def change_direction(text: str, _: np.random.Generator) -> str | None:
    """Return the text with the ends of "from A to B" exchanged, None where it has no such words."""
    match = _FROM_TO.search(text)
    if match is None or match[1].lower() == match[2].lower():
        return None
    (start, end), (start2, end2) = match.span(1), match.span(2)
    return text[:start] + match[2] + text[end:start2] + match[1] + text[end2:]


def change_opposite(text: str, rng: np.random.Generator) -> str | None:
    """Return the text with a word replaced by its opposite, None where it has none that is known."""
    found = [(word, other) for word, other in _opposites() if re.search(rf"\b{word}\b", text, re.I)]
    if not found:
        return None
    word, other = found[rng.integers(len(found))]
    return re.sub(rf"\b{word}\b", other, text, flags=re.I)


def negate(text: str, _: np.random.Generator) -> str | None:
    """Return a "why" question with its verb negated, None for other questions and negated ones."""
    match = _WHY.search(text)
    if match is None or re.search(r"n't|\bnot\b|\bnever\b|\bno\b", text):
        return None
    negated = {"can": "can't"}.get(match[3].lower(), f"{match[3]}n't")
    return text[: match.start(3)] + negated + text[match.end(3) :]


def misspell(text: str, rng: np.random.Generator) -> str | None:
    """Return the text with two letters of a long word exchanged, one lost or one doubled."""
    words = list(re.finditer(r"[a-z]{5,}", text))
    if not words:
        return None
    word = words[rng.integers(len(words))]
    at = word.start() + int(rng.integers(1, len(word[0]) - 2))
    pair = text[at : at + 2]
    wrong = str(rng.choice([pair[::-1], pair[0], pair[0] + pair]))
    return None if wrong == pair else text[:at] + wrong + text[at + 2 :]


def use_alias(text: str, rng: np.random.Generator) -> str | None:
    """Return the text with a name replaced by another for the same thing, None where it has none."""
    for names in _ALIASES:
        for name in names:
            if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text):
                other = str(rng.choice([other for other in names if other != name]))
                return re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", other, text)
    return None


def simplify(text: str, rng: np.random.Generator) -> str | None:
    """Return the text in lower case without marks, or as key words: "symptoms of flu" for the question."""
    match = _OF.match(text.strip())
    if match is not None and rng.random() < 0.7:
        return str(rng.choice([f"{match[2]} {match[1]}", f"{match[1]} of {match[2]}"]))
    plain = re.sub(r"[?.!,'\"]", "", text).lower()
    if rng.random() < 0.3:
        plain = _SHORTER.sub("", plain)
    return plain if len(plain) > 8 and plain != text else None


DIFFERENT: dict[str, Rewrite] = {
    "number": change_number,
    "name": change_name,
    "direction": change_direction,
    "opposite": change_opposite,
    "negation": negate,
}
SAME: dict[str, Rewrite] = {"misspelling": misspell, "alias": use_alias, "simpler": simplify}


def _opposites() -> list[tuple[str, str]]:
    pairs = [tuple(pair.split()) for pair in _OPPOSITES.split(", ")]
    return [pair for one, other in pairs for pair in ((one, other), (other, one))]
