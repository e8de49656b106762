"""The languages of a corpus: counted, warned of, or an error."""

from __future__ import annotations

import logging

import pytest

from dupmine.corpus.language import Languages, check_languages
from dupmine.errors import InputError
from dupmine.settings import MiningSettings, load_settings

ENGLISH = [
    "How can I learn to play the guitar?",
    "What is the best way to lose weight quickly?",
    "Why is the sky blue in the morning?",
    "Where can I buy a cheap ticket to London?",
]
GERMAN = [
    "Wie wird das neuartige Coronavirus \u00fcbertragen?",
    "Welche L\u00e4nder sind von Erkrankungen betroffen?",
    "Ist ein Test bei Personen ohne jedes Krankheitszeichen sinnvoll?",
]
CHINESE = ["\u600e\u6837\u53bb\u75d8\u5370\u6700\u6709\u6548"]
KNOWN = frozenset({"en"})


def test_foreign_texts_are_counted_and_named(caplog: pytest.LogCaptureFixture) -> None:
    languages = check_languages([*ENGLISH, *GERMAN, *CHINESE], KNOWN, MiningSettings())
    assert languages.facts == {"texts": 8, "en": 4, "de": 3, "zh": 1}
    assert languages.foreign == 4
    assert (
        "4 of 8 texts are not in a language that quora-minilm-l6 knows (German 3, Chinese 1)" in caplog.text
    )


def test_strict_language_makes_it_an_error() -> None:
    strict = load_settings(overrides={"corpus.strict_language": True})
    with pytest.raises(InputError, match=r"3 of 7 texts .*\(German 3\).* leave --strict-language out"):
        check_languages([*ENGLISH, *GERMAN], KNOWN, strict)
    assert check_languages(ENGLISH, KNOWN, strict).foreign == 0


def test_a_known_language_and_an_unknown_model_give_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    assert check_languages(GERMAN, frozenset({"de", "en"}), MiningSettings()).foreign == 0
    assert check_languages(GERMAN, frozenset(), MiningSettings()).facts == {"texts": 0}
    assert check_languages([], KNOWN, MiningSettings()).foreign == 0
    assert caplog.text == ""


def test_short_or_meaningless_texts_count_as_no_language() -> None:
    assert check_languages(["C++", "12.04", "refund", "ok?"], KNOWN, MiningSettings()).counts == {}


def test_a_sample_stands_for_the_corpus() -> None:
    texts = [text for pair in zip(ENGLISH * 3000, (GERMAN * 4000), strict=True) for text in pair]
    languages = check_languages(texts, KNOWN, MiningSettings())
    assert (languages.texts, languages.sampled) == (24_000, 10_000)
    assert abs(languages.foreign - 12_000) < 400


def test_rare_languages_are_added_up() -> None:
    counts = {"de": 9, "nl": 5, "fr": 4, "it": 2, "es": 1}
    assert str(Languages(30, 30, counts, KNOWN)) == "German 9, Dutch 5, French 4, others 3"
