"""Files of labelled pairs, for training and evaluation."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import InputError
from ..messages import describe_error, display, display_all
from ..schema import Floats, LabelledPairs, Rows
from ..settings import CorpusSettings, FileSettings, PairSettings
from .columns import require_texts
from .files import read_files
from .ids import id_text
from .pairs import PAIR_NAMES, QID_NAMES
from .parts import Part
from .sources import find_sources
from .values import to_strings

log = logging.getLogger(__name__)

TEXT_NAMES = (*PAIR_NAMES, ("left", "right"))
LABEL_NAMES = ("is_duplicate", "label", "score", "similar", "duplicate", "is_similar", "similarity")
ID_NAMES = (QID_NAMES, ("id1", "id2"), ("left_id", "right_id"))
SPLIT = "split"

_FLAGS = {"false": 0.0, "true": 1.0, "no": 0.0, "yes": 1.0}


def read_pairs(path: str | Path, settings: PairSettings, *, split: str | None = None) -> LabelledPairs:
    """Read a file of labelled pairs in any format that can hold them.

    The settings name the columns, or they are found by name. Labels are numbers from 0 (different) to
    `label_max` (the same), or true and false; they are divided by `label_max`. With `split`, only rows with
    that value in the column `split` are read. Pairs with an empty text are skipped, with a warning that
    counts them.

    Raises:
        InputError: a file that cannot be read, a missing column, a label that is missing or out of range;
            the message names the file and the row.
        SettingsError: a column of the settings that does not exist.
    """
    return _read_files(path, settings, split)[0]


def read_pairs_and_rows(path: str | Path, settings: PairSettings) -> tuple[LabelledPairs, pa.Table]:
    """Read a file of labelled pairs as `read_pairs` does, and the row of each with all its columns."""
    pairs, parts = _read_files(path, settings, None)
    try:
        tables = [part.table.take(pa.array(rows)) for part, rows in parts]
        return pairs, pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:  # only with several files
        raise InputError(f"{path}: its files differ in a column's type: {describe_error(error)}") from None


def pairs_sha256(pairs: LabelledPairs) -> str:
    """Return a SHA-256 over the texts and labels in their order, the same for every file format."""
    total = hashlib.sha256(pairs.label.tobytes())
    for text in (*pairs.left, *pairs.right):
        total.update(text.encode() + b"\0")
    return total.hexdigest()


def _read_files(
    path: str | Path, settings: PairSettings, split: str | None
) -> tuple[LabelledPairs, list[tuple[Part, Rows]]]:
    """Return the pairs of all files, and each file with the rows of its pairs."""
    written = settings.model_dump(include=set(FileSettings.model_fields))
    parts = read_files(find_sources([path], "auto"), CorpusSettings(**written))
    read = [_read_part(part, settings, split) for part in parts]
    pairs = LabelledPairs.concatenate([pairs for pairs, _ in read], source=str(path))
    if not len(pairs):
        condition = "" if split is None else f" of split {split!r}"
        raise InputError(f"{path}: there are no labelled pairs{condition} in it")
    log.info("read %d labelled pairs from %s", len(pairs), path)
    return pairs, [(part, rows) for part, (_, rows) in zip(parts, read, strict=True)]


def _read_part(part: Part, settings: PairSettings, split: str | None) -> tuple[LabelledPairs, Rows]:
    texts = _choose_text_columns(part, settings.text_columns)
    label = _choose_label_column(part, settings.label_column)
    ids = next((names for names in ID_NAMES if all(map(part.has, names))), None)
    rows = _rows_with_texts(part, texts, split)
    left, right = (_take_strings(require_texts(part, name), rows) for name in texts)
    left_id, right_id = (
        (None, None) if ids is None else (_take_strings(part.column(name), rows) for name in ids)
    )
    labels = _read_labels(part, label, settings.label_max, rows)
    return LabelledPairs(left, right, labels, left_id, right_id, part.name), rows


def _choose_text_columns(part: Part, setting: str | None) -> tuple[str, str]:
    if setting is not None:
        first, second = (name.strip() for name in setting.split(","))
        for name in (first, second):
            part.require_column(name, "setting pairs.text_columns")
        return first, second
    columns = next((names for names in TEXT_NAMES if all(map(part.has, names))), None)
    if columns is None:
        expected = ", or ".join(" and ".join(names) for names in TEXT_NAMES)
        raise InputError(
            f"{part.name}: no two columns of texts: expected {expected}; "
            f"the columns are {display_all(part.table.column_names)}: name two with --text-columns A,B"
        )
    return columns


def _choose_label_column(part: Part, setting: str | None) -> str:
    if setting is not None:
        part.require_column(setting, "setting pairs.label_column")
        return setting
    column = next((name for name in LABEL_NAMES if part.has(name)), None)
    if column is None:
        raise InputError(
            f"{part.name}: no column with labels: expected {', '.join(LABEL_NAMES)}; "
            f"the columns are {display_all(part.table.column_names)}: name one with --label-column"
        )
    return column


def _rows_with_texts(part: Part, texts: tuple[str, str], split: str | None) -> Rows:
    """Return the rows of the split without empty texts; a warning counts the others."""
    empty = np.zeros(part.table.num_rows, bool)
    for name in texts:
        length = pc.utf8_length(pc.utf8_trim_whitespace(require_texts(part, name)))
        empty |= pc.fill_null(pc.equal(length, 0), True).to_numpy()
    in_split = np.ones(len(empty), bool) if split is None else _is_in_split(part, split)
    if (skipped := np.flatnonzero(in_split & empty)).size:
        place = part.place(int(skipped[0]))
        log.warning("%d pairs with an empty text are left out, the first at %s", skipped.size, place)
    return np.flatnonzero(in_split & ~empty)


def _is_in_split(part: Part, split: str) -> npt.NDArray[np.bool_]:
    if not part.has(SPLIT):
        raise InputError(
            f"{part.name}: no column {SPLIT}, so there is no split {split!r}; "
            "make one with dupmine split, or leave the option out"
        )
    values = to_strings(part.column(SPLIT))
    in_split: npt.NDArray[np.bool_] = pc.fill_null(pc.equal(values, split), False).to_numpy()
    if not in_split.any():
        splits = sorted(str(value) for value in pc.unique(values).to_pylist())
        raise InputError(f"{part.name}: no row has split {split!r}; there are {display_all(splits)}")
    return in_split


def _take_strings(column: pa.ChunkedArray, rows: Rows) -> list[str]:
    """Return the values of some rows as strings; a missing id becomes an empty one."""
    return ["" if value is None else id_text(value) for value in column.take(pa.array(rows)).to_pylist()]


def _read_labels(part: Part, name: str, label_max: float, rows: Rows) -> Floats:
    column = part.column(name).take(pa.array(rows))
    labels = np.empty(len(column), np.float32)
    for i, value in enumerate(column.to_pylist()):
        number = _parse_label(value)
        if number is None or not 0 <= number <= label_max:
            problem = "is missing" if value is None or value == "" else f"is {display(value)}"
            raise InputError(
                f"{part.place(int(rows[i]))}: {display(name)} {problem}: expected a number from 0 "
                f"(different) to {label_max:g} (the same), or true or false"
            )
        labels[i] = number / label_max
    return labels


def _parse_label(value: object) -> float | None:
    if isinstance(value, str) and value.strip().lower() in _FLAGS:
        return _FLAGS[value.strip().lower()]
    try:
        return float(value)  # type: ignore[arg-type] # another type is refused below
    except (TypeError, ValueError):
        return None
