"""A result folder that is replaced as a whole, with a folder of unfinished work inside it.

Only what dupmine can name and has marked as its own is ever renamed or removed.
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from glob import escape
from pathlib import Path

from ..errors import OutputError
from .files import sync_folder, write_atomically
from .folder import require_outside_store
from .json_text import parse_json
from .lock import LOCK, WRITER, lock
from .owned import Owns, find_unknown, remove_owned

log = logging.getLogger(__name__)

MARK = "owner.json"  # in the work folder: the random name under which this run renames its result folder
RESULT = "result"  # in the work folder: where the new result is written
_UNMARKED = {LOCK, WRITER, MARK}
_OWN = {*_UNMARKED, RESULT}


@dataclass(frozen=True, slots=True)
class Workplace:
    """A result folder and its folder `work`, which holds finished shards and the new result.

    `owns` takes paths relative to the result folder, as `clusters.parquet`, and `owns_work` those relative to
    the work folder, as `basis.json` and `result/clusters.parquet`.
    """

    folder: Path
    work: str
    owns: Owns
    owns_work: Owns

    def put_back(self) -> None:
        """Undo the first rename of `publish` if its process was killed before the second.

        Raises:
            LockError: the writer is alive, between the two renames.
        """
        if self.folder.exists():
            return
        for old in self._marked("old"):
            with lock(old / self.work):
                pass
            old.rename(self.folder)
            return

    def check(self) -> None:
        """Check that the work folder is missing, empty or dupmine's own, and that all in it is.

        Raises:
            OutputError: it holds something else, or the result folder is inside a store.
        """
        require_outside_store(self.folder)
        work = self.folder / self.work
        if not os.path.lexists(work):
            return
        unknown = [self.work] if work.is_symlink() or not work.is_dir() else []
        unknown += [f"{self.work}/{path}" for path in find_unknown(work, self._in_work)]
        if not unknown and _token(work) is None:  # left by a process that was killed before it made the mark
            unknown += [f"{self.work}/{path}" for path in find_unknown(work, _UNMARKED.__contains__)]
        if unknown:
            raise OutputError(
                f"{self.folder} holds {min(unknown)}, which dupmine did not write; give another --out"
            )

    @contextmanager
    def claimed(self) -> Iterator[Path]:
        """Mark the work folder, and yield where to write the result; the caller holds the lock."""
        work, token = self.folder / self.work, secrets.token_hex(8)
        for left in (*self._marked("old"), *self._marked("stale")):
            self._remove(left)
        mark = json.dumps({"made_by": "dupmine", "token": token}).encode()
        write_atomically(work / MARK, lambda file: file.write(mark))
        self._discard_result()
        (work / RESULT).mkdir()
        try:
            yield work / RESULT
        finally:
            self._discard_result()

    def publish(self) -> None:
        """Rename the new result to `folder`; what was there gets another name first, and is removed."""
        token = _token(self.folder / self.work)
        old, stale = (
            self.folder.with_name(f".{self.folder.name}.{role}-{token}") for role in ("old", "stale")
        )
        self.folder.rename(old)
        try:
            (old / self.work / RESULT).rename(self.folder)
        except BaseException:
            self._restore(old)
            raise
        try:
            sync_folder(self.folder.parent)
            old.rename(stale)
        except OSError as error:  # the result has its name: the next run removes the rest
            log.warning("%s is written, but %s", self.folder, error)
            return
        self._remove(stale)

    def _remove(self, renamed: Path) -> None:
        """Remove a renamed result folder, its mark last: a later run finishes what a killed one left."""
        mark = f"{self.work}/{MARK}"
        remove_owned(renamed, lambda path: path != mark and self._in_folder(path))
        left = find_unknown(renamed, {self.work, mark}.__contains__)
        unknown = [path for path in left if not self._in_folder(path)]
        if left == unknown:
            remove_owned(renamed, self._in_folder)
        if unknown:
            log.warning("%s: kept, since dupmine did not write it", renamed / unknown[0])

    def _restore(self, old: Path) -> None:
        try:
            old.rename(self.folder)
        except OSError as error:  # something else has its name now
            (old / self.work / MARK).unlink(missing_ok=True)  # so that no later run removes it
            log.warning("what was in %s is in %s: %s", self.folder, old, error)

    def discard_work(self) -> None:
        """Remove the work folder with all of dupmine's own in it."""
        remove_owned(self.folder / self.work, self._in_work)

    def _discard_result(self) -> None:
        remove_owned(self.folder / self.work / RESULT, lambda path: self._in_work(f"{RESULT}/{path}"))

    def _in_folder(self, path: str) -> bool:
        first, _, rest = path.partition("/")
        return self.owns(path) if first != self.work else not rest or self._in_work(rest)

    def _in_work(self, path: str) -> bool:
        return path in _OWN or self.owns_work(path)

    def _marked(self, role: str) -> Iterator[Path]:
        """Yield the folders beside `folder` that earlier runs to it renamed: their name is their mark's."""
        for path in sorted(self.folder.parent.glob(f".{escape(self.folder.name)}.{role}-*")):
            token = _token(path / self.work)
            own = path.name == f".{self.folder.name}.{role}-{token}"
            if not path.is_symlink() and (own or (role == "stale" and self._is_bare(path))):
                yield path

    def _is_bare(self, path: Path) -> bool:
        """Return whether a stale folder is what a killed process leaves at the very end of `_remove`."""
        name = rf"\.{re.escape(self.folder.name)}\.stale-[0-9a-f]{{16}}"
        return re.fullmatch(name, path.name) is not None and not find_unknown(path, {self.work}.__contains__)


def _token(work: Path) -> str | None:
    """Return the token of a work folder's mark, None if there is no mark."""
    try:
        mark = parse_json((work / MARK).read_bytes())
    except (OSError, ValueError):
        return None
    token = mark.get("token") if isinstance(mark, dict) and mark.get("made_by") == "dupmine" else None
    return token if isinstance(token, str) and re.fullmatch("[0-9a-f]{16}", token) else None
