"""How far the bands may go: bounds that cost little, by labels and by the cross-encoder."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..rerank.bands import Bounds, beyond
from ..schema import Doubles, Flags, Floats, Rows

LOSS = 0.0015  # of F1, by both bounds together

_OTHERWISE = 0.01  # of what the cross-encoder accepts, by either bound
_GRID = 0.05  # log-odds between two bounds that are tried
_FURTHEST = 12.0  # log-odds


@dataclass(frozen=True, slots=True)
class HeldOutPairs:
    """Candidates that the trees have not seen, with the cross-encoder's verdicts, and labels of some.

    `accepted` are the verdicts, by which a pair is a duplicate from log-odds of `edge` on. The candidates at
    `labelled` have the labels `actual`; there are `duplicates` labelled ones in all, candidates or not.
    """

    accepted: Flags
    edge: float
    labelled: Rows
    actual: Flags
    duplicates: int

    def f1(self, accepted: Flags) -> float:
        """Return the F1 of verdicts on the labelled candidates; other duplicates count as refused."""
        return float(2 * (accepted & self.actual).sum() / max(accepted.sum() + self.duplicates, 1))

    def find_bounds(self, log_odds: Floats, *, loss: float = LOSS / 2) -> Bounds:
        """Return the furthest bounds that are safe, and what they do.

        Either bound may cost `loss` of F1, and turn a hundredth as many verdicts as there are accepted
        candidates.
        """
        below, above = self.bounds_to_try(_GRID)
        lower = self._last_safe(log_odds, below, loss, accept=False)
        upper = self._last_safe(log_odds, above, loss, accept=True)
        return self.describe(lower, upper, log_odds)

    def bounds_to_try(self, grid: float) -> tuple[Doubles, Doubles]:
        """Return the lower and the upper bounds to try, `grid` apart, the one nearest to the edge last."""
        steps = np.arange(round(_FURTHEST / grid), 0, -1) * np.float64(grid)
        return self.edge - steps, self.edge + steps

    def describe(self, lower: float | None, upper: float | None, log_odds: Floats) -> Bounds:
        """Return bounds with what they do on the candidates."""
        decided = beyond(log_odds, lower, upper)
        after = np.where(decided, log_odds >= np.float32(self.edge), self.accepted)
        f1 = {"before": self.f1(self.accepted[self.labelled]), "after": self.f1(after[self.labelled])}
        otherwise = float((after != self.accepted)[decided].mean()) if decided.any() else 0.0
        return Bounds(lower=lower, upper=upper, decided=float(decided.mean()), otherwise=otherwise, f1=f1)

    def _last_safe(self, log_odds: Floats, bounds: Doubles, loss: float, *, accept: bool) -> float | None:
        """Return the last of bounds, which come closer to the edge, up to which all are safe."""
        most, least_f1 = _OTHERWISE * self.accepted.sum(), self.f1(self.accepted[self.labelled]) - loss
        last = None
        for bound in bounds.tolist():
            decided = beyond(log_odds, None, bound) if accept else beyond(log_odds, bound, None)
            after = np.where(decided, accept, self.accepted)
            if (after != self.accepted).sum() > most or self.f1(after[self.labelled]) < least_f1:
                break
            last = bound if decided.any() else last
        return last
