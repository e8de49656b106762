"""A FAISS index of unit vectors; no other module imports FAISS."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..errors import ModelError, SettingsError
from ..schema import Floats, Rows
from ..settings import RetrievalSettings
from .encoder import Embeddings


@contextmanager
def _fast_kernels() -> Iterator[None]:
    """Let FAISS load with the matrix products of AVX-512 where the processor has it.

    The OpenBLAS in its wheels is from 2021. On later processors it chooses kernels that are half as fast, or
    slower. OPENBLAS_CORETYPE in the environment overrides this.
    """
    name = "OPENBLAS_CORETYPE"
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    needed = (f"avx512_{part}" for part in ("f", "bw", "cd", "dq", "vl"))
    if name in os.environ or not all(capabilities.get(part) for part in needed):
        yield
        return
    os.environ[name] = "SKYLAKEX"
    try:
        yield
    finally:
        del os.environ[name]


with _fast_kernels():
    import faiss

log = logging.getLogger(__name__)

FLAT, IVF = "flat", "ivf"
FLAT_MOST = 100_000  # texts: with more, the products of all with each other take a sixth of a run and more
_SLACK = 1e-4  # more than single precision loses in a product
_SLACK_HALF = 2**-8  # more than half precision loses
_NEIGHBOURS = 64  # asked for where an index has no range search, and four times as many again and again
_GPU_NEIGHBOURS = 2048  # the most that FAISS finds on a GPU
_TRAINED = 64  # texts per list that the centres are learnt from
_LEAST_TRAINED = 65_536
_BLOCK = 16_384
_NO_GPU = (
    "this build of FAISS has no GPU support: the search runs on the CPU "
    "(pip uninstall faiss-cpu; pip install faiss-gpu)"
)


class Index:
    """A FAISS index of unit vectors, which have positions in the order in which they were added."""

    def __init__(self, index: Any, kind: str, device: torch.device) -> None:
        """Take a trained index of FAISS that measures inner products."""
        self.kind = kind
        self._index = index
        self._ivf: Any = faiss.try_extract_index_ivf(index)
        self._device = device
        self._moved: Any = None  # to the GPU
        self._has_gpu = _has_gpu(device)
        # A refined index would compare a range with what it has before it refines.
        self._has_ranges = not isinstance(index, faiss.IndexRefine)

    def __len__(self) -> int:
        """Return the number of vectors."""
        return int(self._index.ntotal)

    @property
    def grows(self) -> bool:
        """Whether it can be asked between additions; on a GPU it is moved as a whole."""
        return not self._has_gpu

    def add(self, vectors: Embeddings) -> None:
        """Append vectors, `(n, dim)`, unit rows.

        Raises:
            ModelError: a vector has an infinite element, or NaN.
        """
        self._moved = None
        with _threads_of_torch():
            for start in range(0, len(vectors), _BLOCK):
                self._index.add(_single(vectors[start : start + _BLOCK]))

    def near(self, vectors: Embeddings, floor: float) -> tuple[Rows, Rows, Floats]:
        """Return the positions whose cosine with a vector reaches a floor, and some below it.

        Returns the row in `vectors`, the position and the most that the cosine can be, `(n_hits,)` each.
        """
        queries = _single(vectors)
        slack = _SLACK_HALF if self._has_gpu and self._needs_halves() else _SLACK
        least = floor - slack if floor > -1 else -2.0  # a product may be below the cosine it is clipped to
        find = self._grow if self._has_gpu or not self._has_ranges else self._in_range
        with _threads_of_torch():
            row, position, product = find(queries, least)
        return row, position, product + slack if self.kind in {FLAT, IVF} else np.ones_like(product)

    def nearest(self, vectors: Embeddings, k: int) -> tuple[Floats, Rows]:
        """Return cosines and positions of the k nearest, `(n, k)`, best first; -1 where there are fewer."""
        with _threads_of_torch():
            cosine, position = self._asked(k).search(_single(vectors), k)
        return cosine, position

    @property
    def has_lists(self) -> bool:
        """Whether a query visits some of the index's lists."""
        return self._ivf is not None

    @property
    def nprobe(self) -> int:
        """The number of lists that a query visits, where there are any."""
        return int(self._ivf.nprobe)

    def count_visits(self, asked: Embeddings, met: Embeddings) -> Rows:
        """Return how many lists the one vector of each pair visits until it meets the other, `(n_pairs,)`."""
        points, others = (self._in_lists(vectors) for vectors in (asked, met))
        lists = self._ivf.quantizer.search(others, 1)[1]
        similarity = points @ self._ivf.quantizer.reconstruct_n(0, self._ivf.nlist).T
        return np.asarray((similarity > np.take_along_axis(similarity, lists, axis=1)).sum(axis=1) + 1)

    def choose_nprobe(self, visits: Rows, target: float) -> None:
        """Visit as many lists as let a share of `target` of pairs meet that need so many `visits`.

        For a target of 1 these are all: that the pairs of a sample meet does not prove it of all.
        """
        enough = self._ivf.nlist if target == 1.0 else int(np.quantile(visits, target, method="inverted_cdf"))
        self.set_nprobe(enough)

    def set_nprobe(self, nprobe: int) -> None:
        """Visit so many lists per query, at most all."""
        faiss.ParameterSpace().set_index_parameter(self._index, "nprobe", min(nprobe, self._ivf.nlist))

    def describe(self) -> dict[str, Any]:
        """Return what the manifest says of the index."""
        lists = {"nlist": self._ivf.nlist, "nprobe": self.nprobe} if self.has_lists else {}
        return {"kind": self.kind, **lists}

    def to_bytes(self) -> npt.NDArray[np.uint8]:
        """Return the index in FAISS's own format."""
        content: npt.NDArray[np.uint8] = faiss.serialize_index(self._index)
        return content

    @classmethod
    def from_bytes(cls, content: npt.NDArray[np.uint8], kind: str, device: torch.device) -> Index:
        """Return the index that `to_bytes` wrote."""
        return cls(faiss.deserialize_index(np.array(content)), kind, device)

    def _in_lists(self, vectors: Embeddings) -> Floats:
        """Return vectors as the lists see them."""
        points = _single(vectors)
        chain: Any = getattr(self._index, "chain", None)  # an IndexPreTransform has one
        for i in range(chain.size() if chain else 0):
            points = faiss.downcast_VectorTransform(chain.at(i)).apply(points)
        return points

    def _in_range(self, queries: Floats, least: float) -> tuple[Rows, Rows, Floats]:
        try:
            ends, product, position = self._index.range_search(queries, least)
        except RuntimeError as error:
            if "not implemented" not in str(error):
                raise
            self._has_ranges = False
            return self._grow(queries, least)
        return np.repeat(np.arange(len(queries)), np.diff(ends.astype(np.int64))), position, product

    def _grow(self, queries: Floats, least: float) -> tuple[Rows, Rows, Floats]:
        """Ask for the nearest, and for more of them where the last of these are near enough too."""
        rows, k, parts = np.arange(len(queries)), _NEIGHBOURS, []
        while len(rows):
            k = min(k, len(self))
            if self._has_gpu and self._has_ranges and k > _GPU_NEIGHBOURS:
                row, position, product = self._in_range(queries[rows], least)
                parts.append((rows[row], position, product))
                break
            product, position = self._asked(k).search(queries[rows], k)
            hit = (product >= least) & (position >= 0)
            more = hit.all(axis=1) & (k < len(self))
            hit &= ~more[:, None]
            parts.append((np.repeat(rows, hit.sum(axis=1)), position[hit], product[hit]))
            rows, k = rows[more], 4 * k
        row, position, product = (np.concatenate(side) for side in zip(*parts, strict=True))
        return row, position, product

    def _asked(self, k: int) -> Any:
        """Return the index on the GPU, where there is one that finds so many."""
        if not self._has_gpu or k > _GPU_NEIGHBOURS:
            return self._index
        if self._moved is None:
            self._moved = _move(self._index, self._needs_halves(), _gpus(self._device))
        return self._moved

    def _needs_halves(self) -> bool:
        free, _ = torch.cuda.mem_get_info(self._device)
        return needs_halves(len(self) * self._index.d, free * len(_gpus(self._device)))


