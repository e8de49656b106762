"""Read one file by the reader of its format."""

from __future__ import annotations

from importlib import import_module

from ..formats import FORMATS
from ..settings import CorpusSettings
from .parts import Part
from .sources import Source


def read_file(source: Source, settings: CorpusSettings) -> Part:
    """Read one source. Raises `InputError` where it cannot be opened or parsed."""
    # Imported here, because a reader may need a library that others do not.
    reader = import_module(f".{FORMATS[source.format].reader}", __package__)
    part: Part = reader.read(source, settings)
    return part
