"""How precise a result is: intervals that cover, domains, suggestions, from labels of a stratified sample."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.optimize import brentq

from dupmine.report.audit import (
    Labelled,
    at_thresholds,
    audit,
    estimate_share,
    labels_needed,
    parts_of,
    suggest_threshold,
    wilson,
)
from dupmine.report.strata import LEAST, Frame, allocate, divide, draw

THRESHOLD = 0.5


def make_frame(n: int, seed: int = 0) -> Frame:
    """Return pairs like those of a run: most rejected, most accepted ones sure, some of odd parts."""
    generator = np.random.default_rng(seed)
    probability = np.append(generator.beta(4, 1, n // 2), generator.beta(0.5, 6, n - n // 2)).astype(
        np.float32
    )
    scored = generator.random(n) < 0.98
    accepted = scored & (probability >= THRESHOLD)
    removes = np.where(accepted, generator.random(n) < 0.4, generator.random(n) < 0.02).astype(np.int64)
    removes[generator.random(n) < 0.01] *= 3
    removes[~scored] = 1
    stratum, names = divide(accepted, removes, probability)
    rows = np.arange(n)
    return Frame(rows, rows + n, probability, scored, accepted, removes, 200, THRESHOLD, stratum, names)


def truth(frame: Frame, precision: float, seed: int) -> npt.NDArray[np.bool_]:
    """Return which pairs are duplicates; the probabilities are surer than they should be."""
    probability = frame.probability.astype(np.float64).clip(1e-6, 1 - 1e-6)
    log_odds = np.log(probability / (1 - probability)) / 2

    def excess(shift: float) -> float:
        return float((1 / (1 + np.exp(-(log_odds + shift))))[frame.accepted].mean()) - precision

    shift = brentq(excess, -10, 10)
    duplicate: npt.NDArray[np.bool_] = np.random.default_rng(seed).random(len(frame)) < 1 / (
        1 + np.exp(-(log_odds + shift))
    )
    return duplicate


@pytest.mark.parametrize("precision", [0.87, 0.98])
@pytest.mark.parametrize("n", [100, 200, 400])
def test_the_interval_covers_the_truth(n: int, precision: float) -> None:
    frame = make_frame(8000)
    same = truth(frame, precision, 1)
    true = {
        name: (same @ w + certain) / (w.sum() + certain) for name, (w, certain) in parts_of(frame).items()
    }
    assert true["accepted"] == pytest.approx(precision, abs=0.01)
    of_scored = same[frame.scored].sum()
    true["recall"] = same[frame.accepted].sum() / of_scored
    counts = allocate(frame, n)
    covered = dict.fromkeys(true, 0)
    for seed in range(1000):
        at, _ = draw(frame, counts, seed)
        found = audit(frame, Labelled(at, same[at]))
        for name in covered:
            share = getattr(found, name)
            covered[name] += share.low <= true[name] <= share.high
    assert min(covered.values()) >= 930, covered


def test_wilson_by_hand() -> None:
    low, high = wilson(0.9, 100)
    assert (round(low, 4), round(high, 4)) == (0.8256, 0.9448)  # Brown, Cai and DasGupta 2001, formula (4)
    assert wilson(0.9, np.inf) == (0.9, 0.9)
    assert wilson(0.5, 0) == (0.0, 1.0)


def test_all_labels_leave_no_doubt() -> None:
    frame = make_frame(300)
    same = truth(frame, 0.8, 2)
    share = estimate_share(frame, Labelled(np.arange(300), same), frame.accepted.astype(np.int64))
    assert share.value == share.low == share.high == pytest.approx(same[frame.accepted].mean())


def test_strata_are_weighted_by_their_size() -> None:
    frame = make_frame(4000)
    same = truth(frame, 0.8, 3)
    at = np.concatenate([np.flatnonzero(frame.stratum == h)[:20] for h in range(len(frame.names))])
    inside = frame.accepted.astype(np.int64)
    sizes = np.bincount(frame.stratum[frame.accepted], minlength=len(frame.names))
    by_hand = sum(
        size / sizes.sum() * same[at][frame.stratum[at] == h].mean() for h, size in enumerate(sizes) if size
    )
    assert estimate_share(frame, Labelled(at, same[at]), inside).value == pytest.approx(by_hand)


def test_a_removed_text_counts_as_often_as_its_documents() -> None:
    frame = make_frame(4000)
    everything = Labelled(np.arange(4000), truth(frame, 0.8, 3))
    found = audit(frame, everything).removed
    documents = frame.removes @ everything.duplicate + frame.certain
    assert found.value == pytest.approx(documents / (frame.removes.sum() + frame.certain))
    assert found.population == frame.removes.sum() + frame.certain


def test_unsure_pairs_give_bounds() -> None:
    frame = make_frame(4000)
    same = truth(frame, 0.8, 3)
    at, _ = draw(frame, allocate(frame, 200))
    found = audit(frame, Labelled(at[20:], same[at[20:]], unsure=at[:20]))
    low, high = found.unsure["accepted"]
    assert low < found.accepted.value < high
    assert (found.n_labels, found.n_unsure) == (len(at) - 20, 20)


@pytest.mark.parametrize("n", [100, 400, 2000])
def test_allocation(n: int) -> None:
    frame = make_frame(8000)
    counts = allocate(frame, n)
    assert (counts >= np.minimum(LEAST, frame.sizes)).all()
    assert (counts <= frame.sizes).all()
    assert counts.sum() == pytest.approx(max(n, LEAST * len(frame.names)), rel=0.1)


def test_a_larger_sample_contains_the_smaller() -> None:
    frame = make_frame(8000)
    small, large = (set(draw(frame, allocate(frame, n))[0].tolist()) for n in (100, 400))
    assert small < large


def test_inclusion_probabilities_add_up_to_the_population() -> None:
    frame = make_frame(8000)
    at, inclusion = draw(frame, allocate(frame, 200))
    assert (1 / inclusion).sum() == pytest.approx(len(frame))
    assert len(set(at.tolist())) == len(at)


def test_the_first_labels_come_from_all_strata() -> None:
    frame = make_frame(8000)
    counts = allocate(frame, 400)
    at, _ = draw(frame, counts)
    half = np.bincount(frame.stratum[at[: len(at) // 2]], minlength=len(counts))
    assert np.abs(half - counts / 2).max() <= 1.5


def test_at_thresholds_more_precision_for_less_recall() -> None:
    frame = make_frame(8000)
    same = truth(frame, 0.8, 3)
    at, _ = draw(frame, allocate(frame, 1000))
    points = at_thresholds(frame, Labelled(at, same[at]), [0.5, 0.7, 0.9])
    for point in points:
        accepted = frame.scored & (frame.probability >= point.threshold)
        assert point.precision.low <= same[accepted].mean() <= point.precision.high
        recall = same[accepted].sum() / same[frame.scored].sum()
        assert point.recall.low <= recall <= point.recall.high
    assert points[0].precision.value < points[2].precision.value
    assert points[0].recall.value > points[2].recall.value


def test_a_suggested_threshold_holds() -> None:
    frame = make_frame(8000)
    same = truth(frame, 0.8, 3)
    at, _ = draw(frame, allocate(frame, 2000))
    grid = [i / 20 for i in range(10, 20)]
    threshold, precision = suggest_threshold(frame, Labelled(at, same[at]), 0.82, grid)
    assert threshold is not None
    assert precision is not None
    accepted = frame.scored & (frame.probability >= threshold)
    assert same[accepted].mean() >= 0.82
    assert precision.n == pytest.approx(
        (frame.accepted[at] & (frame.probability[at] >= threshold)).sum() / 2, abs=9
    )
    assert suggest_threshold(frame, Labelled(at, same[at]), 0.999, grid) == (None, None)


def test_labels_needed_are_enough() -> None:
    frame = make_frame(8000)
    same = truth(frame, 0.87, 3)
    at, _ = draw(frame, allocate(frame, 100))
    more = labels_needed(frame, Labelled(at, same[at]), 0.03)["accepted"]
    assert more > 0
    at, _ = draw(frame, allocate(frame, 100 + more))
    assert audit(frame, Labelled(at, same[at])).accepted.half_width == pytest.approx(0.03, abs=0.01)
    assert labels_needed(frame, Labelled(at, same[at]), 0.5) == {"accepted": 0, "missed": 0, "removed": 0}
