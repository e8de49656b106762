"""Features from the neighbours of a pair, against a slow reading of their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dupmine.rerank.neighbours import RANKS, NeighbourFeatures
from dupmine.schema import ScoredPairs

N = 12


@pytest.fixture(scope="module")
def graph() -> ScoredPairs:
    """Half of the pairs of twelve texts, with seeded scores."""
    generator = np.random.default_rng(5)
    left, right = np.triu_indices(N, 1)
    kept = generator.random(len(left)) < 0.5
    m = int(kept.sum())
    cosine = generator.uniform(0.6, 1.0, m).astype(np.float32)
    logit = generator.normal(0, 3, m).astype(np.float32)
    return ScoredPairs.from_logits(left[kept], right[kept], cosine, logit)


class Slow:
    """The same graph as dictionaries."""

    def __init__(self, pairs: ScoredPairs) -> None:
        self.cosine: dict[tuple[int, int], float] = {}
        self.logit: dict[tuple[int, int], float] = {}
        for a, b, c, z in zip(
            *(x.tolist() for x in (pairs.left, pairs.right, pairs.cosine, pairs.logit)), strict=True
        ):
            self.cosine[a, b] = self.cosine[b, a] = c
            self.logit[a, b] = self.logit[b, a] = z

    def near(self, row: int) -> list[int]:
        return sorted((b for a, b in self.cosine if a == row), key=lambda b: -self.cosine[row, b])

    def probability(self, a: int, b: int) -> float:
        return 1 / (1 + math.exp(-self.logit[a, b])) if (a, b) in self.logit else 0.0

    def side(self, one: int, other: int) -> dict[str, float]:
        near, others = self.near(one), [k for k in self.near(one) if k != other]
        products = [self.probability(one, k) * self.probability(k, other) for k in others]
        objections = [self.probability(one, k) * (1 - self.probability(k, other)) for k in others]
        best = max((self.logit[one, k] for k in others), default=math.nan)
        features = {
            "neighbours": math.log1p(len(near)),
            "rank": sum(self.cosine[one, k] > self.cosine[one, other] for k in others),
            "shared": sum((k, other) in self.cosine for k in others) / len(near),
            "best_support": max(
                (min(self.probability(one, k), self.probability(k, other)) for k in others), default=0
            ),
            "support": sum(products),
            "best_objection": max(objections, default=0),
            "objections": sum(objections),
            "accepted": sum(self.probability(one, k) for k in others),
            "best_other_logit": best,
            "best_other_cosine": max((self.cosine[one, k] for k in others), default=math.nan),
            "lead": self.logit[one, other] - best,
        }
        for depth in RANKS:
            if len(near) >= depth:
                own = max(1 - self.cosine[one, other], 0.02)
                features[f"distance_to_{depth}"] = own / max(1 - self.cosine[one, near[depth - 1]], 0.02)
            else:
                features[f"distance_to_{depth}"] = math.nan
        return features


def test_every_feature_is_what_its_definition_says(graph: ScoredPairs) -> None:
    features, slow = NeighbourFeatures(N, graph).compute(graph), Slow(graph)
    for i, (a, b) in enumerate(zip(graph.left.tolist(), graph.right.tolist(), strict=True)):
        sides = slow.side(a, b), slow.side(b, a)
        for name in sides[0]:
            both = sorted(v for v in (sides[0][name], sides[1][name]) if not math.isnan(v)) or [math.nan]
            expected = both[0], both[-1]
            got = features[f"{name}_low"][i], features[f"{name}_high"][i]
            np.testing.assert_allclose(got, expected, rtol=2e-3, atol=1e-5, err_msg=f"{name} of {a}, {b}")
    assert {name.rpartition("_")[0] for name in features} == set(sides[0])


def test_the_order_of_the_texts_changes_nothing(graph: ScoredPairs) -> None:
    """Texts numbered in reverse give every pair the same features."""
    left, right = N - 1 - graph.right, N - 1 - graph.left
    order = np.lexsort((right, left))
    turned = ScoredPairs.from_logits(left[order], right[order], graph.cosine[order], graph.logit[order])
    straight = NeighbourFeatures(N, graph).compute(graph)
    back = NeighbourFeatures(N, turned).compute(turned)
    for name, values in straight.items():
        np.testing.assert_allclose(back[name], values[order], rtol=1e-6, err_msg=name)


def test_texts_without_other_neighbours_say_so(graph: ScoredPairs) -> None:
    alone = ScoredPairs.from_logits(
        np.array([0]), np.array([1]), np.array([0.9], np.float32), np.array([2.0], np.float32)
    )
    features = NeighbourFeatures(2, alone).compute(alone)
    assert features["distance_to_1_low"] == pytest.approx(1.0)
    assert features["support_high"] == features["accepted_high"] == features["shared_high"] == 0
    assert np.isnan(
        [features["best_other_logit_high"], features["lead_low"], features["distance_to_2_low"]]
    ).all()
