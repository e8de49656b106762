"""Labels of documents by their ids: gold clusters, or pairs that are duplicates or not."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa

from ..errors import InputError
from ..messages import display_all
from ..settings import CorpusSettings
from .files import read_files
from .parts import Part
from .sources import find_sources
from .values import to_strings

GOLD = ("id", "cluster")
PAIRS = ("qid1", "qid2", "is_duplicate")
_FLAGS = {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}


def read_gold(path: Path) -> pd.DataFrame:
    """Read gold clusters (`GOLD`) or labelled pairs (`PAIRS`) of documents by id.

    All values are strings, but for the flags `is_duplicate`.

    Raises:
        InputError: the file cannot be read, or a column, a label or an id is missing or broken.
    """
    parts = read_files(find_sources([path], "auto"), CorpusSettings())
    table = pd.concat([_read_columns(part) for part in parts], ignore_index=True)
    if (table.isna() | (table == "")).any(axis=None):
        raise InputError(f"{path}: a label or an id is missing; remove or complete that row")
    return _with_gold(table, path) if set(GOLD) <= set(table.columns) else _with_flags(table, path)


def _read_columns(part: Part) -> pd.DataFrame:
    names = next((names for names in (GOLD, PAIRS) if all(map(part.has, names))), None)
    if names is None:
        found = display_all(part.table.column_names) or "an empty file"
        raise InputError(
            f"{part.name}: expected the columns {', '.join(GOLD)} or {', '.join(PAIRS)}, found {found}"
        )
    try:
        return pd.DataFrame({name: to_strings(part.table.column(name)).to_pandas() for name in names})
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"{part.name}: a column of labels cannot be read: {error}") from None


def _with_gold(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    repeated = table.loc[table["id"].duplicated(), "id"]
    if len(repeated):
        raise InputError(f"{path}: the id {repeated.iloc[0]!r} occurs twice; give each document one cluster")
    return table


def _with_flags(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    flags = table["is_duplicate"].str.lower().map(_FLAGS)
    if flags.isna().any():
        invalid = table.loc[flags.isna(), "is_duplicate"].iloc[0]
        raise InputError(f"{path}: is_duplicate holds {invalid!r}; expected 0 or 1, or true or false")
    return table.assign(is_duplicate=flags.astype(bool))
