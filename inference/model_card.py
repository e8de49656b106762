"""What a model's card says about it."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

_CARD = "README.md"
_HEAD = re.compile(r"\A---\s*\n(.*?)\n---\s*$", re.DOTALL | re.MULTILINE)


def read_languages(folder: Path) -> frozenset[str]:
    """Return the ISO 639-1 codes of the languages that a model's card names, none where it names none.

    Hugging Face's cards have them under `language`, one or a list. A card that cannot be read names none.
    """
    try:
        head = _HEAD.match((folder / _CARD).read_text(encoding="utf-8"))
        card = yaml.safe_load(head[1]) if head else None
    except (OSError, ValueError, yaml.YAMLError):
        return frozenset()
    named = card.get("language") if isinstance(card, dict) else None
    codes = [named] if isinstance(named, str) else named if isinstance(named, list) else []
    return frozenset(str(code).lower()[:2] for code in codes if str(code).lower() != "multilingual")
