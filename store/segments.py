"""What a store holds: immutable segments, the state of each generation, and reading them back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..disk.files import digest, make_folder, write_atomically
from ..errors import CorruptStoreError, InputError
from ..schema import DOC_ID, TEXT, Rows, ScoredPairs, TokenStore
from .commits import Commit, StoredFile, copy_of

DOCUMENTS = "documents.parquet"
TEXTS = "texts.parquet"
EMBEDDINGS = "embeddings.npy"
PAIRS = "pairs.parquet"

STATE = pa.schema(
    [
        pa.field("document", pa.int64(), nullable=False),  # its number among the documents of all segments
        pa.field(DOC_ID, pa.string(), nullable=False),
        pa.field("text", pa.int64(), nullable=False),  # the number of its text, -1 where it is empty
        pa.field("cluster_id", pa.int64()),
        pa.field("is_representative", pa.bool_(), nullable=False),
        pa.field("probability", pa.float32()),
        pa.field("weakest_link", pa.float32()),
    ]
)
LINKS = pa.schema([pa.field(name, pa.int64(), nullable=False) for name in ("left", "right")])
_PAIRS = pa.schema(
    [
        *LINKS,
        pa.field("cosine", pa.float32()),
        pa.field("logit", pa.float32()),
        pa.field("scored_by", pa.int8()),  # a position in DECIDERS
    ]
)
_TEXTS = pa.schema([pa.field("text", pa.large_string()), pa.field("tokens", pa.large_list(pa.int32()))])


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts by number, as the models saw them: tokens (the cross-encoder's) and unit vectors.

    `embeddings` is one array per segment, `(n, dim) float16`.
    """

    texts: pa.ChunkedArray
    tokens: TokenStore
    embeddings: tuple[npt.NDArray[np.float16], ...]

    def vectors(self, numbers: Rows, dim: int) -> npt.NDArray[np.float16]:
        """Return the unit vectors of texts by their numbers, `(len(numbers), dim)`."""
        out = np.empty((len(numbers), dim), np.float16)
        start = 0
        for part in self.embeddings:
            here = np.flatnonzero((numbers >= start) & (numbers < start + len(part)))
            out[here] = part[numbers[here] - start]
            start += len(part)
        return out


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A generation of a store, read whole.

    `documents` and `state` (schema `STATE`) have the living documents, in order of arrival. `pairs` are all
    that were ever scored and `unseen` those of them that clustering asked for, by numbers of texts; the left
    text comes first in the order of normalised texts.
    """

    commit: Commit
    documents: pa.Table
    state: pa.Table
    texts: Texts
    pairs: ScoredPairs
    unseen: tuple[Rows, Rows]

    @property
    def members(self) -> pa.Table:
        """The documents that are in a cluster, with its id and whether they stand for it."""
        clustered = self.state.filter(pc.is_valid(self.state["cluster_id"]))
        return clustered.select([DOC_ID, "cluster_id", "is_representative"])

    @property
    def n_texts(self) -> int:
        """Texts in all segments, living or not."""
        return len(self.texts.texts)

    @property
    def n_documents(self) -> int:
        """Documents in all segments, living or not."""
        return sum(segment.documents for segment in self.commit.segments)


class _Plain:
    """A file of which numpy sees `write` only: past Python it may miss that the disk is full."""

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

    The documents are written twice: all else can be computed again.
    """
    lists = pa.LargeListArray.from_arrays(pa.array(tokens.offsets, pa.int64()), pa.array(tokens.ids))
    known = pa.table({name: getattr(pairs, name) for name in _PAIRS.names}, _PAIRS)
    writers: dict[str, Callable[[BinaryIO], Any]] = {
        DOCUMENTS: lambda file: _write(documents, file),
        copy_of(DOCUMENTS): lambda file: _write(documents, file),
        TEXTS: lambda file: _write(
            pa.table([pa.array(texts, pa.large_string()), lists], schema=_TEXTS), file
        ),
        EMBEDDINGS: lambda file: np.lib.format.write_array(_Plain(file), embeddings, allow_pickle=False),
        PAIRS: lambda file: _write(known, file),
    }
    return dict(
        _stored(store, f"{segment_folder(generation)}/{name}", write) for name, write in writers.items()
    )


def write_state(
    store: Path, generation: int, state: pa.Table, unseen: tuple[Rows, Rows], changes: pa.Table
) -> dict[str, StoredFile]:
    """Write a generation's state, the pairs its clustering asked for, and its changes, each twice."""
    tables = {
        state_file(generation): state,
        unseen_file(generation): pa.table(list(unseen), schema=LINKS),
        changes_file(generation): changes,
    }
    return dict(
        _stored(store, named, partial(_write, table))
        for name, table in tables.items()
        for named in (name, copy_of(name))
    )


