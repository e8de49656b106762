"""Texts of all sorts for the tests that run a model."""

from __future__ import annotations

QUESTIONS = [
    "How do I learn Python?",
    "What is the best way to learn Python?",
    "how do i learn  python",
    "Why is the sky blue?",
    "What makes the sky blue?",
    "Is C++ faster than C# or C?",
    "Where can I buy a horse, and what does it cost to keep one through the winter in the north of France?",
    "¿Dónde está la biblioteca?",
    "日本語はどうやって勉強しますか",
    "a",
    "?!",
    "[MASK] [SEP] </s>",
    "zero\u200bwidth and na\u00efve caf\u00e9",
    *(f"How many {thing} are there in {place}?" for thing in ("cats", "cars", "rivers") for place in
      ("Paris", "the whole world", "your house", "a year of work at home", "Saint-Petersburg")),
    *("Should I " + " and ".join(["run", "walk", "swim", "read", "sing", "code"] * times) + "?" for times in
      range(1, 9)),
    *(f"What is {n} times {n + 7}?" for n in range(14)),
]  # fmt: skip
