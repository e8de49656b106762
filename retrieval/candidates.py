"""Candidate pairs: every pair of rows above the cosine floor, found by growing top-k searches."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..progress import Progress
from ..schema import CandidatePairs, Floats, Rows
from ..settings import RetrievalSettings
from .encoder import Embeddings
from .index import VectorIndex

log = logging.getLogger(__name__)

_QUERIES = 4096
_GROWTH = 4
# The index and `pair_cosines` sum in different orders; the latter decides pairs this close to the floor.
_SLACK = 1e-4


@dataclass(frozen=True, slots=True)
class CandidateCounts:
    """What the search did: queries whose k was grown, and queries cut at `max_k` above the floor."""

    grown: int
    capped: int


def find_candidates(
    embeddings: Embeddings,
    index: VectorIndex,
    settings: RetrievalSettings,
    progress: Progress,
    rows: Rows | None = None,
) -> tuple[CandidatePairs, CandidateCounts]:
    """Return each unordered pair with a cosine of at least `floor` that the index finds.

    With `rows` only the pairs of which at least one is among them are looked for.
    A query whose last neighbour is still above the floor is asked again with a larger k, up to `max_k`, so
    that a group larger than `top_k` keeps its edges. Self is dropped by row, not by rank.
    """
    n = len(embeddings)
    k, most = (min(top + 1, n) for top in (settings.top_k, max(settings.top_k, settings.max_k)))
    pending: Rows = np.arange(n) if rows is None else rows
    found: list[Rows] = []
    grown = 0
    while len(pending) and k > 1:
        keys, pending = _search(embeddings, index, pending, k, settings.floor - _SLACK, progress)
        found.append(keys)
        if k == most:
            break
        k = min(_GROWTH * k, most)
        grown = max(grown, len(pending))
    capped = len(pending) if k < n else 0
    if capped:
        log.warning(
            "%d texts have more than %d neighbours above the floor; raise retrieval.max_k", capped, k - 1
        )
    keys = np.unique(np.concatenate(found)) if found else np.empty(0, np.int64)
    left, right = keys // max(n, 1), keys % max(n, 1)
    cosine = pair_cosines(embeddings, left, right)
    keep = cosine >= settings.floor
    return CandidatePairs(left[keep], right[keep], cosine[keep]), CandidateCounts(grown, capped)


def _search(
    embeddings: Embeddings, index: VectorIndex, pending: Rows, k: int, floor: float, progress: Progress
) -> tuple[npt.NDArray[np.int64], Rows]:
    """Return pair keys `left * n + right` and the rows whose k-th neighbour is above the floor."""
    n = len(embeddings)
    keys: list[npt.NDArray[np.int64]] = []
    unfinished: list[Rows] = []
    with progress.bar(f"top-{k - 1}", len(pending), "texts") as bar:
        for start in range(0, len(pending), _QUERIES):
            rows = pending[start : start + _QUERIES]
            cosine, neighbours = index.search(np.asarray(embeddings[rows], np.float32), k)
            keep = (cosine >= floor) & (neighbours >= 0) & (neighbours != rows[:, None])
            a, b = np.broadcast_to(rows[:, None], keep.shape)[keep], neighbours[keep]
            keys.append(np.unique(np.minimum(a, b) * n + np.maximum(a, b)))
            unfinished.append(
                rows[(cosine[:, -1] >= floor) & (neighbours[:, -1] >= 0)] if k < n else rows[:0]
            )
            bar.update(len(rows))
    return np.unique(np.concatenate(keys)), np.concatenate(unfinished)


def pair_cosines(embeddings: Embeddings, left: Rows, right: Rows) -> Floats:
    """Return the cosine of each pair of rows, `(n_pairs,) float32`, the same whatever the batch."""
    out = np.empty(len(left), np.float32)
    for start in range(0, len(left), 65_536):
        part = slice(start, start + 65_536)
        a = np.asarray(embeddings[left[part]], np.float32)
        out[part] = np.einsum("ij,ij->i", a, np.asarray(embeddings[right[part]], np.float32))
    return np.clip(out, -1.0, 1.0)
