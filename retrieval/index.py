"""An index for queries: exact or IVF inner-product search over unit vectors."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np

from ..schema import Floats, Rows
from ..settings import RetrievalSettings
from .encoder import Embeddings

log = logging.getLogger(__name__)

_BLOCK = 65_536
_SAMPLE = 1_000
_LOW_RECALL = 0.95
_GPU_MOST = 2047  # neighbours; one more is the text itself


@dataclass(frozen=True, slots=True)
class FaissIndex:
    """A FAISS index and its description."""

    index: Any
    description: dict[str, Any]

    def search(self, queries: Floats, k: int) -> tuple[Floats, Rows]:
        """Return inner products and rows of the k nearest vectors, each `(n_queries, k)`, best first.

        Where fewer are found the row is -1.
        """
        similarities, rows = self.index.search(queries, k)
        return similarities, rows


def build_index(
    embeddings: Embeddings, settings: RetrievalSettings, *, k: int, gpu: bool = False
) -> FaissIndex:
    """Index the unit rows of `embeddings`, `(n, dim)`: exact up to `exact_limit` rows, IVF above.

    The IVF index visits as many lists as find `target_recall` of the `k` nearest of a sample; the recall
    measured against exact search is in the description. `gpu` moves the index to the GPU where FAISS is
    built for it.
    """
    n, dim = embeddings.shape
    if n <= settings.exact_limit:
        index = _placed(faiss.IndexFlatIP(dim), k, gpu=gpu)
        _add(index, embeddings)
        return FaissIndex(index, {"kind": "exact"})
    lists = min(settings.lists or max(min(round(2 * n**0.5), n // 39), 1), n)
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed = 0
    index = _placed(index, k, gpu=gpu)
    index.train(np.asarray(embeddings[_sample(n, 64 * lists)], np.float32))
    _add(index, embeddings)
    probes, recall = _choose_probes(index, embeddings, lists, k, settings)
    if recall < _LOW_RECALL:
        log.warning(
            "IVF recall is %.3f against exact search; raise retrieval.probes (now %d)", recall, probes
        )
    return FaissIndex(index, {"kind": "ivf", "lists": lists, "probes": probes, "recall": round(recall, 4)})


def _placed(index: Any, k: int, *, gpu: bool) -> Any:
    """Move an index to the GPU, where configured and supported by FAISS."""
    if not gpu:
        return index
    if getattr(faiss, "get_num_gpus", int)() == 0:
        log.warning("this build of FAISS has no GPU support: the search runs on the CPU (install faiss-gpu)")
        return index
    if k > _GPU_MOST:
        log.warning(
            "%d neighbours are above %d, FAISS's limit on a GPU: the search runs on the CPU", k, _GPU_MOST
        )
        return index
    return faiss.index_cpu_to_all_gpus(index, ngpu=1)


def _add(index: Any, embeddings: Embeddings) -> None:
    for start in range(0, len(embeddings), _BLOCK):
        index.add(np.asarray(embeddings[start : start + _BLOCK], np.float32))


def _sample(n: int, size: int) -> Rows:
    return np.sort(np.random.default_rng(0).choice(n, min(size, n), replace=False))


def _choose_probes(
    index: Any, embeddings: Embeddings, lists: int, k: int, settings: RetrievalSettings
) -> tuple[int, float]:
    """Set the number of probes, doubling it up to the target, and return it with the recall measured."""
    rows = _sample(len(embeddings), _SAMPLE)
    queries = np.asarray(embeddings[rows], np.float32)
    k = min(k + 1, len(embeddings))
    exact = _exact_neighbours(queries, embeddings, k, settings.floor)
    exact[exact == rows[:, None]] = -1  # that a text finds itself says nothing
    probes = settings.probes or min(8, lists)
    while True:
        index.nprobe = min(probes, lists)
        recall = _recall(index.search(queries, k)[1], exact)
        if settings.probes or probes >= lists or recall >= settings.target_recall:
            return min(probes, lists), recall
        probes *= 2


def _exact_neighbours(queries: Floats, embeddings: Embeddings, k: int, floor: float) -> Rows:
    """Return the k nearest rows of each query, -1 where they are below the floor."""
    heap = faiss.ResultHeap(len(queries), k, keep_max=True)
    for start in range(0, len(embeddings), _BLOCK):
        block = np.asarray(embeddings[start : start + _BLOCK], np.float32)
        similarities, rows = faiss.knn(queries, block, min(k, len(block)), faiss.METRIC_INNER_PRODUCT)
        heap.add_result(similarities, rows + start)
    heap.finalize()
    neighbours: Rows = np.where(floor <= heap.D, heap.I, -1)
    return neighbours


def _recall(found: Rows, exact: Rows) -> float:
    sought = int((exact >= 0).sum())
    hits = sum(int(np.isin(e[e >= 0], f).sum()) for e, f in zip(exact, found, strict=True))
    return hits / sought if sought else 1.0
