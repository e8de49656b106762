"""Candidate pairs: every pair of rows above the cosine floor."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..disk.work import Work, shard_name
from ..progress import SILENT, Progress
from ..schema import CandidatePairs, Floats, Rows, find_keys, pair_keys
from ..settings import RetrievalSettings
from .encoder import Embeddings
from .index import FLAT, Index, choose_kind, flat_index, train_index
from .nearest import Found, Nearest

log = logging.getLogger(__name__)

CHUNK = 4096  # texts that are added before they are asked about
_MEETINGS = 1 << 26  # of a question with the index: all may be above the floor
_PAIRS = 8192  # whose cosines are computed at once
_SAMPLE = 1000  # texts whose pairs recall is measured with
_VISITED = 5000  # of these pairs, which say how many lists have to be visited
_LOW_RECALL = 0.95


@dataclass(frozen=True, slots=True)
class SearchFacts:
    """What the manifest records of a search: its index, and the texts with more than `max_k` neighbours."""

    description: dict[str, Any]
    capped: int


@dataclass(frozen=True)
class Search:
    """All pairs of a row of `rows` and one of `others`, which may have rows in common.

    The rows are added to the index, a chunk at a time, and those of the others among them are asked about
    once they are in there, so that each pair meets once. The rest of the others are only asked about.
    """

    embeddings: Embeddings
    index: Index
    floor: float
    rows: Rows
    others: Rows
    progress: Progress = SILENT

    def into(self, nearest: Nearest, work: Work | None = None) -> None:
        """Add all pairs to `nearest`; those of each of several chunks are a shard of `work`."""
        n = len(self.embeddings)
        quiet = np.setdiff1d(self.rows, self.others)
        order = np.concatenate(
            [quiet, np.intersect1d(self.rows, self.others), np.setdiff1d(self.others, self.rows)]
        )
        chunks = list(self._chunks(len(quiet), len(order)))
        with self.progress.bar("retrieve", len(order), "texts") as bar:
            for start, stop in chunks:
                if start < len(self.rows):
                    self.index.add(self.embeddings[order[start:stop]])
                if start < len(quiet):
                    bar.update(stop - start)
                    continue

                def make(start: int = start, stop: int = stop) -> Found:
                    # One more than wanted, so that it is still seen which rows have more.
                    found = Nearest(n, nearest.most + 1, self.rows)
                    self._ask(order, start, stop, found)
                    return found.take()

                if work is None or len(chunks) == 1:
                    self._ask(order, start, stop, nearest)
                else:
                    nearest.add_found(work.array(shard_name("candidates", order[start:stop]), make))
                bar.update(stop - start)

    def _chunks(self, quiet: int, n: int) -> Iterator[tuple[int, int]]:
        """Return first and last positions; all of a chunk are added, or none, and all are asked, or none."""
        added = len(self.rows)
        step = CHUNK if self.index.grows else max(added, 1)
        starts = [*range(0, quiet, CHUNK), *range(quiet, added, step), *range(added, n, CHUNK)]
        yield from pairwise([*starts, n])

    def _ask(self, order: Rows, start: int, stop: int, found: Nearest) -> None:
        step = max(16, _MEETINGS // len(self.index))
        for first in range(start, stop, step):
            asked = order[first : min(first + step, stop)]
            query, position, most = self.index.near(self.embeddings[asked], self.floor)
            before = position < first + query
            one, two = asked[query[before]], order[position[before]]
            left, right = np.minimum(one, two), np.maximum(one, two)
            wanted = found.wants(left, right, most[before])
            left, right = left[wanted], right[wanted]
            cosine = pair_cosines(self.embeddings, left, right)
            near = cosine >= self.floor
            found.add(left[near], right[near], cosine[near])


def find_candidates(  # noqa: PLR0913 - three are left out by most callers
    embeddings: Embeddings,
    settings: RetrievalSettings,
    device: torch.device,
    progress: Progress,
    *,
    rows: Rows | None = None,
    others: Rows | None = None,
    work: Work | None = None,
) -> tuple[CandidatePairs, SearchFacts]:
    """Return each pair with a cosine of at least `floor` and one side among the `max_k` nearest of the other.

    With `rows` one side is among these, and only their nearest neighbours count; with `others` the other side
    is among those, which may have rows in common. The index proposes pairs; what is a candidate is decided by
    exact cosines. `work` stores the trained index and the pairs of each finished chunk.
    """
    n = len(embeddings)
    rows, others = (np.arange(n) if side is None else side for side in (rows, others))
    if not len(rows):
        return CandidatePairs(rows, rows, np.empty(0, np.float32)), SearchFacts({"kind": FLAT}, 0)
    kind = choose_kind(settings, len(others), len(rows), device)
    if kind == FLAT:
        index, sample = flat_index(embeddings.shape[1], device), None
    else:
        sample = _sample_pairs(embeddings, settings, rows, others, device)
        index = _trained_index(kind, embeddings, settings, device, sample, work)
    nearest = Nearest(n, settings.max_k, rows)
    Search(embeddings, index, settings.floor, rows, others, progress).into(nearest, work)
    pairs = _as_pairs(nearest.take())
    if nearest.capped:
        log.warning(
            "%d texts have more than %d neighbours above the floor; raise retrieval.max_k",
            nearest.capped,
            nearest.most,
        )
    recall = {} if sample is None else {"recall": _measure_recall(pairs, sample, index, n)}
    return pairs, SearchFacts({**index.describe(), **recall}, nearest.capped)


def pair_cosines(embeddings: Embeddings, left: Rows, right: Rows) -> Floats:
    """Return the cosine of each pair of rows, `(n_pairs,) float32`, the same whatever the batch or machine.

    Single precision holds the product of two numbers in half precision, and double precision a sum of such
    products, in any order.
    """
    out = np.empty(len(left), np.float32)
    for start in range(0, len(left), _PAIRS):
        part = slice(start, start + _PAIRS)
        a, b = (torch.from_numpy(np.asarray(embeddings[side[part]])).float() for side in (left, right))
        out[part] = a.mul_(b).sum(1, dtype=torch.float64).float().numpy()
    return np.clip(out, -1.0, 1.0)


def _sample_pairs(
    embeddings: Embeddings, settings: RetrievalSettings, rows: Rows, others: Rows, device: torch.device
) -> CandidatePairs:
    """Return the pairs of a sample of `rows` with the others, found by exact search."""
    sample = np.sort(np.random.default_rng(1).choice(rows, min(_SAMPLE, len(rows)), replace=False))
    nearest = Nearest(len(embeddings), settings.max_k, sample)
    index = flat_index(embeddings.shape[1], device)
    Search(embeddings, index, settings.floor, sample, others).into(nearest)
    return _as_pairs(nearest.take())


def _trained_index(
    kind: str,
    embeddings: Embeddings,
    settings: RetrievalSettings,
    device: torch.device,
    sample: CandidatePairs,
    work: Work | None,
) -> Index:
    """Return an empty index; that of `work` if it has one, so that a continued search has the same lists."""

    def train() -> npt.NDArray[np.uint8]:
        index = train_index(kind, embeddings, settings, device)
        if index.has_lists and settings.nprobe is None and len(sample):
            some = sample.where(np.linspace(0, len(sample) - 1, min(len(sample), _VISITED)).astype(np.int64))
            ends = [
                embeddings[np.concatenate(side)]
                for side in ((some.left, some.right), (some.right, some.left))
            ]
            index.choose_nprobe(index.count_visits(*ends), settings.target_recall)
        return index.to_bytes()

    return Index.from_bytes(train() if work is None else work.array("index", train), kind, device)


def _as_pairs(found: Found) -> CandidatePairs:
    left, right = (found[side].astype(np.int64) for side in ("left", "right"))
    return CandidatePairs(left, right, found["cosine"].copy())


def _measure_recall(pairs: CandidatePairs, sample: CandidatePairs, index: Index, n: int) -> float:
    """Return the share of the sample's pairs that are among `pairs`."""
    keys = (pair_keys(side.left, side.right, n) for side in (pairs, sample))
    recall = float((find_keys(*keys) >= 0).mean()) if len(sample) else 1.0
    if recall < _LOW_RECALL:
        advice = f"raise retrieval.nprobe (now {index.nprobe})" if index.has_lists else "use another index"
        log.warning("recall is %.3f against exact search; %s", recall, advice)
    return round(recall, 4)
