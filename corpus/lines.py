"""Plain text: a text a line."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import InputError
from ..schema import TEXT
from ..settings import CorpusSettings
from .guesses import find_names
from .parts import Part
from .sources import Source
from .streams import open_text
from .values import make_chunked


def read(source: Source, settings: CorpusSettings) -> Part:
    """Read the lines of a file, each a text; blank ones are skipped, and rows are numbers of lines.

    Raises `InputError` where the file cannot be opened, or where it looks like a table and no format is set.
    """
    with open_text(source, settings) as stream:
        lines = bytes(stream.read_all()).decode().replace("\r\n", "\n").replace("\r", "\n").split("\n")
        rows = np.array([i for i, line in enumerate(lines) if line.strip()], np.int64)
        texts = [lines[row] for row in rows]
        if settings.format == "auto" and texts:
            _check_lines(texts, source.path)
        blank = len(lines) - len(rows) - (not lines[-1])
        table = pa.table({TEXT: make_chunked(texts, pa.string())})
        return stream.make_part(table, counts={"blank_lines": blank}, rows=rows)


def _check_lines(texts: list[str], path: str) -> None:
    """Raise `InputError` where the lines look like those of a table or like objects."""
    if texts[0].startswith(('{"', '[{"')) or texts[0].strip() in ("[", "{"):
        raise InputError(f"{path}: the lines are JSON: set --format jsonl, or --format txt for a text a line")
    if sign := find_names(texts[0]):
        format = "tsv" if sign == "\t" else "csv"
        raise InputError(
            f"{path}: the first line has names of columns, as in a table: set --format "
            f"{format}, or --format txt for a text a line"
        )
    tabs = pc.unique(pc.count_substring(pa.array(texts, pa.large_string()), "\t")).to_pylist()
    if len(texts) > 1 and len(tabs) == 1 and tabs[0] > 0:
        raise InputError(
            f"{path}: every line has {tabs[0]} tabs, as in a table: set --format tsv, or --format txt for a "
            "text a line"
        )
