"""Files of labelled pairs, as training and judging read them."""

from __future__ import annotations

import difflib
import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import InputError, SettingsError
from ..schema import Floats, LabelledPairs, Rows
from ..settings import CorpusSettings, PairSettings
from .columns import require_texts
from .formats import read_part
from .parts import Part, listed, one_line, shown, to_strings
from .sources import find_sources

log = logging.getLogger(__name__)

TEXT_NAMES = (("question1", "question2"), ("text1", "text2"), ("sentence1", "sentence2"), ("left", "right"))
LABEL_NAMES = ("is_duplicate", "label", "score")
ID_NAMES = (("qid1", "qid2"), ("id1", "id2"), ("left_id", "right_id"))
SPLIT = "split"

_FLAGS = {"false": 0.0, "true": 1.0, "no": 0.0, "yes": 1.0}


def read_pairs(path: str | Path, settings: PairSettings, *, split: str | None = None) -> LabelledPairs:
    """Read a file of labelled pairs: CSV, TSV, JSON lines or Parquet, each also gzipped or zstd.

    The columns go by the settings or by name. Labels are numbers from 0 (different) to `label_max` (the
    same), or true and false; they are divided by `label_max`. With `split`, only rows with that value in
    the column `split` are read. Pairs with an empty text are left out, with a warning that counts them.

    Raises:
        InputError: a file that cannot be read, a missing column, a label that is missing or out of range;
            the message names the file and the row.
        SettingsError: a column named in the settings that is not there.
    """
    return _read_files(path, settings, split)[0]


def read_pairs_and_rows(path: str | Path, settings: PairSettings) -> tuple[LabelledPairs, pa.Table]:
    """Read a file of labelled pairs as `read_pairs` does, and the row of each with all its columns."""
    pairs, kept = _read_files(path, settings, None)
    try:
        tables = [part.table.take(pa.array(rows)) for part, rows in kept]
        return pairs, pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:  # never so with one file
        raise InputError(f"{path}: its files differ in a column's type: {one_line(error)}") from None


def pairs_sha256(pairs: LabelledPairs) -> str:
    """Return a SHA-256 over the texts and labels in their order, the same for every file format."""
    total = hashlib.sha256(pairs.label.tobytes())
    for text in (*pairs.left, *pairs.right):
        total.update(text.encode() + b"\0")
    return total.hexdigest()


def _read_files(
    path: str | Path, settings: PairSettings, split: str | None
) -> tuple[LabelledPairs, list[tuple[Part, Rows]]]:
    """Return the pairs of all files, and each file with the rows they come from."""
    parts = [read_part(source, CorpusSettings()) for source in find_sources([path], "auto")]
    united = [_read(part, settings, split) for part in parts]
    pairs = LabelledPairs.concatenate([found for found, _ in united], source=str(path))
    if not len(pairs):
        wanted = "" if split is None else f" of split {split!r}"
        raise InputError(f"{path}: there are no labelled pairs{wanted} in it")
    log.info("read %d labelled pairs from %s", len(pairs), path)
    return pairs, [(part, rows) for part, (_, rows) in zip(parts, united, strict=True)]


def _read(part: Part, settings: PairSettings, split: str | None) -> tuple[LabelledPairs, Rows]:
    texts = _pair_of(part, settings.text_columns, TEXT_NAMES, "pairs.text_columns")
    label = _label_name(part, settings.label_column)
    ids = next((names for names in ID_NAMES if all(map(part.has, names))), None)
    rows = _kept_rows(part, texts, split)
    left, right = (_strings(require_texts(part, name), rows) for name in texts)
    left_id, right_id = (
        (None, None) if ids is None else (_strings(part.table.column(name), rows) for name in ids)
    )
    labels = _labels(part, label, settings.label_max, rows)
    return LabelledPairs(left, right, labels, left_id, right_id, part.name), rows


