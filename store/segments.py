"""The files of a store: immutable segments, and state and changes of each generation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ..disk.files import digest, make_folder, write_atomically
from ..errors import CorruptStoreError
from ..results.tables import STORED
from ..schema import CLUSTERS, DOC_ID, Rows, ScoredPairs, TokenStore
from .commits import StoredFile
from .layout import (
    DOCUMENTS,
    EMBEDDINGS,
    PAIRS,
    TEXTS,
    changes_file,
    copy_of,
    is_linked,
    segment_folder,
    state_file,
    unseen_file,
)

STATE = pa.schema(
    [
        pa.field("document", pa.int64(), nullable=False),  # its number among the documents of all segments
        pa.field(DOC_ID, pa.string(), nullable=False),
        pa.field("text", pa.int64(), nullable=False),  # the number of its text, -1 if it is empty
        pa.field("cluster_id", pa.int64()),
        *(pa.field(name, CLUSTERS.field(name).type) for name in STORED),
    ]
)
LINKS = pa.schema([pa.field(name, pa.int64(), nullable=False) for name in ("left", "right")])
PAIRS_SCHEMA = pa.schema(
    [
        *LINKS,
        pa.field("cosine", pa.float32()),
        pa.field("logit", pa.float32()),
        pa.field("scored_by", pa.int8()),  # an index into DECIDERS
    ]
)
TEXTS_SCHEMA = pa.schema([pa.field("text", pa.large_string()), pa.field("tokens", pa.large_list(pa.int32()))])


class _WriteOnly:
    """A file that offers numpy only `write`: numpy's own writing may miss that the disk is full."""

    def __init__(self, file: BinaryIO) -> None:
        self.write = file.write


def write_segment(  # noqa: PLR0913 - the parts of a segment, each named at the call
    store: Path,
    generation: int,
    *,
    documents: pa.Table,
    texts: Sequence[str],
    tokens: TokenStore,
    embeddings: npt.NDArray[np.float16],
    pairs: ScoredPairs,
) -> dict[str, StoredFile]:
    """Write the files of one segment and return them by name.

    The documents are written twice, since everything else can be recomputed from them.
    """
    lists = pa.LargeListArray.from_arrays(pa.array(tokens.offsets, pa.int64()), pa.array(tokens.ids))
    pair_table = pa.table({name: getattr(pairs, name) for name in PAIRS_SCHEMA.names}, PAIRS_SCHEMA)
    writers: dict[str, Callable[[BinaryIO], Any]] = {
        DOCUMENTS: lambda file: _write_table(documents, file),
        copy_of(DOCUMENTS): lambda file: _write_table(documents, file),
        TEXTS: lambda file: _write_table(
            pa.table([pa.array(texts, pa.large_string()), lists], schema=TEXTS_SCHEMA), file
        ),
        EMBEDDINGS: lambda file: np.lib.format.write_array(_WriteOnly(file), embeddings, allow_pickle=False),
        PAIRS: lambda file: _write_table(pair_table, file),
    }
    return dict(
        _write_file(store, f"{segment_folder(generation)}/{name}", write) for name, write in writers.items()
    )


def write_state(
    store: Path, generation: int, state: pa.Table, unseen: tuple[Rows, Rows], log: pa.Table
) -> dict[str, StoredFile]:
    """Write the state of a generation, the pairs its clustering requested and changes, each twice."""
    tables = {
        state_file(generation): state,
        unseen_file(generation): pa.table(list(unseen), schema=LINKS),
        changes_file(generation): log,
    }
    return dict(
        _write_file(store, path, partial(_write_table, table))
        for name, table in tables.items()
        for path in (name, copy_of(name))
    )


def check_file(store: Path, name: str, expected: StoredFile) -> str | None:
    """Return what is wrong with a committed file, None if it is intact."""
    path = store / name
    if is_linked(store, name):
        return "it is behind a link"
    try:
        size = path.stat().st_size
        if size != expected.bytes:
            return f"it has {size:,} bytes instead of {expected.bytes:,}"
        return None if digest(path) == expected.sha256 else "its checksum does not match"
    except FileNotFoundError:
        return "it is missing"
    except OSError as error:
        return f"it cannot be read: {error.strerror}"


def require_intact(store: Path, name: str, expected: StoredFile) -> None:
    """Check a committed file.

    Raises:
        CorruptStoreError: it is missing or damaged.
    """
    if problem := check_file(store, name, expected):
        raise CorruptStoreError(
            f"{store / name} is damaged ({problem}): run `dupmine store verify --repair {store}`"
        )


def _write_table(table: pa.Table, file: BinaryIO) -> None:
    pq.write_table(table, file, compression="zstd")


def _write_file(store: Path, name: str, write: Callable[[BinaryIO], Any]) -> tuple[str, StoredFile]:
    path = store / name
    make_folder(path.parent)
    write_atomically(path, write)
    return name, StoredFile(path.stat().st_size, digest(path))
