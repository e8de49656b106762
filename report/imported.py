"""Labels from elsewhere: taken over into a journal, and what they say of each threshold."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..corpus.gold import PAIRS, read_gold
from ..errors import InputError
from ..schema import Flags
from .audit import Point, Share, wilson
from .journal import Journal
from .labels import DIFFERENT, DUPLICATE
from .source import Mined, fingerprint, positions, text_hash, texts

IMPORT = "import"


def import_labels(mined: Mined, path: Path, journal: Journal, reviewer: str) -> tuple[int, int]:
    """Write labelled pairs of documents (`qid1`, `qid2`, `is_duplicate`) to a journal.

    Returned are the number of labels, and of those left out because a document is not in the result.

    Raises:
        InputError: the file cannot be read, holds something else, or nothing of the result.
    """
    table = read_gold(path)
    if not set(PAIRS) <= set(table.columns):
        raise InputError(f"{path}: expected labelled pairs with the columns {', '.join(PAIRS)}")
    ends = np.stack([positions(mined, pa.chunked_array([pa.array(table[name])])) for name in PAIRS[:2]])
    known: Flags = np.asarray((ends >= 0).all(axis=0))
    if not known.any():
        raise InputError(f"{path}: no pair of documents of the result; do the ids match?")
    shared = {
        "reviewer": reviewer,
        "decided_at": datetime.now(UTC).isoformat(),
        "session": secrets.token_hex(6),
        "seconds": 0.0,
        "note": "",
        "revealed_score": False,
        "source": IMPORT,
        "threshold_then": mined.settings.rerank.accepts_from,
        "run": fingerprint(mined),
    }
    hashes = [[text_hash(text) for text in texts(mined, side)] for side in ends[:, known]]
    table = table[known]
    labels = np.where(table[PAIRS[2]], DUPLICATE, DIFFERENT).tolist()
    ids = (table[name].tolist() for name in PAIRS[:2])
    names = ("left_id", "right_id", "left_hash", "right_hash", "label")
    rows = [dict(zip(names, row, strict=True)) | shared for row in zip(*ids, *hashes, labels, strict=True)]
    journal.add(rows)
    return len(rows), int((~known).sum())


def measure_imported(mined: Mined, table: pa.Table, thresholds: Sequence[float]) -> list[Point]:
    """Return precision and recall of the pairs accepted from each threshold on, on imported labels.

    Shares of these pairs, with Wilson's intervals; a pair that was never proposed is not accepted, one of
    equal texts always is. Empty where no label was imported.
    """
    table = table.filter(pc.equal(table["source"], IMPORT))
    ends = np.stack([positions(mined, table[name]) for name in ("left_id", "right_id")])
    known = (ends >= 0).all(axis=0)
    if not known.any():
        return []
    same = (np.array(table["label"].to_pylist()) == DUPLICATE)[known]
    rows, pairs = mined.row_of[ends[:, known]], mined.scored_pairs
    scored = np.append(pairs.probability, 0.0)[pairs.positions(*rows)]
    probability = np.where(rows[0] == rows[1], 1.0, scored)
    accepted = {threshold: probability >= threshold for threshold in thresholds}
    return [
        Point(threshold, _share(same[above]), _share(above[same])) for threshold, above in accepted.items()
    ]


def _share(hits: Flags) -> Share:
    n = len(hits)
    value = float(hits.mean()) if n else 0.0
    low, high = wilson(value, n)
    return Share(value, low, high, n, n)
