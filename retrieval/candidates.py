"""Candidate pairs: every pair of rows above the cosine floor."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..disk.work import Work
from ..progress import Progress
from ..schema import CandidatePairs, Rows
from ..settings import RetrievalSettings
from .encoder import Embeddings
from .lists import plan_lists
from .nearest import Nearest, open_bars
from .plan import Plan, plan_everything
from .rounded import pair_cosines as pair_cosines
from .selfjoin import Search

log = logging.getLogger(__name__)

_GPU_GAIN = 10


@dataclass(frozen=True, slots=True)
class SearchFacts:
    """What the manifest records of a search: its kind, and the texts with more than `max_k` neighbours."""

    description: dict[str, Any]
    capped: int


def find_candidates(
    embeddings: Embeddings,
    settings: RetrievalSettings,
    device: torch.device,
    progress: Progress,
    *,
    rows: Rows | None = None,
    work: Work | None = None,
) -> tuple[CandidatePairs, SearchFacts]:
    """Return each pair with a cosine of at least `floor` and one side among the `max_k` nearest of the other.

    With `rows` one side is among these, and only their nearest neighbours count. The search is exact up to
    the products of `exact_limit` texts with each other; above that it compares lists of similar texts. `work`
    stores the pairs of each finished part.
    """
    n = len(embeddings)
    asking = n if rows is None else len(rows)
    limit = settings.exact_limit * (_GPU_GAIN if device.type == "cuda" else 1)
    description: dict[str, Any] = {"kind": "exact"}
    if asking * n <= limit**2 or asking == 0:
        plan: Plan = plan_everything(n, rows, device)
    else:
        plan, description = plan_lists(embeddings, settings, rows, device, progress)
    nearest = Nearest(settings.max_k, open_bars(n, rows))
    Search(embeddings, plan, settings.floor, device).into(nearest, work, progress)
    found = nearest.take()
    if nearest.capped:
        log.warning(
            "%d texts have more than %d neighbours above the floor; raise retrieval.max_k",
            nearest.capped,
            nearest.most,
        )
    order = np.argsort(found["left"] * np.int64(n) + found["right"])
    left, right = (found[side][order].astype(np.int64) for side in ("left", "right"))
    return CandidatePairs(left, right, found["cosine"][order]), SearchFacts(description, nearest.capped)