def segment_folder(generation: int) -> str:
    """Return the folder of the segment that a generation added, below the store's."""
    return f"segments/{generation:08}"


def state_file(generation: int) -> str:
    """Return the file with a generation's state."""
    return f"states/{generation:08}.parquet"


def unseen_file(generation: int) -> str:
    """Return the file with the pairs that a generation's clustering asked for."""
    return f"states/{generation:08}.unseen.parquet"


def changes_file(generation: int) -> str:
    """Return the file with a generation's changes."""
    return f"changes/{generation:08}.parquet"


def check_file(store: Path, name: str, expected: StoredFile) -> str | None:
    """Return what is wrong with a committed file, None where it is whole."""
    path = store / name
    try:
        size = path.stat().st_size
        if size != expected.bytes:
            return f"it has {size:,} bytes instead of {expected.bytes:,}"
        return None if digest(path) == expected.sha256 else "its checksum does not fit"
    except FileNotFoundError:
        return "it is missing"
    except OSError as error:
        return f"it cannot be read: {error.strerror}"


def require_whole(store: Path, name: str, expected: StoredFile) -> None:
    """Check a file that is needed.

    Raises:
        CorruptStoreError: it is missing or damaged.
    """
    if problem := check_file(store, name, expected):
        raise CorruptStoreError(
            f"{store / name} is damaged ({problem}): run `dupmine store verify --repair {store}`"
        )


def read_snapshot(store: Path, commit: Commit) -> Snapshot:
    """Read a generation, its files checked against the commit.

    Raises:
        CorruptStoreError: a file is missing or damaged.
    """
    for name, expected in commit.files.items():
        if not name.startswith("changes/"):
            require_whole(store, name, expected)
    return read_intact(store, commit, frozenset())


def read_intact(store: Path, commit: Commit, damaged: frozenset[str]) -> Snapshot:
    """Read a generation without its damaged texts, embeddings and pairs, as if nobody had computed them.

    The texts keep their numbers. The files are not checked.
    """
    state = pq.read_table(store / state_file(commit.generation))
    unseen = pq.read_table(store / unseen_file(commit.generation))
    folders = [segment_folder(segment.generation) for segment in commit.segments]
    stacked = stack_documents([pq.read_table(store / folder / DOCUMENTS) for folder in folders])
    readable = [f for f in folders if f"{f}/{PAIRS}" not in damaged]
    pairs = [_PAIRS.empty_table(), *(pq.read_table(store / folder / PAIRS) for folder in readable)]
    known = pa.concat_tables(pairs)
    return Snapshot(
        commit,
        stacked.take(state["document"]),
        state,
        _read_texts(store, commit, damaged),
        ScoredPairs.from_logits(**{name: known[name].to_numpy() for name in _PAIRS.names}),
        (unseen["left"].to_numpy(), unseen["right"].to_numpy()),
    )


def _read_texts(store: Path, commit: Commit, damaged: frozenset[str]) -> Texts:
    tables, vectors = [_TEXTS.empty_table()], []
    for segment in commit.segments:
        folder = segment_folder(segment.generation)
        if {f"{folder}/{TEXTS}", f"{folder}/{EMBEDDINGS}"} & damaged:
            nothing = [None] * segment.texts
            tables.append(pa.table([nothing, [[] for _ in nothing]], schema=_TEXTS))
            vectors.append(np.zeros((segment.texts, commit.models["bi_encoder"]["dim"]), np.float16))
        else:
            tables.append(pq.read_table(store / folder / TEXTS).cast(_TEXTS))
            vectors.append(np.load(store / folder / EMBEDDINGS, mmap_mode="r", allow_pickle=False))
    table = pa.concat_tables(tables)
    lists = pa.concat_arrays(table["tokens"].chunks)
    tokens = TokenStore(lists.flatten().to_numpy(), lists.offsets.to_numpy(), 0)
    return Texts(table["text"], tokens, tuple(vectors))


def stack_documents(tables: Sequence[pa.Table]) -> pa.Table:
    """Stack tables of documents, nulls where one lacks a column.

    Raises:
        InputError: a column has another type than before.
    """
    if not tables:
        return pa.table({DOC_ID: pa.array([], pa.string()), TEXT: pa.array([], pa.string())})
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise InputError(
            f"a column has another type than in the store ({str(error).splitlines()[0]}): convert it"
        ) from None


def _write(table: pa.Table, file: BinaryIO) -> None:
    pq.write_table(table, file, compression="zstd")


def _stored(store: Path, name: str, write: Callable[[BinaryIO], Any]) -> tuple[str, StoredFile]:
    path = store / name
    make_folder(path.parent)
    write_atomically(path, write)
    return name, StoredFile(path.stat().st_size, digest(path))
