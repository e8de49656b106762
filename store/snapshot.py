"""Read a generation of a store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..corpus.ids import to_ids
from ..errors import CorruptStoreError, InputError
from ..schema import DOC_ID, TEXT, Rows, ScoredPairs, TokenStore
from .commits import Commit, latest_commit
from .consistency import require_fit
from .layout import DOCUMENTS, EMBEDDINGS, PAIRS, TEXTS, segment_folder, state_file, unseen_file
from .segments import PAIRS_SCHEMA, TEXTS_SCHEMA, require_intact


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts by number, with the cross-encoder's tokens and the bi-encoder's unit vectors.

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
    """The whole content of a generation.

    `documents` and `state` (schema `STATE`) have the live documents, in order of arrival. `pairs` are all
    that were ever scored, and `unseen` those whose scores clustering requested, by text numbers. The left
    text of a pair comes first in the order of normalised texts.
    """

    commit: Commit
    documents: pa.Table
    state: pa.Table
    texts: Texts
    pairs: ScoredPairs
    unseen: tuple[Rows, Rows]

    @property
    def members(self) -> pa.Table:
        """The documents in clusters, with the cluster id and whether they are the representative."""
        clustered = self.state.filter(pc.is_valid(self.state["cluster_id"]))
        return clustered.select([DOC_ID, "cluster_id", "is_representative"])

    @property
    def n_texts(self) -> int:
        """Number of texts in all segments, live or not."""
        return len(self.texts.texts)

    @property
    def n_documents(self) -> int:
        """Number of documents in all segments, live or not."""
        return sum(segment.documents for segment in self.commit.segments)


def read_snapshot(store: Path, commit: Commit) -> Snapshot:
    """Read a generation after checking its files against the commit.

    Raises:
        CorruptStoreError: a file is missing or damaged, or the commit does not fit its files.
    """
    for name, expected in commit.files.items():
        if not name.startswith("changes/"):
            require_intact(store, name, expected)
    require_fit(store, commit)
    return read_without(store, commit, frozenset())


def read_latest(store: Path, cached: Snapshot | None) -> Snapshot:
    """Return the newest generation: `cached` if it still is that one, else read it.

    Raises:
        CorruptStoreError: a file is missing or damaged.
    """
    commit = latest_commit(store)
    while cached is None or cached.commit.generation != commit.generation:
        try:
            cached = read_snapshot(store, commit)
        except (CorruptStoreError, FileNotFoundError):
            # Meanwhile a writer may have committed so often that the files were removed.
            before, commit = commit, latest_commit(store)
            if commit.generation == before.generation:
                raise
    return cached


def read_without(store: Path, commit: Commit, damaged: frozenset[str]) -> Snapshot:
    """Read a generation without its damaged texts, embeddings and pairs, as if they had not been computed.

    Texts keep their numbers. The files are not checked.
    """
    state = pq.read_table(store / state_file(commit.generation))
    unseen = pq.read_table(store / unseen_file(commit.generation))
    folders = [segment_folder(segment.generation) for segment in commit.segments]
    stacked = stack_documents([pq.read_table(store / folder / DOCUMENTS) for folder in folders])
    readable = [f for f in folders if f"{f}/{PAIRS}" not in damaged]
    pairs = [PAIRS_SCHEMA.empty_table(), *(pq.read_table(store / folder / PAIRS) for folder in readable)]
    pair_table = pa.concat_tables(pairs)
    return Snapshot(
        commit,
        stacked.take(state["document"]),
        state,
        _read_texts(store, commit, damaged),
        ScoredPairs.from_logits(**{name: pair_table[name].to_numpy() for name in PAIRS_SCHEMA.names}),
        (unseen["left"].to_numpy(), unseen["right"].to_numpy()),
    )


def _read_texts(store: Path, commit: Commit, damaged: frozenset[str]) -> Texts:
    tables, vectors = [TEXTS_SCHEMA.empty_table()], []
    for segment in commit.segments:
        folder = segment_folder(segment.generation)
        if {f"{folder}/{TEXTS}", f"{folder}/{EMBEDDINGS}"} & damaged:
            missing = [None] * segment.texts
            tables.append(pa.table([missing, [[] for _ in missing]], schema=TEXTS_SCHEMA))
            vectors.append(np.zeros((segment.texts, commit.models["bi_encoder"]["dim"]), np.float16))
        else:
            tables.append(pq.read_table(store / folder / TEXTS).cast(TEXTS_SCHEMA))
            vectors.append(np.load(store / folder / EMBEDDINGS, mmap_mode="r", allow_pickle=False))
    table = pa.concat_tables(tables)
    lists = pa.concat_arrays(table["tokens"].chunks)
    tokens = TokenStore(lists.flatten().to_numpy(), lists.offsets.to_numpy(), 0)
    return Texts(table["text"], tokens, tuple(vectors))


def stack_documents(tables: Sequence[pa.Table]) -> pa.Table:
    """Stack tables of documents; a column that a table lacks is null there.

    Where types differ, columns of ids become text and dictionary-encoded columns their values.

    Raises:
        InputError: a column has another type than in an earlier table.
    """
    if not tables:
        return pa.table({DOC_ID: pa.array([], pa.string()), TEXT: pa.array([], pa.string())})
    try:
        return pa.concat_tables(_align_types(tables), promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise InputError(
            f"a column has another type than in the store ({str(error).splitlines()[0]}): convert it"
        ) from None


def _align_types(tables: Sequence[pa.Table]) -> list[pa.Table]:
    """Give columns of several types one, where it holds the same values: ids and dictionaries."""
    aligned = list(tables)
    for name in dict.fromkeys(name for table in tables for name in table.column_names):
        places = [i for i, table in enumerate(tables) if name in table.column_names]
        if len({tables[i].schema.field(name).type for i in places}) < 2:
            continue
        is_id = all(_holds_ids(tables[i], name) for i in places)
        for i in places:
            column = tables[i][DOC_ID] if is_id else _decode(tables[i][name])
            aligned[i] = aligned[i].set_column(aligned[i].column_names.index(name), name, column)
    return aligned


def _holds_ids(table: pa.Table, name: str) -> bool:
    try:
        return bool(to_ids(table[name], "", name).equals(table[DOC_ID]))
    except (InputError, pa.ArrowException):
        return False


def _decode(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    return column.cast(kind.value_type) if pa.types.is_dictionary(kind) else column
