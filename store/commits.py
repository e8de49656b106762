"""Commits of a store: one small JSON file per generation that lists its files with their checksums."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..disk.files import make_folder, write_atomically
from ..errors import CorruptStoreError, InputError
from .layout import GENERATIONS, commit_file, copy_of

log = logging.getLogger(__name__)

FORMAT = 2
_MAKE_AGAIN = "make a new one with `dupmine store init` and add the documents again"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """Size in bytes and SHA-256 of a committed file."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Segment:
    """What one update added. Its documents, texts and pairs are numbered after those of earlier segments."""

    generation: int
    documents: int
    texts: int
    pairs: int


@dataclass(frozen=True, slots=True)
class Commit:
    """One generation of a store. A file that no commit lists is not part of the store.

    The keys of `files` are paths relative to the store's folder. No field depends on the time or the
    machine, so an update that is interrupted and run again writes the same bytes.
    """

    generation: int
    operation: str
    settings: dict[str, Any]
    models: dict[str, Any]
    columns: dict[str, str]
    next_cluster_id: int
    counts: dict[str, int]
    segments: tuple[Segment, ...]
    files: dict[str, StoredFile]

    def write(self, store: Path) -> None:
        """Write the commit: the generation exists once the file has its final name. A copy follows."""
        text = _with_checksum(asdict(self) | {"format": FORMAT})
        path, copy = store / commit_file(self.generation), store / copy_of(commit_file(self.generation))
        make_folder(path.parent)
        try:
            write_atomically(path, lambda file: file.write(text))
        except OSError:
            path.unlink(missing_ok=True)  # it may have its name without being safe on the disk
            raise
        try:
            write_atomically(copy, lambda file: file.write(text))
        except OSError as error:  # the generation is committed; the next writer makes the copy
            log.warning("%s: %s", copy, error)


def generations(store: Path) -> list[int]:
    """Return the numbers of the committed generations, oldest first."""
    names = {path.name.partition(".")[0] for path in (store / GENERATIONS).glob("[0-9]*.json")}
    return sorted(map(int, names))


def read_commit(store: Path, generation: int) -> Commit:
    """Read and check the commit of a generation, or its copy if the commit is damaged.

    Raises:
        CorruptStoreError: both are missing or damaged.
        InputError: another version of dupmine wrote it.
    """
    name = commit_file(generation)
    if problem := commit_problem(store, name):
        damaged, name = name, copy_of(name)
        if commit_problem(store, name):
            raise CorruptStoreError(
                f"{store / damaged} is damaged ({problem}), and so is its copy: run "
                f"`dupmine store verify --repair {store}`"
            )
        log.warning(
            "%s is damaged (%s): run `dupmine store verify --repair %s`", store / damaged, problem, store
        )
    values = json.loads((store / name).read_bytes())
    written = values.pop("format")
    if written != FORMAT:
        age, advice = ("an older", _MAKE_AGAIN) if written < FORMAT else ("a newer", "use that version")
        raise InputError(
            f"{store / name}: {age} version of dupmine wrote this store "
            f"(format {written}, not {FORMAT}): {advice}"
        )
    values.pop("checksum")
    values["segments"] = tuple(Segment(**segment) for segment in values["segments"])
    values["files"] = {name: StoredFile(**file) for name, file in values["files"].items()}
    return Commit(**values)


def commit_problem(store: Path, name: str) -> str | None:
    """Return what is wrong with a commit or its copy, None if it is intact."""
    try:
        raw = (store / name).read_bytes()
        values = json.loads(raw)
        intact = isinstance(values, dict) and _with_checksum(values) == raw
    except FileNotFoundError:
        return "it is missing"
    except (OSError, ValueError) as error:  # an unpaired surrogate fails when it is encoded
        return str(error).splitlines()[0]
    return None if intact else "its checksum does not match"


def latest_commit(store: Path) -> Commit:
    """Read the newest commit.

    Raises:
        InputError: `store` is not a store.
        CorruptStoreError: the newest commit is damaged.
    """
    numbers = generations(store)
    while numbers:
        try:
            return read_commit(store, numbers[-1])
        except (CorruptStoreError, FileNotFoundError):
            before, numbers = numbers, generations(store)
            if before[-1] == numbers[-1]:  # otherwise a writer committed and removed this one meanwhile
                raise
    raise InputError(f"{store} is not a store of dupmine: make one with `dupmine store init {store}`")


def _with_checksum(values: dict[str, Any]) -> bytes:
    """Return the JSON of a commit with its own checksum. Equal values give equal bytes."""
    content = {key: value for key, value in values.items() if key != "checksum"}
    plain = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    content["checksum"] = hashlib.sha256(plain.encode()).hexdigest()
    return (json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()
