"""Scored pairs from (left, right, probability), for the clustering tests."""

from dataclasses import replace

import numpy as np

from dupmine.schema import ScoredPairs

Triple = tuple[int, int, float]


def scored(triples: list[Triple]) -> ScoredPairs:
    left, right, probability = zip(*triples, strict=True) if triples else ((), (), ())
    p = np.array(probability, dtype=np.float32)
    clipped = np.clip(p.astype(np.float64), 1e-6, 1 - 1e-6)
    pairs = ScoredPairs.from_logits(
        np.array(left, dtype=np.int64),
        np.array(right, dtype=np.int64),
        np.full(len(p), 0.9, dtype=np.float32),
        np.log(clipped / (1 - clipped)).astype(np.float32),
    )
    return replace(pairs, probability=p)


def clique(rows: range, probability: float) -> list[Triple]:
    return [(a, b, probability) for a in rows for b in rows if a < b]
