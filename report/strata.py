"""The pairs that an audit can ask about, divided into strata, and how many of each are drawn.

A stratum holds pairs that play the same part in the result and have a similar probability. Within a stratum
the pairs stand in an order drawn once for the result and seed, and a sample takes the first ones: a larger
sample contains the smaller, and what was labelled counts for both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..schema import Doubles, Flags, Floats, Rows, ranges
from .source import Mined, cluster_members

LEAST = 8  # labels in a stratum that has as many pairs
SEED = 42
_REJECTED_SHARE = 0.25  # of the labels go to rejected pairs
_BANDS = {"kept": 3, "other": 2, "odd": 1, "rejected": 3}  # of probability, by part
_LEAST_SD = 0.05  # of a label: the model may be surer than it should


@dataclass(frozen=True, slots=True)
class Frame:
    """All pairs of distinct texts that an audit covers, each once, `(n_pairs,)` arrays.

    `left` and `right` are rows, `accepted` says that stage 2 accepted the pair, `scored` that it was a
    candidate, `removes` counts the documents that could go because of it: those of one row whose
    representative has the other. `stratum` indexes `names`; `certain` counts the documents that could go
    because their text equals the representative's, which needs no label.
    """

    left: Rows
    right: Rows
    probability: Floats
    scored: Flags
    accepted: Flags
    removes: Rows
    certain: int
    threshold: float
    stratum: Rows
    names: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.left)

    @property
    def sizes(self) -> Rows:
        """The number of pairs in each stratum."""
        return np.bincount(self.stratum, minlength=len(self.names))


def audit_frame(mined: Mined) -> Frame:
    """Return the pairs of a result that an audit covers: scored ones, and removed with representative."""
    pairs, threshold = mined.scored_pairs, mined.settings.rerank.accepts_from
    n = int(mined.row_of.max(initial=-1)) + 1
    keys, certain, known = _removals(mined, n)
    merged, place = np.unique(np.concatenate([pairs.left * n + pairs.right, keys]), return_inverse=True)
    scored, probability = np.zeros(len(merged), bool), np.full(len(merged), np.nan, np.float32)
    probability[place[len(pairs) :]] = known
    probability[place[: len(pairs)]] = pairs.probability
    scored[place[: len(pairs)]] = True
    removes = np.bincount(place[len(pairs) :], minlength=len(merged))
    accepted = scored & (probability >= threshold)
    probability = np.nan_to_num(probability, nan=0.5)  # of no pair after a run
    stratum, names = divide(accepted, removes, probability)
    return Frame(
        merged // n, merged % n, probability, scored, accepted, removes, certain, threshold, stratum, names
    )


def _removals(mined: Mined, n: int) -> tuple[Rows, int, Floats]:
    """Return the pair of each removed document and its representative, and how many have equal texts."""
    members = cluster_members(mined)
    head = mined.row_of[members.representative]
    differ = members.row != head
    own, other = members.row[differ], head[differ]
    certain = int((~differ).sum()) - len(members)
    keys = np.minimum(own, other) * n + np.maximum(own, other)
    return keys, certain, members.probability[differ]


_LABELS = {
    "kept": "accepted, and a text goes for it",
    "other": "accepted, other",
    "odd": "a text goes for it, not accepted",
    "rejected": "rejected",
}


def divide(accepted: Flags, removes: Rows, probability: Floats) -> tuple[Rows, tuple[str, ...]]:
    """Divide pairs into strata: the part they play, then bands of probability; return numbers and names.

    The bands have as many pairs each; those of rejected pairs are narrower towards the threshold, where
    the duplicates among them lie.
    """
    part = np.select([accepted & (removes > 0), accepted, removes > 0], ["kept", "other", "odd"], "rejected")
    stratum = np.full(len(part), -1)
    names: list[str] = []
    for name, label in _LABELS.items():
        inside = np.flatnonzero(part == name)
        bands = min(_BANDS[name], max(len(inside) // (4 * LEAST), 1))
        if not len(inside):
            continue
        mass = np.sqrt(probability[inside]) if name == "rejected" else np.ones(len(inside))
        order = np.lexsort((inside, probability[inside]))
        share = np.cumsum(mass[order]) / mass.sum()
        band = np.minimum((share * bands).astype(np.int64), bands - 1)
        for i in np.unique(band):
            of_band = inside[order[band == i]]
            low, high = probability[of_band[0]], probability[of_band[-1]]
            stratum[of_band] = len(names)
            names.append(f"{label}: {low:.3f} to {high:.3f}")
    return stratum, tuple(names)


def allocate(frame: Frame, n: int, sd: Doubles | None = None) -> Rows:
    """Return how many pairs of each stratum a sample of about n takes, `(n_strata,)`.

    Half are in proportion to the size of the strata, half to size times standard deviation (Neyman 1934;
    Cochran 1977, section 5.5), at least 8 in each, and never more than there are. `sd` is by default the one
    that the probabilities predict. A quarter of the labels go to rejected pairs.
    """
    sizes = frame.sizes
    if sd is None:
        mean = np.bincount(frame.stratum, frame.probability, len(sizes)) / np.maximum(sizes, 1)
        sd = np.sqrt(mean * (1 - mean))
    sd = np.maximum(sd, _LEAST_SD)
    rejected = np.array([name.startswith(_LABELS["rejected"]) for name in frame.names], bool)
    taken = np.minimum(LEAST, sizes)
    for group, share in ((rejected, _REJECTED_SHARE), (~rejected, 1 - _REJECTED_SHARE)):
        if group.any():
            budget = n * (share if group.any() and not group.all() else 1.0)
            ideal = budget * (_shares(sizes * group) + _shares(sizes * sd * group)) / 2
            taken = np.where(group, _at_least(ideal, taken, sizes, budget, group), taken)
    return taken


def _shares(weights: npt.NDArray[np.number]) -> Doubles:
    return np.asarray(weights / max(float(weights.sum()), 1e-12), np.float64)


def _at_least(ideal: Doubles, least: Rows, most: Rows, budget: float, group: Flags) -> Rows:
    """Scale `ideal` so that with the bounds of each stratum it adds up to the budget."""
    low, high = 0.0, 1e6
    for _ in range(100):
        scale = (low + high) / 2
        total = np.clip(ideal * scale, least, most)[group].sum()
        low, high = (scale, high) if total < budget else (low, scale)
    return np.clip(np.round(ideal * high), least, most).astype(np.int64)


def draw(frame: Frame, counts: Rows, seed: int = SEED) -> tuple[Rows, Doubles]:
    """Return the positions of a sample in the order to label them, and their inclusion probabilities.

    The strata take turns, so that whoever stops early leaves a smaller sample of the same kind.
    """
    generator = np.random.default_rng(seed)
    order = np.lexsort((generator.random(len(frame)), frame.stratum))
    sizes = frame.sizes
    starts = np.cumsum(sizes) - sizes
    at = order[ranges(starts, counts)]
    turn = (ranges(np.zeros_like(counts), counts) + 0.5) / np.repeat(counts, counts)
    turn += (generator.random(len(at)) - 0.5) / np.repeat(counts, counts)
    inclusion = np.repeat(counts / np.maximum(sizes, 1), counts)
    shuffled = np.argsort(turn, kind="stable")
    return at[shuffled], inclusion[shuffled]
