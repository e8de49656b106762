"""Which texts are compared in a search for all pairs of a large corpus: those near the same centre."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, starmap
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csc_array, csr_array

from ..progress import SILENT, Progress
from ..schema import Rows
from ..settings import RetrievalSettings
from .encoder import Embeddings
from .nearest import Nearest, open_bars
from .plan import BLOCK_CPU, BLOCK_GPU, Block, Mask, Positions, grouped, plan_everything
from .selfjoin import Search

log = logging.getLogger(__name__)

_BLOCK = 4096
_SAMPLE = 1000  # texts whose pairs the number of probes is chosen by
_PAIRS = 5000
_LEARNT = 32  # texts per list that the centres are learnt from
_ROUNDS = 8
_LOW_RECALL = 0.95
_ALL = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Lists:
    """Positions sorted by their list, and the lists each of them visits: a `Plan`.

    `home` is `(n,) int32`, `probes` `(n, n_probes) int32`, the own list first, -1 throughout where a position
    does not ask.
    """

    order: Rows
    home: npt.NDArray[np.int32]
    probes: npt.NDArray[np.int32]
    height: int

    @property
    def key(self) -> bytes:
        """What the plan is made of: other centres, another plan."""
        return b"".join(hashlib.sha256(part.data).digest() for part in (self.order, self.probes))

    def shards(self) -> Iterator[list[Block]]:
        """Return the blocks: each list and those that visit it."""
        return grouped(self._blocks())

    def once(self, positions: Positions, others: Positions) -> Mask:
        """Of two that visit each other's list, let the lower visit."""
        mutual = (self.probes[others] == self.home[positions][:, None]).any(axis=1)
        return np.asarray((positions < others) | (~mutual & (positions != others)))

    def _blocks(self) -> Iterator[Block]:
        visits = self._visits()
        starts = np.searchsorted(self.home, np.arange(visits.shape[1] + 1)).tolist()
        for of, others in enumerate(starmap(range, pairwise(starts))):
            visitors = visits.indices[visits.indptr[of] : visits.indptr[of + 1]]
            for start in range(0, len(visitors) if others else 0, self.height):
                yield Block(visitors[start : start + self.height], others)

    def _visits(self) -> csc_array:
        """Return which positions visit which lists, `(n, n_lists)`: by list, in ascending order."""
        asks = self.probes[:, 0] >= 0
        lists = self.probes if asks.all() else self.probes[asks]
        index = np.int32 if lists.size < 1 << 31 else np.int64  # scipy makes all indices of one type
        starts = np.zeros(len(asks) + 1, index)
        np.cumsum(asks * self.probes.shape[1], out=starts[1:])
        shape = len(asks), int(lists.max(initial=-1)) + 1
        return csr_array((np.ones(lists.size, bool), lists.ravel(), starts), shape).tocsc()


@dataclass(frozen=True, slots=True)
class _Centres:
    """The centres of the lists, `(n_lists, dim)` unit rows, and the vectors they are compared with."""

    points: torch.Tensor
    embeddings: Embeddings

    def nearest(self, rows: Rows, count: int, progress: Progress = SILENT) -> npt.NDArray[np.int32]:
        """Return the lists nearest to each row, `(n_rows, count) int32`, best first."""
        out = np.empty((len(rows), count), np.int32)
        with progress.bar("lists", len(rows), "texts") as bar:
            for start in range(0, len(rows), _BLOCK):
                near = self._similarities(rows[start : start + _BLOCK]).topk(count, dim=1).indices
                out[start : start + len(near)] = near.cpu().numpy()
                bar.update(len(near))
        return out

    def ranks(self, rows: Rows, lists: npt.NDArray[np.int32]) -> Rows:
        """Count the lists that are nearer to each row than the one beside it in `lists`."""
        out = np.empty(len(rows), np.int64)
        for start in range(0, len(rows), _BLOCK):
            part = slice(start, start + _BLOCK)
            near = self._similarities(rows[part])
            own = near.gather(1, torch.from_numpy(lists[part].astype(np.int64)).to(near.device)[:, None])
            out[part] = (near > own).sum(1).cpu().numpy()
        return out

    def _similarities(self, rows: Rows) -> torch.Tensor:
        vectors = torch.from_numpy(np.asarray(self.embeddings[rows], np.float32))
        return vectors.to(self.points.device) @ self.points.T


