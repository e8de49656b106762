"""What a report reads: the part of a `MiningResult` it needs, and the clusters as arrays."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..corpus.unique import normalised_key
from ..schema import DOC_ID, TEXT, Corpus, Floats, Rows, ScoredPairs
from ..settings import MiningSettings


class Mined(Protocol):
    """A result of a run; `MiningResult` is one."""

    corpus: Corpus
    row_of: Rows
    scored_pairs: ScoredPairs
    clusters_table: pa.Table
    settings: MiningSettings
    manifest: dict[str, Any]

    @property
    def row_labels(self) -> Rows:
        """The cluster of each row, `(n_rows,)`; rows without one have a number of their own."""

    @property
    def anchors(self) -> Rows:
        """The position of the document that names each row, `(n_rows,)`."""

    def rethreshold(self, threshold: float) -> Self:
        """Cluster again with another threshold."""


@dataclass(frozen=True, slots=True)
class Members:
    """The documents of all clusters of two or more, cluster by cluster, the representative first.

    `cluster_id`, `start` and `size` are `(n_clusters,)`; cluster i has the lines `start[i]` to
    `start[i] + size[i]` of `document` (positions), `row` and `probability` (to the representative, NaN where
    unknown), each `(n_lines,)`.
    """

    cluster_id: Rows
    start: Rows
    size: Rows
    weakest_link: Floats
    document: Rows
    row: Rows
    probability: Floats

    def __len__(self) -> int:
        """Return the number of clusters."""
        return len(self.cluster_id)

    @property
    def cluster_of(self) -> Rows:
        """The place of the cluster of each line."""
        return np.repeat(np.arange(len(self)), self.size)

    @property
    def representative(self) -> Rows:
        """The position of the representative of each line's cluster."""
        return np.repeat(self.document[self.start], self.size)

    def lines(self, place: int) -> slice:
        """Return the lines of the cluster at a place."""
        start = int(self.start[place])
        return slice(start, start + int(self.size[place]))


def cluster_members(mined: Mined) -> Members:
    """Return the clusters of two or more documents as arrays."""
    table = mined.clusters_table
    table = table.filter(pc.greater(table["cluster_size"], 1))
    ids = table["cluster_id"].to_numpy()
    heads = np.flatnonzero(np.diff(ids, prepend=-1)) if len(ids) else np.empty(0, np.int64)
    document = positions(mined, table[DOC_ID])
    return Members(
        cluster_id=ids[heads],
        start=heads,
        size=np.diff(np.append(heads, len(ids))),
        weakest_link=table["weakest_link"].to_numpy()[heads],
        document=document,
        row=mined.row_of[document],
        probability=table["probability"].cast(pa.float32()).to_numpy(),
    )


def positions(mined: Mined, doc_ids: pa.ChunkedArray) -> Rows:
    """Return the positions of documents, -1 where there is none with that id."""
    known = mined.corpus.documents[DOC_ID].combine_chunks()
    return np.asarray(pc.fill_null(pc.index_in(doc_ids, known), -1).to_numpy(), np.int64)


def doc_ids(mined: Mined, at: Rows) -> list[str]:
    """Return the ids of documents."""
    ids: list[str] = mined.corpus.documents[DOC_ID].take(pa.array(at, pa.int64())).to_pylist()
    return ids


def texts(mined: Mined, at: Rows) -> list[str]:
    """Return the texts of documents."""
    found: list[str] = mined.corpus.documents[TEXT].take(pa.array(at, pa.int64())).to_pylist()
    return found


def text_hash(text: str) -> str:
    """Return what names a text in labels: the start of a SHA-256 of its normalised form."""
    return hashlib.sha256(normalised_key(text).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def fingerprint(mined: Mined) -> str:
    """Return what names a result in labels and caches: a SHA-256 over its documents, pairs and clusters."""
    pairs, total = mined.scored_pairs, hashlib.sha256()
    for column in mined.corpus.documents[DOC_ID].chunks:
        total.update("\0".join(column.to_pylist()).encode("utf-8", "surrogatepass"))
    for array in (mined.row_of, pairs.left, pairs.right, pairs.probability, mined.row_labels):
        total.update(np.ascontiguousarray(array).tobytes())
    total.update(repr((mined.settings.clustering, mined.settings.rerank.accepts_from)).encode())
    return total.hexdigest()[:32]