def choose_kind(settings: RetrievalSettings, n: int, asking: int, device: torch.device) -> str:
    """Return the kind of index for a search of `asking` among n texts: flat, ivf or a factory string."""
    if device.type == "cuda" and not _has_gpu(device):
        log.warning(_NO_GPU)
    if settings.index != "auto":
        return settings.index
    return FLAT if asking * n <= FLAT_MOST**2 else IVF


def flat_index(dim: int, device: torch.device) -> Index:
    """Return an empty index that compares a query with all vectors."""
    return Index(faiss.IndexFlatIP(dim), FLAT, device)


def train_index(
    kind: str, embeddings: Embeddings, settings: RetrievalSettings, device: torch.device
) -> Index:
    """Return an empty index of a kind, trained for `embeddings`, `(n, dim)`.

    Raises:
        SettingsError: FAISS does not know the kind, or cannot make it of these texts.
    """
    n, dim = embeddings.shape
    if kind == FLAT:
        return flat_index(dim, device)
    lists = min(settings.nlist or round(2 * n**0.5), n)
    raw = _create(f"IVF{lists},SQfp16" if kind == IVF else kind, dim)
    if kind == IVF:
        raw.by_residual = False  # numbers in half precision stay what they are
    _train(raw, kind, embeddings, device)
    index = Index(raw, kind, device)
    if settings.nprobe and index.has_lists:
        index.set_nprobe(settings.nprobe)
    elif settings.nprobe:
        raise SettingsError(f"setting retrieval.nprobe: index {kind!r} has no lists: leave it out")
    return index


