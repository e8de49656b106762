"""Check that a commit fits itself and its files, whatever its checksum says."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..errors import CorruptStoreError
from ..schema import DOC_ID, TEXT
from .commits import Commit
from .layout import DOCUMENTS, EMBEDDINGS, PAIRS, TEXTS, commit_file, segment_folder, state_file, unseen_file
from .segments import LINKS, PAIRS_SCHEMA, TEXTS_SCHEMA


def require_fit(store: Path, commit: Commit) -> None:
    """Check that the numbers of a commit are those of its files, which are intact.

    Raises:
        CorruptStoreError: one is not.
    """
    if problem := find_misfit(store, commit):
        raise CorruptStoreError(
            f"{store / commit_file(commit.generation)} is damaged ({problem}): run "
            f"`dupmine store verify --repair {store}`"
        )


def find_misfit(store: Path, commit: Commit, damaged: Collection[str] = ()) -> str | None:
    """Return how a commit does not fit its files, None if it does; damaged files are not read.

    Raises:
        FileNotFoundError: a writer removed a file meanwhile.
    """
    for name, find_problem in _checks(commit):
        try:
            problem = None if name in damaged else find_problem(store / name)
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            problem = f"{(str(error).splitlines() or [type(error).__name__])[0]:.80}"
        if problem:
            return f"it does not fit {name}: {problem}"
    return None


def _checks(commit: Commit) -> Iterator[tuple[str, Callable[[Path], str | None]]]:
    """Yield what to check, by the name of the file."""
    texts = sum(segment.texts for segment in commit.segments)
    documents = sum(segment.documents for segment in commit.segments)
    ends = dict.fromkeys(LINKS.names, (0, texts))
    for segment in commit.segments:
        folder = segment_folder(segment.generation)
        shape = (segment.texts, commit.models["bi_encoder"]["dim"])
        yield f"{folder}/{DOCUMENTS}", partial(_find_rows, columns=[DOC_ID, TEXT], rows=segment.documents)
        yield f"{folder}/{TEXTS}", partial(_find_rows, columns=TEXTS_SCHEMA.names, rows=segment.texts)
        yield f"{folder}/{EMBEDDINGS}", partial(_find_shape, shape=shape)
        yield f"{folder}/{PAIRS}", partial(_find_rows, columns=PAIRS_SCHEMA.names, rows=segment.pairs)
        yield f"{folder}/{PAIRS}", partial(_find_numbers, ranges=ends)
    ranges = {"document": (0, documents), "text": (-1, texts), "cluster_id": (0, commit.next_cluster_id)}
    yield state_file(commit.generation), partial(_find_numbers, ranges=ranges)
    yield unseen_file(commit.generation), partial(_find_numbers, ranges=ends)


def _find_rows(path: Path, columns: list[str], rows: int) -> str | None:
    metadata = pq.read_metadata(path)
    if missing := set(columns) - set(metadata.schema.to_arrow_schema().names):
        return f"it has no column {min(missing)}"
    return None if metadata.num_rows == rows else f"it has {metadata.num_rows:,} rows instead of {rows:,}"


def _find_shape(path: Path, shape: tuple[int, int]) -> str | None:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.dtype == np.float16 and array.shape == shape:
        return None
    return f"it has {array.dtype} numbers of shape {array.shape} instead of float16 of {shape}"


def _find_numbers(path: Path, ranges: dict[str, tuple[int, int]]) -> str | None:
    """Return which column has a number outside its range, which ends before its second limit."""
    table = pq.read_table(path, columns=list(ranges))
    for name, (start, end) in ranges.items():
        found = pc.min_max(table[name].cast(pa.int64())).as_py()
        if found["min"] is not None and not start <= found["min"] <= found["max"] < end:
            return f"its {name} goes from {found['min']:,} to {found['max']:,}, and only {end:,} are counted"
    return None