def _pair_of(
    part: Part, given: str | None, known: Sequence[tuple[str, str]], setting: str
) -> tuple[str, str]:
    if given is not None:
        first, second = (name.strip() for name in given.split(","))
        for name in (first, second):
            _require(part, name, setting)
        return first, second
    found = next((names for names in known if all(map(part.has, names))), None)
    if found is None:
        expected = ", or ".join(" and ".join(names) for names in known)
        raise InputError(
            f"{part.name}: no two columns of texts: expected {expected}; "
            f"the columns are {listed(part.table.column_names)}: name two with --text-columns A,B"
        )
    return found


def _label_name(part: Part, given: str | None) -> str:
    if given is not None:
        _require(part, given, "pairs.label_column")
        return given
    found = next((name for name in LABEL_NAMES if part.has(name)), None)
    if found is None:
        raise InputError(
            f"{part.name}: no column with labels: expected {', '.join(LABEL_NAMES)}; "
            f"the columns are {listed(part.table.column_names)}: name one with --label-column"
        )
    return found


def _require(part: Part, name: str, setting: str) -> None:
    columns = part.table.column_names
    if name not in columns:
        near = difflib.get_close_matches(name, columns, n=1, cutoff=0.5)
        hint = f"did you mean {shown(near[0])}? " if near else ""
        raise SettingsError(
            f"{part.name}: no column {shown(name)} (setting {setting}): {hint}"
            f"the columns are {listed(columns)}"
        )


def _kept_rows(part: Part, texts: tuple[str, str], split: str | None) -> Rows:
    """Return the rows of the split whose texts say something; the others are counted in the log."""
    empty = np.zeros(part.table.num_rows, bool)
    for name in texts:
        length = pc.utf8_length(pc.utf8_trim_whitespace(require_texts(part, name)))
        empty |= pc.fill_null(pc.equal(length, 0), True).to_numpy()
    wanted = np.ones(len(empty), bool) if split is None else _of_split(part, split)
    if (left_out := np.flatnonzero(wanted & empty)).size:
        place = part.place(int(left_out[0]))
        log.warning("%d pairs with an empty text are left out, the first at %s", left_out.size, place)
    return np.flatnonzero(wanted & ~empty)


def _of_split(part: Part, split: str) -> npt.NDArray[np.bool_]:
    if not part.has(SPLIT):
        raise InputError(
            f"{part.name}: no column {SPLIT}, so there is no split {split!r}; "
            "make one with dupmine split, or leave the option out"
        )
    values = to_strings(part.table.column(SPLIT))
    wanted: npt.NDArray[np.bool_] = pc.fill_null(pc.equal(values, split), False).to_numpy()
    if not wanted.any():
        there = sorted(str(value) for value in pc.unique(values).to_pylist())
        raise InputError(f"{part.name}: no row has split {split!r}; there are {listed(there)}")
    return wanted


def _strings(column: pa.ChunkedArray, rows: Rows) -> list[str]:
    """Return values as strings; a missing id is an empty one."""
    return ["" if value is None else str(value) for value in column.take(pa.array(rows)).to_pylist()]


def _labels(part: Part, name: str, most: float, rows: Rows) -> Floats:
    column = part.table.column(name).take(pa.array(rows))
    labels = np.empty(len(column), np.float32)
    for i, value in enumerate(column.to_pylist()):
        number = _number(value)
        if number is None or not 0 <= number <= most:
            found = "is missing" if value is None or value == "" else f"is {shown(value)}"
            raise InputError(
                f"{part.place(int(rows[i]))}: {shown(name)} {found}: expected a number from 0 (different) to "
                f"{most:g} (the same), or true or false"
            )
        labels[i] = number / most
    return labels


def _number(value: object) -> float | None:
    if isinstance(value, str) and value.strip().lower() in _FLAGS:
        return _FLAGS[value.strip().lower()]
    try:
        return float(value)  # type: ignore[arg-type] # what is no number is answered below
    except (TypeError, ValueError):
        return None
