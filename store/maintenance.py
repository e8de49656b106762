"""Maintenance of a store: checking its files, restoring copies, removing files that no commit lists."""

from __future__ import annotations

import logging
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Literal

from ..disk.files import write_atomically
from ..disk.owned import find_unknown, remove_owned
from ..disk.work import WORK, owns_shard
from ..errors import CorruptStoreError, OutputError
from .commits import Commit, commit_problems, generations, read_commit
from .consistency import find_misfit
from .layout import (
    EMBEDDINGS,
    GENERATIONS,
    PAIRS,
    TEXTS,
    commit_file,
    copy_of,
    generation_of,
    is_data,
    is_of_store,
    is_segment,
)
from .segments import check_file

log = logging.getLogger(__name__)

COMPUTED = (TEXTS, EMBEDDINGS, PAIRS)
_FOLDERS = ("segments", "states", "changes")
# Files that an interrupted attempt to create a store may have left.
_INTERRUPTED_CREATION = r"lock|(\.?writer\.json[.\w-]*)|(states|changes|generations)(/\.?00000000\.[.\w-]+)?"


# What became of a damaged file: nothing yet; it is as before; only an earlier generation is gone, to which
# nobody can go back; documents are gone.
Outcome = Literal["damaged", "repaired", "dropped", "lost"]


@dataclass(frozen=True, slots=True)
class Damage:
    """A committed file, relative to the store's folder, that is missing or not as it was written."""

    file: str
    problem: str
    outcome: Outcome = "damaged"

    @property
    def repaired(self) -> bool:
        """Whether the file was restored or recomputed."""
        return self.outcome == "repaired"


def require_new(folder: Path) -> None:
    """Check that a store can be made in a folder: it is new, or holds only an interrupted creation.

    Raises:
        OutputError: the folder is a store or is not empty.
    """
    if generations(folder):
        raise OutputError(f"{folder} is already a store: `dupmine store update` adds to it")
    names = (str(path.relative_to(folder)) for path in folder.rglob("*"))
    if unknown := [name for name in names if not re.fullmatch(_INTERRUPTED_CREATION, name)]:
        raise OutputError(f"{folder} is not empty (it holds {min(unknown)}): give another folder")


def find_damage(store: Path) -> list[Damage]:
    """Check every file of every kept generation."""
    problems: dict[str, str] = {}
    for generation in generations(store):
        damaged = _damage_of(store, generation)
        if generation in generations(store):  # otherwise a writer removed it meanwhile
            problems |= damaged
    return [Damage(name, problem) for name, problem in sorted(problems.items())]


def unknown_files(store: Path) -> list[str]:
    """Return the files and folders in a store that dupmine did not write."""
    return find_unknown(store, is_of_store)


def _damage_of(store: Path, generation: int) -> dict[str, str]:
    """Return the problems of a generation's files, by name."""
    copy = copy_of(commit_file(generation))
    problems = commit_problems(store, generation)
    if not (store / copy).exists():  # not yet written or just removed: the next writer makes it
        problems.pop(copy, None)
    commit = _commit(store, generation)
    for file, expected in ({} if commit is None else commit.files).items():
        if problem := check_file(store, file, expected):
            problems[file] = problem
    with suppress(FileNotFoundError):  # a writer removed it meanwhile
        if commit is not None and (problem := find_misfit(store, commit, problems)):
            problems |= dict.fromkeys((commit_file(generation), copy), problem)
    return problems


def restore_from_copies(store: Path, damage: list[Damage]) -> None:
    """Replace a damaged file by its intact copy, and a damaged copy by the intact file."""
    damaged = {entry.file for entry in damage}
    for name in damaged:
        other = copy_of(name) if ".copy." not in name else name.replace(".copy.", ".")
        if other not in damaged and (store / other).is_file():
            content = (store / other).read_bytes()
            write_atomically(store / name, partial(_write, content))
            log.warning("%s was damaged: restored from %s", store / name, other)


def drop_generation(store: Path, generation: int) -> None:
    """Remove the commit of a generation; the one before becomes the newest."""
    for name in (copy_of(commit_file(generation)), commit_file(generation)):
        (store / name).unlink(missing_ok=True)


def remove_unreferenced(store: Path, keep: int) -> None:
    """Remove all but the last `keep` generations and every file that none of them lists.

    Nothing is removed while a commit is damaged, since the files it lists are not known.
    """
    numbers = generations(store)
    try:
        commits = [read_commit(store, generation) for generation in numbers[-keep:]]
    except CorruptStoreError as error:
        log.warning("nothing was removed: %s", error)
        return
    for generation in numbers[:-keep]:
        drop_generation(store, generation)
    for name in map(commit_file, numbers[-keep:]):
        _complete(store, name, copy_of(name))  # its writer was killed between the two files
        _complete(store, copy_of(name), name)
    listed = {name for commit in commits for name in commit.files}
    listed |= {file for name in map(commit_file, numbers[-keep:]) for file in (name, copy_of(name))}
    for folder in (*_FOLDERS, GENERATIONS):
        _remove_unlisted(store, folder, listed)


def _remove_unlisted(store: Path, folder: str, listed: set[str]) -> None:
    """Remove the files in a folder of the store that have the name of one of its files and are not listed."""

    def owns(path: str) -> bool:
        name = f"{folder}/{path}"
        return is_segment(name) or is_data(name) or generation_of(name) is not None

    if not (store / folder).is_symlink():
        remove_owned(store / folder, owns, {name.removeprefix(f"{folder}/") for name in listed})


def clean_up(store: Path, keep: int) -> None:
    """Remove shards and unreferenced files. No failure undoes the commit: the next writer tries again."""
    try:
        remove_owned(store / WORK, owns_shard)
        remove_unreferenced(store, keep)
    except Exception as error:
        log.warning("%s: some unused files could not be removed: %s", store, error)


def _commit(store: Path, generation: int) -> Commit | None:
    try:
        return read_commit(store, generation)
    except (CorruptStoreError, FileNotFoundError):
        return None


def _complete(store: Path, name: str, missing: str) -> None:
    if not (store / missing).exists():
        write_atomically(store / missing, partial(_write, (store / name).read_bytes()))


def _write(content: bytes, file: BinaryIO) -> None:
    file.write(content)