def plan_lists(
    embeddings: Embeddings,
    settings: RetrievalSettings,
    rows: Rows | None,
    device: torch.device,
    progress: Progress = SILENT,
) -> tuple[Lists, dict[str, Any]]:
    """Let each of `rows`, by default all, meet the texts of the lists whose centres are nearest to it.

    They visit as many lists as reach `target_recall` on the pairs of a sample; the recall measured there
    stands in the description.
    """
    n = len(embeddings)
    asking = np.arange(n) if rows is None else rows
    centres = _learn_centres(embeddings, settings, device)
    visits = _visits(centres, asking, _sample_pairs(embeddings, settings, asking, device))
    probes = min(settings.probes or _enough(visits, settings.target_recall), len(centres.points))
    recall = float((visits <= probes).mean()) if len(visits) else 1.0
    if recall < _LOW_RECALL:
        log.warning("recall is %.3f against exact search; raise retrieval.probes (now %d)", recall, probes)
    near = centres.nearest(np.arange(n), probes, progress)
    home = near[:, 0].copy()
    near[np.isin(np.arange(n), asking, invert=True)] = -1
    order = np.argsort(home, kind="stable")
    height, _ = BLOCK_GPU if device.type == "cuda" else BLOCK_CPU
    facts = {"kind": "lists", "lists": len(centres.points), "probes": probes, "recall": round(recall, 4)}
    return Lists(order, home[order], near[order], height), facts


def _learn_centres(embeddings: Embeddings, settings: RetrievalSettings, device: torch.device) -> _Centres:
    n, dim = embeddings.shape
    lists = min(settings.lists or round(2 * n**0.5), n)
    sample = np.sort(np.random.default_rng(0).choice(n, min(_LEARNT * lists, n), replace=False))
    means = faiss.Kmeans(dim, lists, niter=_ROUNDS, seed=1, spherical=True, min_points_per_centroid=1)
    means.train(np.asarray(embeddings[sample], np.float32))
    points = torch.from_numpy(means.centroids)
    return _Centres(points.to(device) if device.type == "cuda" else points, embeddings)


def _sample_pairs(
    embeddings: Embeddings, settings: RetrievalSettings, asking: Rows, device: torch.device
) -> tuple[Rows, Rows]:
    """Return pairs above the floor of a sample of the texts, found by exact search."""
    rng = np.random.default_rng(1)
    sample = np.sort(rng.choice(asking, min(_SAMPLE, len(asking)), replace=False))
    nearest = Nearest(settings.max_k, open_bars(len(embeddings), sample))
    plan = plan_everything(len(embeddings), sample, device)
    Search(embeddings, plan, settings.floor, device).into(nearest, None, SILENT)
    pairs = np.sort(nearest.take(), order=["left", "right"])
    pairs = pairs[np.sort(rng.choice(len(pairs), min(_PAIRS, len(pairs)), replace=False))]
    return pairs["left"].astype(np.int64), pairs["right"].astype(np.int64)


def _visits(centres: _Centres, asking: Rows, pairs: tuple[Rows, Rows]) -> Rows:
    """Return how many lists the texts of each pair must visit until one of them meets the other."""
    left, right = (
        np.where(
            np.isin(side, asking), centres.ranks(side, centres.nearest(other, 1)[:, 0]), len(centres.points)
        )
        for side, other in (pairs, pairs[::-1])
    )
    return np.minimum(left, right) + 1


def _enough(visits: Rows, target: float) -> int:
    """Return the least number of visits by which a share of `target` has met."""
    if target == 1.0:
        return _ALL  # that the sample's pairs meet does not prove it of all
    return int(np.quantile(visits, target, method="inverted_cdf")) if len(visits) else 1
