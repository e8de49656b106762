"""The commits of a store: one small JSON file per generation that names, sums and describes its files."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..disk.files import make_folder, write_atomically
from ..errors import CorruptStoreError, InputError

log = logging.getLogger(__name__)

FORMAT = 2
GENERATIONS = "generations"
_MAKE_AGAIN = "make a new one with `dupmine store init` and add the documents again"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """Size in bytes and SHA-256 of a committed file."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Segment:
    """What one update added: the numbers of its documents, texts and pairs go on from those before."""

    generation: int
    documents: int
    texts: int
    pairs: int


@dataclass(frozen=True, slots=True)
class Commit:
    """One generation of a store; what no commit names does not exist.

    `files` maps paths below the store's folder. Nothing in it depends on the time or the machine: an
    update that was interrupted and run again ends in the same bytes.
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
        """Commit: once this file has its name, the generation exists. A copy follows."""
        text = _summed(asdict(self) | {"format": FORMAT})
        path, copy = store / commit_file(self.generation), store / copy_of(commit_file(self.generation))
        make_folder(path.parent)
        try:
            write_atomically(path, lambda file: file.write(text))
        except OSError:
            path.unlink(missing_ok=True)  # it may have its name, but not for sure on the disk
            raise
        try:
            write_atomically(copy, lambda file: file.write(text))
        except OSError as error:  # the generation is committed: the next writer makes the copy
            log.warning("%s: %s", copy, error)


def commit_file(generation: int) -> str:
    """Return the file that is a generation's commit, below the store's folder."""
    return f"{GENERATIONS}/{generation:08}.json"


def copy_of(name: str) -> str:
    """Return the name of the copy of a file that cannot be computed again."""
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}.copy{dot}{suffix}"


def generations(store: Path) -> list[int]:
    """Return the numbers of the committed generations, oldest first."""
    names = {path.name.partition(".")[0] for path in (store / GENERATIONS).glob("[0-9]*.json")}
    return sorted(map(int, names))


def read_commit(store: Path, generation: int) -> Commit:
    """Read and check one generation's commit; where it is damaged, its copy.

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
    """Return what is wrong with a commit or its copy, None where it is whole."""
    try:
        raw = (store / name).read_bytes()
        values = json.loads(raw)
        whole = isinstance(values, dict) and _summed(values) == raw
    except FileNotFoundError:
        return "it is missing"
    except (OSError, ValueError) as error:  # half a surrogate pair is found by writing it
        return str(error).splitlines()[0]
    return None if whole else "its checksum does not fit"


def latest_commit(store: Path) -> Commit:
    """Read the newest commit.

    Raises:
        InputError: `store` is no store.
        CorruptStoreError: the newest commit is damaged.
    """
    known = generations(store)
    while known:
        try:
            return read_commit(store, known[-1])
        except (CorruptStoreError, FileNotFoundError):
            before, known = known, generations(store)
            if before[-1] == known[-1]:  # else a writer went on and forgot this one
                raise
    raise InputError(f"{store} is no store of dupmine: make one with `dupmine store init {store}`")


def _summed(values: dict[str, Any]) -> bytes:
    """Return the JSON of a commit with its own checksum; equal values give equal bytes."""
    content = {key: value for key, value in values.items() if key != "checksum"}
    plain = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    content["checksum"] = hashlib.sha256(plain.encode()).hexdigest()
    return (json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()
