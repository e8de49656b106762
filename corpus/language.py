"""The languages of a corpus, from a sample of its texts."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..settings import MiningSettings

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

log = logging.getLogger(__name__)

_SAMPLE = 10_000  # texts, which take half a second
_SURE = 0.5  # probability; of 3,000 English questions 1 in 500 is sure to be of another language
_MANY = 0.05  # share of the sampled texts
_SHOWN = 3
# By their ISO 639-1 code: among fewer languages short texts are mistaken less often.
NAMES = {
    "am": "Amharic", "ar": "Arabic", "bg": "Bulgarian", "bn": "Bengali", "ca": "Catalan", "cs": "Czech",
    "da": "Danish", "de": "German", "el": "Greek", "en": "English", "es": "Spanish", "et": "Estonian",
    "fa": "Persian", "fi": "Finnish", "fr": "French", "he": "Hebrew", "hi": "Hindi", "hr": "Croatian",
    "hu": "Hungarian", "hy": "Armenian", "id": "Indonesian", "it": "Italian", "ja": "Japanese",
    "ka": "Georgian", "kk": "Kazakh", "ko": "Korean", "lt": "Lithuanian", "lv": "Latvian",
    "mk": "Macedonian", "ms": "Malay", "nl": "Dutch", "no": "Norwegian", "pl": "Polish", "pt": "Portuguese",
    "ro": "Romanian", "ru": "Russian", "sk": "Slovak", "sl": "Slovenian", "sq": "Albanian", "sr": "Serbian",
    "sv": "Swedish", "sw": "Swahili", "ta": "Tamil", "th": "Thai", "tr": "Turkish", "uk": "Ukrainian",
    "ur": "Urdu", "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Languages:
    """How many of `sampled` texts, out of `texts`, are surely of each language, by its code.

    `known` are the languages of the models, none where they are not known: then no text is foreign.
    """

    texts: int
    sampled: int
    counts: dict[str, int]
    known: frozenset[str]

    @property
    def others(self) -> dict[str, int]:
        """The languages that the models do not know, the most frequent first."""
        return {code: n for code, n in self.counts.items() if code not in self.known}

    @property
    def foreign(self) -> int:
        """The texts in languages that the models do not know, estimated from the sample."""
        return round(sum(self.others.values()) / max(self.sampled, 1) * self.texts)

    @property
    def facts(self) -> dict[str, int]:
        """The number of texts that were looked at, and of those in each language."""
        return {"texts": self.sampled, **self.counts}

    def __str__(self) -> str:
        """Return the languages that the models do not know, as `German 380, Dutch 20, others 2`."""
        others = list(self.others.items())
        shown = [f"{NAMES[code]} {n:,}" for code, n in others[:_SHOWN]]
        rest = sum(n for _, n in others[_SHOWN:])
        return ", ".join([*shown, f"others {rest:,}"] if rest else shown)


def check_languages(texts: Sequence[str], known: frozenset[str], settings: MiningSettings) -> Languages:
    """Count the languages of a corpus, and warn if many of its texts are in none that the models know.

    `known` are those of the cross-encoder; without any nothing is counted.

    Raises:
        InputError: instead of the warning, if `corpus.strict_language` is set.
    """
    if not known:
        return Languages(len(texts), 0, {}, known)
    languages = detect_languages(texts, known)
    foreign = sum(languages.others.values())
    if foreign and foreign >= _MANY * languages.sampled:
        message = (
            f"{foreign:,} of {languages.sampled:,} texts are not in a language that "
            f"{settings.rerank.cross_encoder} knows ({languages}), so probabilities mean little: give a "
            "--bi-encoder and a --cross-encoder for them"
        )
        if settings.corpus.strict_language:
            raise InputError(f"{message}, or leave --strict-language out")
        log.warning("%s", message)
    return languages


def detect_languages(texts: Sequence[str], known: frozenset[str]) -> Languages:
    """Count the languages of at most 10,000 texts, evenly spaced."""
    rows = np.unique(np.linspace(0, len(texts) - 1, min(len(texts), _SAMPLE)).astype(np.int64)).tolist()
    classify = _identifier().classify
    found = Counter(code for code, sure in (classify(texts[row]) for row in rows) if sure >= _SURE)
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return Languages(len(texts), len(rows), dict(ordered), known)


@lru_cache(maxsize=1)
def _identifier() -> LanguageIdentifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(list(NAMES))
    return identifier
