"""What other thresholds would do, as `rethreshold` finds it: computed once, and kept beside the run."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor

from ..disk.folder import write_table
from ..errors import DupmineError
from ..messages import describe_error
from ..schema import Rows
from .source import Mined, cluster_members, fingerprint

log = logging.getLogger(__name__)

_GRID = (*(round(0.1 + i / 20, 2) for i in range(18)), 0.97, 0.99)
_NEAR = (-0.08, -0.04, -0.02, 0.02, 0.04, 0.08)  # around the result's own threshold
_COARSE = tuple(round(0.1 + i / 10, 1) for i in range(9))  # for a corpus in which a point takes long
_MANY_DOCUMENTS = 150_000
_FEW_PAIRS = 30_000  # are clustered faster than a process starts
_PROCESSES = 2
_FORMAT = "1"


@dataclass(frozen=True, slots=True)
class ThresholdPoint:
    """What the result would be with a threshold.

    `removed` are the positions of the documents that could go, ascending, and `representative` the document
    that stays for each.
    """

    threshold: float
    accepted_pairs: int
    clusters: int
    removed_documents: int
    largest_cluster: int
    removed: Rows
    representative: Rows


_SCHEMA = pa.schema(
    [
        pa.field("threshold", pa.float64()),
        pa.field("accepted_pairs", pa.int64()),
        pa.field("clusters", pa.int64()),
        pa.field("removed_documents", pa.int64()),
        pa.field("largest_cluster", pa.int64()),
        pa.field("removed", pa.list_(pa.int64())),
        pa.field("representative", pa.list_(pa.int64())),
    ]
)


def choose_thresholds(mined: Mined, targets: Iterable[float] = ()) -> list[float]:
    """Return the thresholds to look at: the result's own, those of target precisions, and a grid.

    25 or more, up to 150,000 documents; about a dozen above.
    """
    own = mined.settings.rerank.accepts_from
    if len(mined.row_of) > _MANY_DOCUMENTS:
        grid: Iterable[float] = _COARSE
    else:
        grid = (*_GRID, *(round(own + step, 3) for step in _NEAR))
    return sorted({value for value in (own, *targets, *grid) if 0 < value < 1})


def measure_thresholds(
    mined: Mined, thresholds: Sequence[float], *, cache: Path | None = None
) -> list[ThresholdPoint]:
    """Return a point for each threshold, from memory, from the file `cache`, or else computed."""
    run = fingerprint(mined)
    stored = {} if cache is None else _read(cache, run)
    known = _remembered(run)
    known.update(stored)
    missing = [threshold for threshold in thresholds if threshold not in known]
    for point in _compute(mined, missing):
        known[point.threshold] = point
    if cache is not None and not stored.keys() >= set(thresholds):
        _write(cache, run, known.values())
    return [known[threshold] for threshold in thresholds]


@lru_cache(maxsize=2)
def _remembered(run: str) -> dict[float, ThresholdPoint]:
    """Return the points of a result that were computed before, so that report and plots compute them once."""
    return {}


def measure_threshold(mined: Mined, threshold: float) -> ThresholdPoint:
    """Return what `rethreshold` finds."""
    again = mined.rethreshold(threshold)
    members = cluster_members(again)
    stays = members.representative
    gone = members.document != stays
    order = np.argsort(members.document[gone])
    counts = again.manifest["counts"]
    return ThresholdPoint(
        threshold=threshold,
        **{
            name: counts[name]
            for name in ("accepted_pairs", "clusters", "removed_documents", "largest_cluster")
        },
        removed=members.document[gone][order],
        representative=stays[gone][order],
    )


def _compute(mined: Mined, thresholds: Sequence[float]) -> list[ThresholdPoint]:
    """Compute points, those of many pairs in two processes, which do not run the main script again."""
    n = min(_PROCESSES, os.cpu_count() or 1, len(thresholds))
    if len(mined.scored_pairs) < _FEW_PAIRS or n < 2:
        return _measure(mined, thresholds)
    try:
        # Low thresholds take longest: the processes take turns.
        parts = Parallel(n, max_nbytes=None)(delayed(_measure)(mined, thresholds[i::n]) for i in range(n))
    except BrokenProcessPool as error:
        raise DupmineError(f"a process that clusters again has ended: {describe_error(error)}") from None
    finally:
        get_reusable_executor(reuse=True).shutdown()
    return [point for part in parts for point in part]


def _measure(mined: Mined, thresholds: Sequence[float]) -> list[ThresholdPoint]:
    return [measure_threshold(mined, threshold) for threshold in thresholds]


def _read(path: Path, run: str) -> dict[float, ThresholdPoint]:
    """Return the points of a file that belongs to a result; none where it is of another, or broken."""
    try:
        table = pq.read_table(path)
    except (OSError, ValueError):
        return {}
    if (table.schema.metadata or {}).get(b"dupmine") != _mark(run) or not table.schema.equals(_SCHEMA):
        return {}
    points = (ThresholdPoint(**_arrays(row)) for row in table.to_pylist())
    return {point.threshold: point for point in points}


def _arrays(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: np.array(value, np.int64) if isinstance(value, list) else value for name, value in row.items()
    }


def _write(path: Path, run: str, points: Iterable[ThresholdPoint]) -> None:
    rows = [asdict(point) for point in sorted(points, key=lambda point: point.threshold)]
    table = pa.Table.from_pylist(rows, schema=_SCHEMA)
    try:
        write_table(path, table.replace_schema_metadata({b"dupmine": _mark(run)}))
    except OSError as error:
        log.warning("%s cannot be written, so the next report computes its thresholds again: %s", path, error)


def _mark(run: str) -> bytes:
    return f"thresholds {_FORMAT} {run}".encode()
