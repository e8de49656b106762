"""Merge the files of small updates, so that their number grows with the logarithm of the updates.

As in a log-structured merge tree (O'Neil et al., 1996) a segment is larger than all later ones together, and
so is a file of changes. There are at most log2 of the rows, and a row is written again at most so often.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..schema import ScoredPairs, TokenStore
from .changes import log_of
from .commits import Commit, Segment, StoredFile
from .layout import DOCUMENTS, changes_file, changes_of, copy_of, segment_folder
from .segments import require_intact
from .snapshot import Snapshot, stack_documents


def count_kept(sizes: Sequence[int], added: int) -> int:
    """Return how many of the first segments stay as they are; the others merge with one of size `added`."""
    later = sum(sizes) + added
    for kept, size in enumerate(sizes):
        later -= size
        if size <= later:
            return kept
    return len(sizes)


def size_of(segment: Segment) -> int:
    """Return the number of rows in the files of a segment."""
    return segment.documents + segment.texts + segment.pairs


def merge_segments(store: Path, before: Snapshot, kept: int, added: dict[str, Any]) -> dict[str, Any]:
    """Return the parts of the segments after the first `kept` ones, and of a new one behind them.

    Parts are arguments of `write_segment`. All rows keep their numbers, since segments merge in their order.
    """
    segments = before.commit.segments
    texts = sum(segment.texts for segment in segments[:kept])
    pairs = sum(segment.pairs for segment in segments[:kept])
    folders = [segment_folder(segment.generation) for segment in segments[kept:]]
    documents = [pq.read_table(store / folder / DOCUMENTS) for folder in folders]
    tokens = before.texts.tokens.take(np.arange(texts, before.n_texts))
    known = before.pairs.where(np.arange(pairs, len(before.pairs)))
    return {
        "documents": stack_documents([*documents, added["documents"]]),
        "texts": [*before.texts.texts.slice(texts).to_pylist(), *added["texts"]],
        "tokens": TokenStore.concatenate(tokens, added["tokens"]),
        "embeddings": np.concatenate([*before.texts.embeddings[kept:], added["embeddings"]]),
        "pairs": ScoredPairs.concatenate(known, added["pairs"]),
    }


def merge_changes(
    store: Path, before: Commit, generation: int, changes: pa.Table
) -> tuple[dict[str, StoredFile], pa.Table]:
    """Return the files of changes that the next generation shares with the last one, and the log of its own.

    A file of changes holds those of its generation and of the ones before, back to the file before it.

    Raises:
        CorruptStoreError: a file that merges is damaged.
    """
    numbers = changes_in(before)
    kept = count_kept(np.diff([-1, *numbers]).tolist(), 1)
    merged = [read_changes_file(store, before, number) for number in numbers[kept:]]
    names = [name for number in numbers[:kept] for name in _both(changes_file(number))]
    shared = {name: before.files[name] for name in names}
    return shared, pa.concat_tables([*merged, log_of(changes, generation)])


def changes_in(commit: Commit) -> list[int]:
    """Return the numbers of a commit's files of changes, ascending."""
    numbers = map(changes_of, commit.files)
    return sorted({number for number in numbers if number is not None})


def read_changes_file(store: Path, commit: Commit, number: int) -> pa.Table:
    """Return the content of a committed file of changes; schema `LOG`.

    Raises:
        CorruptStoreError: it is damaged.
    """
    name = changes_file(number)
    require_intact(store, name, commit.files[name])
    return pq.read_table(store / name)


def _both(name: str) -> tuple[str, str]:
    return name, copy_of(name)
