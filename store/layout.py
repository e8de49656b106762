"""The names of the files of a store, relative to its folder."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from ..disk.lock import LOCK, WRITER
from ..disk.work import WORK, owns_shard

GENERATIONS = "generations"
DOCUMENTS = "documents.parquet"
TEXTS = "texts.parquet"
EMBEDDINGS = "embeddings.npy"
PAIRS = "pairs.parquet"


_NUMBER = "([0-9]{8}|[1-9][0-9]{8,})"
_COMMIT = re.compile(rf"{GENERATIONS}/{_NUMBER}(\.copy)?\.json")
_DATA = re.compile(
    rf"segments/{_NUMBER}/(documents(\.copy)?\.parquet|texts\.parquet|pairs\.parquet|embeddings\.npy)"
    rf"|states/{_NUMBER}(\.unseen)?(\.copy)?\.parquet"
    rf"|changes/{_NUMBER}(\.copy)?\.parquet"
)
_FOLDER = re.compile(rf"{GENERATIONS}|segments(/{_NUMBER})?|states|changes|{re.escape(WORK)}")


def generation_of(name: str) -> int | None:
    """Return the generation of a commit or its copy, None for any other path."""
    match = _COMMIT.fullmatch(name)
    return int(match[1]) if match else None


def is_data(path: str) -> bool:
    """Return whether a path is that of a file that a commit may list."""
    return _DATA.fullmatch(path) is not None


def is_segment(path: str) -> bool:
    """Return whether a path is that of the folder of a segment."""
    return path.startswith("segments/") and _FOLDER.fullmatch(path) is not None


def is_of_store(path: str) -> bool:
    """Return whether a path is that of a file or folder that a store may have."""
    folder, _, name = path.partition("/")
    return (
        path in {LOCK, WRITER}
        or is_data(path)
        or _COMMIT.fullmatch(path) is not None
        or _FOLDER.fullmatch(path) is not None
        or (folder == WORK and owns_shard(name))
    )


def is_linked(store: Path, name: str) -> bool:
    """Return whether a file, or a folder it is in, is a link, which may lead out of the store."""
    path = PurePosixPath(name)
    return any((store / each).is_symlink() for each in (path, *path.parents[:-1]))


def commit_file(generation: int) -> str:
    """Return the commit of a generation."""
    return f"{GENERATIONS}/{generation:08}.json"


def segment_folder(generation: int) -> str:
    """Return the folder of the segment that a generation added."""
    return f"segments/{generation:08}"


def state_file(generation: int) -> str:
    """Return the file with the state of a generation."""
    return f"states/{generation:08}.parquet"


def unseen_file(generation: int) -> str:
    """Return the file with the pairs whose scores the clustering of a generation requested."""
    return f"states/{generation:08}.unseen.parquet"


def changes_file(generation: int) -> str:
    """Return the file with the changes of a generation."""
    return f"changes/{generation:08}.parquet"


def changes_of(name: str) -> int | None:
    """Return the generation of a file of changes or its copy, None for any other path."""
    match = re.fullmatch(rf"changes/{_NUMBER}(\.copy)?\.parquet", name)
    return int(match[1]) if match else None


def copy_of(name: str) -> str:
    """Return the copy that is kept of a file that cannot be recomputed."""
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}.copy{dot}{suffix}"
