"""The document that represents each cluster."""

from __future__ import annotations

import difflib
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import SettingsError
from ..schema import TEXT, Doubles, Rows, ScoredPairs, id_ranks
from ..settings import ClusteringSettings
from .linkage import round_exactly


def choose_representatives(
    labels: Rows, row_of: Rows, documents: pa.Table, pairs: ScoredPairs, *, settings: ClusteringSettings
) -> Rows:
    """Choose the document that represents each cluster, as `settings.keep` says.

    `labels` is (n_rows,). `row_of` is (n_documents,), -1 for a document that is in no cluster and represents
    itself. `pairs` holds every pair with a probability. Ties go to the shortest `doc_id`, then to the first
    in the order of its characters, so that they do not depend on the order of the input. Returns the
    position of the representative of each document, (n_documents,).

    Raises:
        SettingsError: `documents` lacks the column, or the column has no order.
    """
    if not len(documents):
        return np.empty(0, np.int64)
    cost = _document_costs(labels, row_of, documents, pairs, settings)
    singles = int(labels.max(initial=-1)) + 1 + np.arange(len(row_of))
    clusters = np.where(row_of >= 0, np.append(labels, -1)[row_of], singles)
    order = np.lexsort((id_ranks(documents), cost, clusters))
    _, start, cluster = np.unique(clusters[order], return_index=True, return_inverse=True)
    representatives = np.empty(len(row_of), dtype=np.int64)
    representatives[order] = order[start[cluster]]
    return representatives


def check_keep(settings: ClusteringSettings, documents: pa.Table) -> None:
    """Check before a run that `settings.keep` can rank the documents.

    Raises:
        SettingsError: it names a column that `documents` lacks or that has no order.
    """
    no_rows = np.full(len(documents), -1)
    choose_representatives(np.empty(0, np.int64), no_rows, documents, ScoredPairs.none(), settings=settings)


def _document_costs(
    labels: Rows, row_of: Rows, documents: pa.Table, pairs: ScoredPairs, settings: ClusteringSettings
) -> Doubles:
    """Return a number per document; the document with the lowest represents its cluster."""
    if settings.keep == "medoid":
        return -_mean_probabilities(labels, row_of, pairs, settings.unknown)
    if settings.keep == "first":
        return np.arange(len(row_of), dtype=np.float64)
    if settings.keep == "longest":
        return -np.asarray(pc.utf8_length(documents[TEXT]).to_numpy(), dtype=np.float64)
    column, _, direction = settings.keep.rpartition(":")
    if column not in documents.column_names:
        raise SettingsError(_unknown_column(column, documents.column_names))
    return _value_ranks(documents[column], column, descending=direction == "desc")


def _mean_probabilities(labels: Rows, row_of: Rows, pairs: ScoredPairs, unknown: float) -> Doubles:
    """Return each document's mean probability with the others of its cluster, with 1 for its copies."""
    copies = np.bincount(row_of[row_of >= 0], minlength=len(labels))
    members = np.bincount(labels, weights=copies)[labels]
    inside = pairs.where(labels[pairs.left] == labels[pairs.right])
    excess = round_exactly(inside.probability.astype(np.float64) - unknown)
    total = (copies - 1) + unknown * (members - copies)
    total += np.bincount(inside.left, excess * copies[inside.right], minlength=len(labels))
    total += np.bincount(inside.right, excess * copies[inside.left], minlength=len(labels))
    means = np.append(total / np.maximum(members - 1, 1), 0.0)
    return means[row_of]


def _value_ranks(values: pa.ChunkedArray, column: str, *, descending: bool) -> Doubles:
    """Rank the values, the best first and equal ones equally; nulls and empty strings come last."""
    try:
        ranks = _comparable(values).rank(method="min", ascending=not descending, na_option="bottom")
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise SettingsError(
            f"setting clustering.keep: column {column!r} holds {values.type}, which has no order; "
            "name a column of numbers, dates or text"
        ) from None
    return np.asarray(ranks, np.float64)


def _comparable(values: pa.ChunkedArray) -> pd.Series[Any]:
    """Return values that sort as expected: text becomes numbers if all of it is numbers."""
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_null(values.type):
        values = values.cast(pa.int8())
    series: pd.Series[Any] = values.to_pandas(types_mapper=pd.ArrowDtype)
    if pd.api.types.is_string_dtype(series):
        series = series.str.strip().replace("", None)
        with suppress(ValueError):
            series = pd.to_numeric(series)
    return series.astype("float64") if pd.api.types.is_float_dtype(series) else series  # NaN is a null too


def _unknown_column(column: str, columns: list[str]) -> str:
    near = difflib.get_close_matches(column, columns, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(columns)}"
    return f"setting clustering.keep: the documents have no column {column!r}: {hint}"
