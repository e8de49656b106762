"""The names of the files of a store, relative to its folder."""

from __future__ import annotations

GENERATIONS = "generations"
DOCUMENTS = "documents.parquet"
TEXTS = "texts.parquet"
EMBEDDINGS = "embeddings.npy"
PAIRS = "pairs.parquet"


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


def copy_of(name: str) -> str:
    """Return the copy that is kept of a file that cannot be recomputed."""
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}.copy{dot}{suffix}"
