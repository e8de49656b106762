"""How precise a result is, from a stratified sample of labelled pairs, with 95 % intervals.

Shares are estimated by stratum (Cochran 1977, chapters 5 and 5A; for deduplication Binette et al. 2022). The
variance of a stratum comes from (k + 1) / (n + 2), so that eight equal labels are not taken for certainty;
the interval is Wilson's with the effective number of labels, those of a simple sample with that variance, and
Student's t with Satterthwaite's degrees of freedom (1946), since few labels know a variance badly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import norm, t

from ..schema import Flags, Rows
from .strata import Frame, allocate

Z = float(norm.ppf(0.975))


@dataclass(frozen=True, slots=True)
class Share:
    """A share of 1 with its 95 % interval, from n labels; `population` counts what it is a share of."""

    value: float
    low: float
    high: float
    n: int
    population: int
    variance: float = 0.0

    @property
    def half_width(self) -> float:
        """Half the length of the interval."""
        return (self.high - self.low) / 2


@dataclass(frozen=True, slots=True)
class Labelled:
    """What was labelled of a frame: positions, and whether each is a duplicate, `(n_labels,)`."""

    at: Rows
    duplicate: Flags
    unsure: Rows = field(default_factory=lambda: np.empty(0, np.int64))

    def settled(self, answer: bool) -> Labelled:
        """Return the labels with one answer for all that are unsure."""
        answers = np.append(self.duplicate, np.full(len(self.unsure), answer))
        return Labelled(np.append(self.at, self.unsure), answers)

    def take(self, mask: Flags) -> Labelled:
        """Return the labels that a mask selects."""
        return Labelled(self.at[mask], self.duplicate[mask])


def wilson(value: float, n: float, z: float = Z) -> tuple[float, float]:
    """Return Wilson's 95 % interval (1927) of a share from n labels; n may be a fraction, or infinite.

    `z` is the quantile of the distribution of the estimate.
    """
    if not np.isfinite(n):
        return value, value
    if n <= 0:
        return 0.0, 1.0
    centre = (value + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(value * (1 - value) / n + z**2 / (4 * n**2))
    return max(float(centre - half), 0.0), min(float(centre + half), 1.0)


def estimate_share(frame: Frame, labels: Labelled, weight: Rows, certain: int = 0) -> Share:
    """Estimate which share of a part of the frame are duplicates.

    `weight` is `(n_pairs,)`, what each pair counts: 0 outside the part. `certain` counts what is known to be
    duplicates. A stratum without a label counts as one half, with all its variance.
    """
    n_strata, stratum = len(frame.names), frame.stratum
    at = labels.at[weight[labels.at] > 0]
    hit = labels.duplicate[weight[labels.at] > 0]
    w = weight[at].astype(np.float64)
    totals = np.bincount(stratum, weight, minlength=n_strata)
    pairs = np.bincount(stratum[weight > 0], minlength=n_strata)
    n = np.bincount(stratum[at], minlength=n_strata)
    weights = np.bincount(stratum[at], w, minlength=n_strata)
    squares = np.bincount(stratum[at], w**2, minlength=n_strata)
    hits = np.bincount(stratum[at], w * hit, minlength=n_strata)
    share = np.where(n > 0, hits / np.maximum(weights, 1e-12), 0.5)
    effective = np.where(n > 0, weights**2 / np.maximum(squares, 1e-12), 0.0)
    smoothed = (share * effective + 1) / (effective + 2)
    population = float(totals.sum()) + certain
    if population == 0:
        return Share(1.0, 0.0, 1.0, 0, 0)
    rest = 1 - n / np.maximum(pairs, 1)  # finite population: what is labelled is known
    parts = (totals / population) ** 2 * rest * smoothed * (1 - smoothed) / np.maximum(effective, 1)
    value = (float(totals @ share) + certain) / population
    variance = float(parts.sum())
    guess = (float(totals @ smoothed) + certain) / population
    effective_n = guess * (1 - guess) / variance if variance > 0 else np.inf
    freedom = variance**2 / max(float((parts**2 / np.maximum(n - 1, 1)).sum()), 1e-300)
    low, high = wilson(value, effective_n, float(t.ppf(0.975, max(freedom, 1))))
    return Share(value, min(low, value), max(high, value), len(at), int(population), variance)


@dataclass(frozen=True, slots=True)
class Audit:
    """What the labels say of a result.

    `accepted` is the precision of accepted pairs, `removed` that of documents that could go, each against its
    representative, `missed` the share of duplicates among scored but rejected pairs. `unsure` holds for each
    the value if all unsure pairs were different and if all were duplicates.
    """

    accepted: Share
    removed: Share
    missed: Share
    n_labels: int
    n_unsure: int
    unsure: dict[str, tuple[float, float]]

    @property
    def recall(self) -> Share:
        """The share of the duplicates among scored pairs that are accepted."""
        return ratio(self.accepted, self.missed)


def parts_of(frame: Frame, threshold: float | None = None) -> dict[str, tuple[Rows, int]]:
    """Return what each pair counts for each estimate, and what is certain.

    `threshold` is another one than the result's: then of pairs only.
    """
    one = frame.scored.astype(np.int64)
    accepted = frame.accepted if threshold is None else frame.scored & (frame.probability >= threshold)
    parts = {"accepted": (one * accepted, 0), "missed": (one * ~accepted, 0)}
    return parts if threshold is not None else parts | {"removed": (frame.removes, frame.certain)}


def audit(frame: Frame, labels: Labelled) -> Audit:
    """Estimate precision and missed duplicates from labels of a sample of the frame."""
    parts = parts_of(frame)
    shares = {name: estimate_share(frame, labels, *part) for name, part in parts.items()}
    bounds = {
        name: tuple(estimate_share(frame, labels.settled(answer), *part).value for answer in (False, True))
        for name, part in parts.items()
    }
    return Audit(
        **shares,
        n_labels=len(labels.at),
        n_unsure=len(labels.unsure),
        unsure={name: (low, high) for name, (low, high) in bounds.items()},
    )


def ratio(accepted: Share, missed: Share) -> Share:
    """Return which share of the duplicates is accepted.

    The interval follows from the two intervals (MOVER; Donner and Zou 2012, for a ratio).
    """
    a, a_low, a_high = (
        value * accepted.population for value in (accepted.value, accepted.low, accepted.high)
    )
    b, b_low, b_high = (value * missed.population for value in (missed.value, missed.low, missed.high))
    n, population = accepted.n + missed.n, round(a + b)
    if a_low <= 0:
        return Share(a / max(a + b, 1e-12), 0.0, 1.0, n, population)
    least = a * b - np.sqrt(max((a * b) ** 2 - b_low * a_high * (2 * b - b_low) * (2 * a - a_high), 0.0))
    most = a * b + np.sqrt(max((a * b) ** 2 - b_high * a_low * (2 * b - b_high) * (2 * a - a_low), 0.0))
    low, high = (
        1 / (1 + odds) for odds in (most / (a_low * (2 * a - a_low)), least / (a_high * (2 * a - a_high)))
    )
    value = a / (a + b)
    return Share(value, min(float(low), value), min(max(float(high), value), 1.0), n, population)


@dataclass(frozen=True, slots=True)
class Point:
    """Precision and recall of the pairs accepted from a threshold on."""

    threshold: float
    precision: Share
    recall: Share


def at_thresholds(frame: Frame, labels: Labelled, thresholds: Sequence[float]) -> list[Point]:
    """Estimate precision and recall of scored pairs at other thresholds."""
    points = []
    for threshold in thresholds:
        parts = parts_of(frame, threshold)
        accepted, missed = (estimate_share(frame, labels, *parts[name]) for name in ("accepted", "missed"))
        points.append(Point(threshold, accepted, ratio(accepted, missed)))
    return points


def suggest_threshold(
    frame: Frame, labels: Labelled, target: float, thresholds: list[float], *, seed: int = 42
) -> tuple[float | None, Share | None]:
    """Return the lowest threshold whose precision is at least `target` by its lower bound, and its precision.

    Chosen on half of the labels of each stratum, measured on the others: both on the same would flatter it.
    """
    generator = np.random.default_rng(seed)
    order = np.lexsort((generator.random(len(labels.at)), frame.stratum[labels.at]))
    first = np.zeros(len(labels.at), bool)
    first[order[::2]] = True
    points = at_thresholds(frame, labels.take(first), sorted(thresholds))
    chosen = next((point.threshold for point in points if point.precision.low >= target), None)
    if chosen is None:
        return None, None
    return chosen, at_thresholds(frame, labels.take(~first), [chosen])[0].precision


def labels_needed(
    frame: Frame, labels: Labelled, half_width: float, *, most: int = 100_000
) -> dict[str, int]:
    """Return how many more labels each interval needs to be as narrow as plus or minus `half_width`.

    They go to the strata as `allocate` says with the shares seen so far; `most` where even that is too few.
    """
    stratum = frame.stratum[labels.at]
    n = np.bincount(stratum, minlength=len(frame.names))
    smoothed = (np.bincount(stratum, labels.duplicate, minlength=len(n)) + 1) / (n + 2)
    needed = {}
    for name, (weight, certain) in parts_of(frame).items():
        totals = np.bincount(frame.stratum, weight, minlength=len(n)).astype(np.float64)
        share = totals / max(float(totals.sum()) + certain, 1.0)
        low, high = len(labels.at), most
        while low < high:
            middle = (low + high) // 2
            taken = np.maximum(allocate(frame, middle, np.sqrt(smoothed * (1 - smoothed))), n)
            rest = 1 - taken / np.maximum(frame.sizes, 1)
            variance = share**2 * rest * smoothed * (1 - smoothed) / np.maximum(taken, 1)
            is_enough = Z * np.sqrt(variance.sum()) <= half_width
            low, high = (low, middle) if is_enough else (middle + 1, high)
        needed[name] = low - len(labels.at)
    return needed
