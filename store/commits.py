"""Commits of a store: one small JSON file per generation that lists its files with their checksums."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import os
import time
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from ..disk.files import make_folder, write_atomically
from ..disk.interrupts import committing
from ..disk.json_text import parse_json
from ..errors import CorruptStoreError, InputError
from .layout import (
    DOCUMENTS,
    EMBEDDINGS,
    GENERATIONS,
    PAIRS,
    TEXTS,
    changes_file,
    changes_of,
    commit_file,
    copy_of,
    generation_of,
    is_data,
    is_linked,
    segment_folder,
    state_file,
    unseen_file,
)

log = logging.getLogger(__name__)

FORMAT = 4
_MOST_DIMENSIONS = 1 << 20
_MAKE_AGAIN = "make a new one with `dupmine store init` and add the documents again"


Count = Annotated[int, Field(ge=0, le=1 << 62)]


@dataclass(frozen=True, slots=True)
class StoredFile:
    """Size in bytes and SHA-256 of a committed file."""

    bytes: Count
    sha256: str


@dataclass(frozen=True, slots=True)
class Segment:
    """What one update added. Its documents, texts and pairs are numbered after those of earlier segments."""

    generation: Count
    documents: Count
    texts: Count
    pairs: Count


@dataclass(frozen=True, slots=True)
class Commit:
    """One generation of a store. A file that no commit lists is not part of the store.

    The keys of `files` are paths relative to the store's folder. No field but `time` depends on the time or
    the machine, so an update that is interrupted and run again writes the same files.
    """

    generation: Count
    operation: str
    settings: dict[str, Any]
    models: dict[str, dict[str, Any]]
    columns: dict[str, str]
    next_cluster_id: Count
    counts: dict[str, Count]
    segments: tuple[Segment, ...]
    files: dict[str, StoredFile]
    previous: str  # the identity of the commit before, "" for the first
    time: str  # of the commit, in UTC

    @property
    def identity(self) -> str:
        """The SHA-256 of the content."""
        return _digest(asdict(self))

    def write(self, store: Path) -> None:
        """Write the commit: the generation exists once the file has its final name. A copy follows."""
        text = _with_checksum(asdict(self) | {"format": FORMAT})
        path, copy = store / commit_file(self.generation), store / copy_of(commit_file(self.generation))
        make_folder(path.parent)
        with committing():
            try:
                write_atomically(path, lambda file: file.write(text))
            except OSError:
                path.unlink(missing_ok=True)  # it may have its name without being safe on the disk
                raise
        try:
            write_atomically(copy, lambda file: file.write(text))
        except OSError as error:  # the generation is committed; the next writer makes the copy
            log.warning("%s: %s", copy, error)


_COMMIT = TypeAdapter(Commit)


def commit_time() -> str:
    """Return the time now, or `DUPMINE_NOW` in seconds, with which equal updates write equal bytes."""
    seconds = float(os.environ.get("DUPMINE_NOW") or time.time())
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def generations(store: Path) -> list[int]:
    """Return the numbers of the committed generations, oldest first."""
    found = {generation_of(f"{GENERATIONS}/{path.name}") for path in (store / GENERATIONS).glob("*.json")}
    return sorted(number for number in found if number is not None)


def read_commit(store: Path, generation: int) -> Commit:
    """Read and check the commit of a generation, or its copy if the commit is damaged.

    Raises:
        CorruptStoreError: both are missing or damaged.
        InputError: another version of dupmine wrote it.
    """
    name = commit_file(generation)
    files = _read_both(store, generation)
    intact = next((file for file in files.values() if isinstance(file, Commit)), None)
    if intact is None:
        raise CorruptStoreError(
            f"{store / name} is damaged ({files[name]}), and so is its copy: run "
            f"`dupmine store verify --repair {store}`"
        )
    if isinstance(files[name], str):
        advice = f"run `dupmine store verify --repair {store}`"
        log.warning("%s is damaged (%s): %s", store / name, files[name], advice)
    return intact


def commit_problems(store: Path, generation: int) -> dict[str, str]:
    """Return what is wrong with the commit of a generation and its copy, by name."""
    return {name: file for name, file in _read_both(store, generation).items() if isinstance(file, str)}


def _read_both(store: Path, generation: int) -> dict[str, Commit | str]:
    """Return the commit of a generation and its copy, or what is wrong with each, by name.

    A commit follows the one before it. If several generations are mixed, as by a partial restore of a
    backup, this decides between a commit and its copy.
    """
    before = {file.identity for file in _read_own(store, generation - 1).values() if isinstance(file, Commit)}
    both = _read_own(store, generation)
    for name, file in both.items():
        if isinstance(file, Commit) and before and file.previous not in before:
            both[name] = f"it does not follow generation {generation - 1}"
    identities = {file.identity for file in both.values() if isinstance(file, Commit)}
    return both if len(identities) < 2 else dict.fromkeys(both, "it differs from its copy")


def _read_own(store: Path, generation: int) -> dict[str, Commit | str]:
    names = (commit_file(generation), copy_of(commit_file(generation)))
    return {name: _read_file(store, name, generation) for name in names}


def _read_file(store: Path, name: str, generation: int) -> Commit | str:
    """Return a commit, or what is wrong with its file alone."""
    values = _read_values(store, name)
    if isinstance(values, str):
        return values
    commit = _parse(store / name, values)
    if isinstance(commit, str):
        return commit
    if commit.generation != generation:
        return f"it is the commit of generation {commit.generation}"
    if unknown := [file for file in commit.files if not is_data(file)]:
        return f"it lists {unknown[0]!r:.80}, which is not a file of a store"
    return _problem_of(commit) or commit


def _problem_of(commit: Commit) -> str | None:
    """Return what in a commit contradicts the rest of it: its segments and the files that it lists."""
    numbers = [-1, *(segment.generation for segment in commit.segments), commit.generation + 1]
    if any(after <= before for before, after in itertools.pairwise(numbers)):
        return "its segments are not in the order of their generations"
    logs = {commit.generation, *(number for name in commit.files if (number := changes_of(name)) is not None)}
    needed = {state_file(commit.generation), unseen_file(commit.generation), *map(changes_file, logs)}
    needed |= {f"{segment_folder(segment.generation)}/{DOCUMENTS}" for segment in commit.segments}
    needed |= set(map(copy_of, needed))
    computed = (TEXTS, EMBEDDINGS, PAIRS)
    needed |= {f"{segment_folder(part.generation)}/{file}" for part in commit.segments for file in computed}
    if missing := needed - commit.files.keys():
        return f"it does not list {min(missing)}"
    later = {changes_file(number) for number in logs if number > commit.generation}
    if others := commit.files.keys() - needed | later:
        return f"it lists {min(others)}, which is of another generation"
    return None


def _read_values(store: Path, name: str) -> dict[str, Any] | str:
    """Return the values of a commit whose checksum matches, or what is wrong with its file."""
    if is_linked(store, name):
        return "it is behind a link"
    try:
        raw = (store / name).read_bytes()
        values = parse_json(raw)
        intact = isinstance(values, dict) and _with_checksum(values) == raw
    except FileNotFoundError:
        return "it is missing"
    except (OSError, ValueError, RecursionError) as error:  # an unpaired surrogate fails when it is encoded
        return str(error).splitlines()[0]
    return values if intact else "its checksum does not match"


def _parse(path: Path, values: dict[str, Any]) -> Commit | str:
    """Return a commit, or what is wrong with its values.

    Raises:
        InputError: another version of dupmine wrote it.
    """
    written = values.pop("format", None)
    if isinstance(written, int) and written != FORMAT:
        age, advice = ("an older", _MAKE_AGAIN) if written < FORMAT else ("a newer", "use that version")
        raise InputError(
            f"{path}: {age} version of dupmine wrote this store (format {written}, not {FORMAT}): {advice}"
        )
    values.pop("checksum")
    if unknown := values.keys() - {field.name for field in fields(Commit)}:
        return f"it has an unknown field, {min(unknown)!r:.80}"
    try:
        commit = _COMMIT.validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        return f"its field {'.'.join(map(str, first['loc'])):.80} is wrong ({first['msg']:.80})"
    named = all(isinstance(model.get("sha256"), str) for model in commit.models.values())
    dim = commit.models.get("bi_encoder", {}).get("dim")
    if not named or not isinstance(dim, int) or not 0 < dim <= _MOST_DIMENSIONS:
        return "its field models is wrong"
    return commit


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
    content["checksum"] = _digest(content)
    return (_to_json(content) + "\n").encode()


def _digest(values: dict[str, Any]) -> str:
    return hashlib.sha256(_to_json(values).encode()).hexdigest()


def _to_json(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
