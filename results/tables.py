"""Make the tables of a run from rows and pairs of rows, and read them back."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import InputError
from ..schema import (
    CLUSTERS,
    DECIDERS,
    DOC_ID,
    EXACT,
    PAIRS,
    TEXT,
    Floats,
    Rows,
    ScoredPairs,
    id_ranks,
)

# The columns that a store keeps: all that cannot be computed from its other columns.
STORED = tuple(
    name for name in CLUSTERS.names if name not in {"cluster_id", "doc_id", "text", "cluster_size"}
)


def clusters_table(
    documents: pa.Table,
    labels: Rows,
    representatives: Rows,
    probability: Floats,
    weakest: Floats,
    *,
    singletons: bool,
) -> pa.Table:
    """Return one line per clustered document, the representative first; schema `CLUSTERS`.

    Args:
        documents: the documents, `(n_documents,)`.
        labels: the label of each document's cluster, `(n_documents,)`.
        representatives: the position of each document's representative, `(n_documents,)`.
        probability: that of each document and its representative, `(n_documents,)`, NaN where unknown.
        weakest: the weakest link of each label's cluster, `(n_labels,)`.
        singletons: list documents without a duplicate too, after the others.
    """
    sizes = np.bincount(labels, minlength=len(weakest))
    numbers = np.empty(len(sizes), np.int64)
    numbers[np.argsort(sizes < 2, kind="stable")] = np.arange(len(sizes))
    is_representative = representatives == np.arange(len(labels))
    listed = np.flatnonzero(singletons | (sizes[labels] > 1))
    ranks = id_ranks(documents)[listed]
    order = listed[np.lexsort((ranks, ~is_representative[listed], numbers[labels[listed]]))]
    return pa.table(
        {
            "cluster_id": numbers[labels[order]],
            "doc_id": documents[DOC_ID].take(order),
            "text": documents[TEXT].take(order),
            "is_representative": is_representative[order],
            "cluster_size": sizes[labels[order]],
            "probability": pa.array(probability[order], mask=np.isnan(probability[order])),
            "weakest_link": weakest[labels[order]],
        },
        schema=CLUSTERS,
    )


def stored_clusters(documents: pa.Table, state: pa.Table) -> pa.Table:
    """Return the clusters of a store's generation, under their stable ids; schema `CLUSTERS`.

    `state` has a line per line of `documents`, with the columns `STORED` of its cluster.
    """
    clusters = state["cluster_id"].fill_null(-1).to_numpy()
    listed = np.flatnonzero(clusters >= 0)
    is_representative = state["is_representative"].take(listed).to_numpy()
    order = listed[np.lexsort((id_ranks(documents)[listed], ~is_representative, clusters[listed]))]
    _, line, sizes = np.unique(clusters[order], return_inverse=True, return_counts=True)
    lines = state.take(order)
    stored = {name: lines[name] for name in ("cluster_id", "doc_id", *STORED)}
    return pa.table(
        stored | {"text": documents[TEXT].take(order), "cluster_size": sizes[line]}, schema=CLUSTERS
    )


def pairs_table(documents: pa.Table, row_of: Rows, pairs: ScoredPairs, threshold: float) -> pa.Table:
    """Return one line per pair of distinct texts and one per exact duplicate; schema `PAIRS`.

    A text that several documents share is named by the document with the lowest id; the others are its exact
    duplicates.
    """
    ranks = id_ranks(documents)
    anchors = row_anchors(row_of, ranks)
    copies = np.flatnonzero(row_of >= 0)
    copies = copies[anchors[row_of[copies]] != copies]
    copies = copies[np.lexsort((ranks[copies], row_of[copies]))]
    ids = documents[DOC_ID]
    left = np.concatenate([anchors[pairs.left], anchors[row_of[copies]]])
    right = np.concatenate([anchors[pairs.right], copies])
    certain = np.ones(len(copies), np.float32)
    exact = np.full(len(copies), DECIDERS.index(EXACT), np.int8)
    return pa.table(
        {
            "left_id": ids.take(left),
            "right_id": ids.take(right),
            "cosine": np.append(pairs.cosine, certain),
            "probability": np.append(pairs.probability, certain),
            "is_duplicate": np.append(pairs.probability >= threshold, certain > 0),
            "decided_by": _names(np.append(pairs.decided_by, exact)),
            "pair_probability": np.append(pairs.pair_probability, certain),
            "scored_by": _names(np.append(pairs.scored_by, exact)),
        },
        schema=PAIRS,
    )


def read_pairs(pairs: pa.Table, documents: pa.Table, row_of: Rows) -> ScoredPairs:
    """Return the pairs of rows behind a pairs table; the inverse of `pairs_table`.

    Raises:
        InputError: the table names a document that `documents` lacks.
    """
    scored = pairs.filter(pc.not_equal(pairs["decided_by"], EXACT))
    ends = []
    for name in ("left_id", "right_id"):
        positions = pc.index_in(scored[name], documents[DOC_ID].combine_chunks())
        if positions.null_count:
            unknown = scored[name].filter(pc.is_null(positions))[0].as_py()
            raise InputError(f"pairs.parquet names the document {unknown!r}, which the run does not hold")
        ends.append(row_of[positions.to_numpy()])
    probability = scored["probability"].to_numpy().astype(np.float32)
    pair_probability = scored["pair_probability"].to_numpy().astype(np.float32)
    deciders = pa.array(DECIDERS)
    return ScoredPairs(
        left=np.minimum(*ends),
        right=np.maximum(*ends),
        cosine=scored["cosine"].to_numpy(),
        logit=_log_odds(probability),
        probability=probability,
        pair_logit=_log_odds(pair_probability),
        decided_by=pc.index_in(scored["decided_by"], deciders).to_numpy().astype(np.int8),
        scored_by=pc.index_in(scored["scored_by"], deciders).to_numpy().astype(np.int8),
    )


def _names(deciders: npt.NDArray[np.int8]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(deciders, DECIDERS).cast(pa.string())


def _log_odds(probability: Floats) -> Floats:
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(probability) - np.log1p(-probability), np.float32)


def row_anchors(row_of: Rows, ranks: Rows) -> Rows:
    """Return for each row the position of its document with the lowest id."""
    order = np.lexsort((ranks, row_of))
    rows, first = np.unique(row_of[order], return_index=True)
    anchors: Rows = order[first[rows >= 0]]
    return anchors
