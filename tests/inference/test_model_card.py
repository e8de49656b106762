"""The languages that a model's card names."""

from __future__ import annotations

from pathlib import Path

import pytest

from dupmine.inference.locate import locate_model
from dupmine.inference.model_card import read_languages
from dupmine.settings import BUILTIN_CROSS_ENCODER


@pytest.mark.parametrize(
    ("card", "languages"),
    [
        ("---\nlanguage: en\n---\n# A model\n", {"en"}),
        ("---\nlanguage:\n- de\n- en\n---\n", {"de", "en"}),
        ("---\nlanguage: [en-US, multilingual]\n---\n", {"en"}),
        ("---\nlicense: mit\n---\nlanguage: en\n", set()),
        ("# A model\n", set()),
        ("---\nlanguage: [en\n---\n", set()),
        ("---\n- en\n---\n", set()),
    ],
)
def test_languages_of_a_card(card: str, languages: set[str], tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(card, encoding="utf-8")
    assert read_languages(tmp_path) == languages


def test_a_model_without_a_card_names_none(tmp_path: Path) -> None:
    assert read_languages(tmp_path) == frozenset()


def test_the_built_in_cross_encoder_knows_english() -> None:
    assert read_languages(locate_model(BUILTIN_CROSS_ENCODER)) == {"en"}
