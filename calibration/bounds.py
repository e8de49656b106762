"""How far a step of the cascade may go: bounds that cost little, by labels and by the cross-encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..rerank.bands import Bounds
from ..schema import Doubles, Flags, Floats, Rows

LOSS = 0.003  # of F1, in all
Edges = Sequence[float | None]  # the lower and the upper bound
_OTHERWISE = 0.01  # of what the cross-encoder accepts, on either side of a step
_GRID = 0.05  # log-odds between two bounds that are tried
_FURTHEST = 12.0  # log-odds


@dataclass(frozen=True, slots=True)
class Judge:
    """What tells good bounds from bad ones: the cross-encoder's verdicts on candidates, and people's on some.

    `accepted` are the verdicts, by which a pair is a duplicate from log-odds of `edge` on. The candidates at
    `labelled` have the labels `actual`; there are `duplicates` labelled ones in all, candidates or not.
    """

    accepted: Flags
    edge: float
    labelled: Rows
    actual: Flags
    duplicates: int

    def f1(self, verdict: Flags) -> float:
        """Return the F1 of verdicts on the labelled pairs, of which no candidate counts as refused."""
        return self.f1_of(verdict[self.labelled])

    def f1_of(self, taken: Flags) -> float:
        """Return the F1 of verdicts on the labelled pairs that are candidates, in their order."""
        return float(2 * (taken & self.actual).sum() / max(taken.sum() + self.duplicates, 1))

    def find_bounds(self, said: Floats, before: Flags) -> Bounds:
        """Return the widest bounds that are safe for a step, and what they do.

        `said` are its log-odds, NaN for a pair that is decided already, and `before` the verdicts without
        the step. Either bound may cost a quarter of the F1 that may be lost in all, and turn a hundredth as
        many verdicts as there are accepted candidates.
        """
        return self.describe(self.furthest(said, before), said, before)

    def furthest(self, said: Floats, before: Flags, *, loss: float = LOSS / 4) -> Edges:
        """Return the furthest lower and upper bound, each of which costs at most `loss` of F1."""
        most, f1 = _OTHERWISE * self.accepted.sum(), self.f1(before) - loss
        below, above = self.tried(_GRID)
        return (
            self._last_safe(said, before, below, most, f1, accept=False),
            self._last_safe(said, before, above, most, f1, accept=True),
        )

    def tried(self, grid: float) -> tuple[Doubles, Doubles]:
        """Return the lower and the upper bounds to try, `grid` apart, the one nearest to the edge last."""
        steps = np.arange(round(_FURTHEST / grid), 0, -1) * np.float64(grid)
        return self.edge - steps, self.edge + steps

    def describe(self, edges: Edges, said: Floats, before: Flags) -> Bounds:
        """Return bounds with what they do on the candidates."""
        lower, upper = edges
        found = Bounds(lower=lower, upper=upper, decided=0, otherwise=0, f1={})
        clear, after = found.clear(said), verdicts(found, said, before)
        return found.model_copy(
            update={
                "decided": float(clear.mean()),
                "otherwise": float((after != self.accepted)[clear].mean()) if clear.any() else 0.0,
                "f1": {"before": self.f1(before), "after": self.f1(after)},
            }
        )

    def _last_safe(
        self, said: Floats, before: Flags, bounds: Doubles, most: float, f1: float, *, accept: bool
    ) -> float | None:
        """Return the last of bounds, which come closer to the edge, up to which all are safe."""
        last = None
        for bound in bounds.tolist():
            clear = said >= np.float32(bound) if accept else said < np.float32(bound)
            after = np.where(clear, accept, before)
            if (after != self.accepted)[clear].sum() > most or self.f1(after) < f1:
                break
            last = bound if clear.any() else last
        return last


def verdicts(bounds: Bounds, said: Floats, before: Flags) -> Flags:
    """Return the verdicts after a step, given those before."""
    accepts = False if bounds.upper is None else said >= np.float32(bounds.upper)
    return np.where(bounds.clear(said), accepts, before)