def needs_halves(elements: int, free: int) -> bool:
    """Whether so many numbers in single precision take more than half of the free memory, in bytes."""
    return 8 * elements > free


def _create(kind: str, dim: int) -> Any:
    try:
        index = faiss.index_factory(dim, kind, faiss.METRIC_INNER_PRODUCT)
    except (RuntimeError, TypeError, ValueError) as error:
        raise SettingsError(
            f"setting retrieval.index: FAISS cannot make {kind!r} with inner products of {dim} dimensions "
            f"({_reason(error)}): use auto, flat, ivf or a string of FAISS's index factory, as HNSW32"
        ) from None
    if index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise SettingsError(f"setting retrieval.index: {kind!r} does not measure inner products: use another")
    return index


def _train(index: Any, kind: str, embeddings: Embeddings, device: torch.device) -> None:
    ivf, n, size = faiss.try_extract_index_ivf(index), len(embeddings), _LEAST_TRAINED
    if ivf is not None:
        size = max(size, _TRAINED * ivf.nlist)
        ivf.cp.seed, ivf.cp.min_points_per_centroid = 0, 1  # FAISS prints when there are fewer
        if _has_gpu(device):
            ivf.clustering_index = _clustering_index(ivf, _gpus(device))
    sample = np.sort(np.random.default_rng(0).choice(n, min(size, n), replace=False))
    try:
        with _threads_of_torch():
            index.train(_single(embeddings[sample]))
    except RuntimeError as error:
        raise SettingsError(
            f"setting retrieval.index: FAISS cannot train {kind!r} on {n} texts of {index.d} dimensions "
            f"({_reason(error)}): use auto or flat"
        ) from None


@contextmanager
def _threads_of_torch() -> Iterator[None]:
    """Let FAISS, which has a thread pool of its own, use as many threads as torch."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(torch.get_num_threads())
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _move(index: Any, halves: bool, gpus: list[int]) -> Any:
    """Copy an index to GPUs: in shards, and in half precision where memory asks for it."""
    options = faiss.GpuMultipleClonerOptions()
    options.shard, options.useFloat16 = True, halves
    return faiss.index_cpu_to_gpus_list(index, options, gpus=gpus)


def _clustering_index(ivf: Any, gpus: list[int]) -> Any:
    """Return what compares vectors with the centres while these are learnt."""
    return faiss.index_cpu_to_gpus_list(faiss.IndexFlatIP(ivf.d), gpus=gpus)


def _reason(error: Exception) -> str:
    """Return FAISS's message without the place in its source."""
    return re.sub(r"^Error in .*? at \S+:\d+: (Error: )?", "", " ".join(str(error).split()))


def _single(vectors: Embeddings) -> Floats:
    single = np.asarray(vectors, np.float32)
    if not np.isfinite(single).all():
        raise ModelError("the bi-encoder gave vectors that are not finite: try compute.precision=fp32")
    return single


def _has_gpu(device: torch.device) -> bool:
    return device.type == "cuda" and _count_gpus() > 0


def _count_gpus() -> int:
    return int(getattr(faiss, "get_num_gpus", int)())


def _gpus(device: torch.device) -> list[int]:
    """Return the GPU that was named, or all."""
    return list(range(_count_gpus())) if device.index is None else [device.index]
