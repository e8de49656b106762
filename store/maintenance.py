"""What keeps a store in order: checking its files, putting copies in place, removing what no commit names."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from ..disk.files import remove_leftovers, write_atomically
from ..errors import CorruptStoreError
from .commits import (
    GENERATIONS,
    StoredFile,
    commit_file,
    commit_problem,
    copy_of,
    generations,
    read_commit,
)
from .segments import EMBEDDINGS, PAIRS, TEXTS, check_file

log = logging.getLogger(__name__)

COMPUTED = (TEXTS, EMBEDDINGS, PAIRS)
_FOLDERS = ("segments", "states", "changes")


@dataclass(frozen=True, slots=True)
class Damage:
    """A committed file, below the store's folder, that is not as it was written."""

    file: str
    problem: str
    repaired: bool = False


def find_damage(store: Path) -> list[Damage]:
    """Check every file of every kept generation."""
    found: dict[str, str] = {}
    for generation in generations(store):
        damaged = _damage_of(store, generation)
        if generation in generations(store):  # else a writer forgot it while it was read
            found |= damaged
    return [Damage(name, problem) for name, problem in sorted(found.items())]


def _damage_of(store: Path, generation: int) -> dict[str, str]:
    """Return what is wrong with a generation's files, by name."""
    name, copy = commit_file(generation), copy_of(commit_file(generation))
    problems = {name: commit_problem(store, name), copy: commit_problem(store, copy)}
    if not (store / copy).exists():  # not yet written or just removed: the next writer makes both true
        del problems[copy]
    for file, expected in _files(store, generation).items():
        problems[file] = check_file(store, file, expected)
    return {file: problem for file, problem in problems.items() if problem}


def restore_copies(store: Path, damage: list[Damage]) -> None:
    """Put the whole one of a file and its copy in the place of the damaged one."""
    damaged = {found.file for found in damage}
    for name in damaged:
        other = copy_of(name) if ".copy." not in name else name.replace(".copy.", ".")
        if other not in damaged and (store / other).is_file():
            content = (store / other).read_bytes()
            write_atomically(store / name, partial(_write, content))
            log.warning("%s was damaged: restored from %s", store / name, other)


def drop_generation(store: Path, generation: int) -> None:
    """Forget a generation; the one before becomes the last."""
    for name in (copy_of(commit_file(generation)), commit_file(generation)):
        (store / name).unlink(missing_ok=True)


def sweep(store: Path, keep: int) -> None:
    """Forget all but the last `keep` generations and remove every file that none of them names.

    While a commit is damaged nothing is removed: what it named is not known.
    """
    known = generations(store)
    try:
        commits = [read_commit(store, generation) for generation in known[-keep:]]
    except CorruptStoreError as error:
        log.warning("nothing was removed: %s", error)
        return
    for generation in known[:-keep]:
        drop_generation(store, generation)
    for name in map(commit_file, known[-keep:]):
        _complete(store, name, copy_of(name))  # its writer was killed between the two
        _complete(store, copy_of(name), name)
    named = {name for commit in commits for name in commit.files}
    for folder in (store / name for name in _FOLDERS):
        for path in sorted(folder.rglob("*"), reverse=True):  # files before their folder
            if path.is_dir():
                if not any(path.iterdir()):
                    path.rmdir()
            elif str(path.relative_to(store)) not in named:
                path.unlink()
    remove_leftovers(store / GENERATIONS)


def _files(store: Path, generation: int) -> dict[str, StoredFile]:
    try:
        return read_commit(store, generation).files
    except (CorruptStoreError, FileNotFoundError):
        return {}


def _complete(store: Path, name: str, missing: str) -> None:
    if not (store / missing).exists():
        write_atomically(store / missing, partial(_write, (store / name).read_bytes()))


def _write(content: bytes, file: BinaryIO) -> None:
    file.write(content)
