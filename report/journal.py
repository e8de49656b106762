"""Journals of answers: one file per reviewer, a JSON object a line, on the disk before the page says so."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from ..disk.files import make_folder, output_errors
from ..disk.folder import require_outside_store
from ..disk.json_text import parse_json
from ..disk.lock import lock
from ..errors import InputError, SettingsError
from .labels import labels_table

JOURNAL = "journal.jsonl"
_NAME = re.compile(r"[\w.@+-]{1,64}")

Row = dict[str, Any]


def review_folder(folder: Path) -> Path:
    """Return where the labels of a run or store lie: beside it, so that they outlive it."""
    folder = folder.expanduser().absolute()
    return folder.with_name(f"{folder.name}.review")


class Journal:
    """The answers of one reviewer, each of one or more rows of labels, appended and synced one by one."""

    def __init__(self, file: BinaryIO, answers: dict[str, list[Row]]) -> None:
        """Hold an open journal; `open_journal` makes one."""
        self._file = file
        self._answers = answers

    def add(self, rows: Sequence[Row]) -> str:
        """Write an answer to the disk; return its name.

        Raises:
            OutputError: it could not be written; then it does not count.
        """
        name = secrets.token_hex(8)
        self._append({"answer": name, "rows": list(rows)})
        self._answers[name] = list(rows)
        return name

    def undo(self, name: str) -> list[Row]:
        """Take an answer back; return its rows.

        Raises:
            InputError: there is no such answer.
        """
        if name not in self._answers:
            raise InputError(f"there is no answer {name!r} to take back")
        self._append({"undo": name})
        return self._answers.pop(name)

    @property
    def rows(self) -> list[Row]:
        """All rows of answers that stand, oldest first."""
        return [row for rows in self._answers.values() for row in rows]

    def _append(self, entry: Row) -> None:
        end = self._file.seek(0, os.SEEK_END)
        try:
            self._file.write(json.dumps(entry).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(end)
            raise


@contextmanager
def open_journal(folder: Path, reviewer: str) -> Iterator[Journal]:
    """Open a reviewer's journal below `folder`, as its only writer; a torn last line is cut off.

    Raises:
        SettingsError: the reviewer's name does not name a folder.
        LockError: the reviewer has the page open elsewhere.
        InputError: a line is broken.
    """
    if not _NAME.fullmatch(reviewer) or reviewer.startswith("."):
        raise SettingsError(f"--reviewer {reviewer!r}: use up to 64 letters, digits and . _ - + @")
    own = folder / reviewer
    with output_errors(own):
        require_outside_store(own)
        make_folder(own)
    with lock(own), output_errors(own), (own / JOURNAL).open("a+b") as file:
        file.seek(0)
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)
        yield Journal(file, _replay(content, own / JOURNAL))


def read_journals(folder: Path) -> pa.Table:
    """Return the labels of all reviewers; see `labels.LABELS`.

    Raises:
        InputError: a line is broken.
    """
    rows: list[Row] = []
    for path in sorted(folder.glob(f"*/{JOURNAL}")):
        rows += [row for answer in _replay(path.read_bytes(), path).values() for row in answer]
    return labels_table(rows)


def _replay(content: bytes, path: Path) -> dict[str, list[Row]]:
    """Return the answers that stand; what follows the last line end was torn by a crash."""
    answers: dict[str, list[Row]] = {}
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), 1):
        try:
            entry = parse_json(line)
            if "undo" in entry:
                answers.pop(entry["undo"], None)
            else:
                answers[entry["answer"]] = entry["rows"]
        except (ValueError, KeyError, TypeError):
            raise InputError(
                f"{path}, line {number}: no answer as dupmine writes it; remove the line"
            ) from None
    return answers
