"""Read files by the readers of their formats, and tell what the readers guessed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib import import_module

from ..formats import FORMATS
from ..messages import escape
from ..settings import CorpusSettings
from .parts import Part
from .sources import Source

logger = logging.getLogger(__name__)

_SAID = {
    ("quote", "none"): "quotes are read as plain characters",
    ("quote", '"'): "some quoted fields hold line breaks",
    ("escape", "none"): "backslashes are read as plain characters",
    ("delimiter", "none"): "each line is read as one text",
    "compression": "the file is compressed with {}, whatever its name",
    "delimiter": "fields are separated by {}",
    "encoding": "the encoding is {}",
    "escape": "backslashes are read as {} writes them",
    "quote": "fields are enclosed in {}",
}


def read_files(sources: Sequence[Source], settings: CorpusSettings) -> list[Part]:
    """Read sources. Raises `InputError` where one cannot be opened or parsed; warns of what is guessed."""
    parts = [_read_file(source, settings) for source in sources]
    guesses: dict[tuple[str, str], list[str]] = {}
    for part in parts:
        for guess in part.guesses.items():
            guesses.setdefault(guess, []).append(part.name)
    for (option, value), names in guesses.items():
        text = _SAID.get((option, value)) or _SAID[option].format(value)
        more = f" and {len(names) - 1} more files" if len(names) > 1 else ""
        advice = "" if option == "compression" else f"; set --{option} to be sure"
        logger.warning("%s%s: %s, as it seems%s", escape(names[0]), more, text, advice)
    return parts


def _read_file(source: Source, settings: CorpusSettings) -> Part:
    # Imported here, because a reader may need a library that others do not.
    reader = import_module(f".{FORMATS[source.format].reader}", __package__)
    part: Part = reader.read(source, settings)
    return part
