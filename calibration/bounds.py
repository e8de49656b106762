"""How far the bands may go: the furthest bounds that cost little, with and without a decision afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedGroupKFold

from ..evaluation.thresholds import count_accepted
from ..rerank.bands import Bounds, beyond
from ..schema import Doubles, Flags, Floats, Rows
from .fit_decision import fit_trees
from .labelled_run import LabelledRun

LOSS = 0.0015  # of F1, by both bounds together

_OTHERWISE = 0.01  # of what the cross-encoder accepts, by either bound
_OTHERWISE_DECIDED = 0.05  # of what the decision accepts, by either bound
_GRID = 0.05  # log-odds between two bounds that are tried
_DECISION_GRID = 0.1
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
        """Return the furthest safe bounds for these log-odds, and what they do.

        Either bound may cost `loss` of F1, and turn a hundredth as many verdicts as there are accepted
        candidates.
        """
        most, least_f1 = _OTHERWISE * self.accepted.sum(), self.f1(self.accepted[self.labelled]) - loss

        def last_safe(bounds: Doubles, *, accept: bool) -> float | None:
            def is_safe(_: float, decided: Flags) -> bool:
                after = np.where(decided, accept, self.accepted)
                return self.f1(after[self.labelled]) >= least_f1

            return find_last_safe(bounds, log_odds, self.accepted, most, is_safe, accept=accept)

        below, above = self.bounds_to_try(_GRID)
        return self.describe(last_safe(below, accept=False), last_safe(above, accept=True), log_odds)

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


def find_last_safe(
    bounds: Doubles,
    log_odds: Floats,
    accepted: Flags,
    most: float,
    is_safe: Callable[[float, Flags], bool],
    *,
    accept: bool,
) -> float | None:
    """Return the last of bounds, which come closer to the edge, up to which all are safe.

    A safe bound turns at most `most` of the verdicts `accepted`, and passes `is_safe`, which takes the bound
    and the pairs that it decides.
    """
    last = None
    for bound in bounds.tolist():
        decided = beyond(log_odds, None, bound) if accept else beyond(log_odds, bound, None)
        if not decided.any():
            continue
        if (decided & (accepted != accept)).sum() > most or not is_safe(bound, decided):
            break
        last = bound
    return last


@dataclass(frozen=True, slots=True)
class Predictions:
    """The log-odds that trees predict for every candidate, and the trees as text.

    Those at `held` come from trees that have not seen the texts.
    """

    log_odds: Floats
    held: Rows
    trees: str

    @property
    def held_out(self) -> Floats:
        """The log-odds of the candidates at `held`."""
        return self.log_odds[self.held]


class DecisionBounds:
    """Finds the furthest bounds with which a decision, fitted without them, is nearly as good.

    It keeps the threshold that is best for it without bounds.
    """

    def __init__(self, run: LabelledRun, held_out: HeldOutPairs, accepted: Flags) -> None:
        """Fit the decision's trees, each to all but a part of the labelled pairs.

        `accepted` are the decision's verdicts on the candidates held out.
        """
        self._run, self._held_out, self._accepted = run, held_out, accepted
        actual, seed, logit = held_out.actual, run.settings.seed, run.candidates.pair_logit
        table = run.labelled_features(logit)
        splitter = StratifiedGroupKFold(run.settings.folds, shuffle=True, random_state=seed)
        parts = splitter.split(table, actual, run.question_group[run.is_candidate])
        self._trees = [(held, fit_trees([table[fitted]], actual[fitted], seed)) for fitted, held in parts]
        log_odds = self._decide(logit)
        cuts = np.quantile(log_odds, np.arange(1, 1000) / 1000)
        self._cut = cuts[count_accepted(actual, log_odds, cuts, duplicates=held_out.duplicates).best()]

    def find(self, predictions: Predictions) -> Bounds:
        """Return the furthest safe bounds; the lower one, which decides more pairs, goes first.

        Both together may cost `LOSS` of F1, and either may turn a twentieth as many verdicts as there are
        accepted candidates.
        """
        before, log_odds = self._quality(predictions, None, None), predictions.held_out
        most = _OTHERWISE_DECIDED * self._accepted.sum()
        below, above = self._held_out.bounds_to_try(_DECISION_GRID)

        def is_safe(lower: float | None, upper: float | None) -> bool:
            return bool((before - self._quality(predictions, lower, upper)).max() <= LOSS)

        lower = find_last_safe(
            below, log_odds, self._accepted, most, lambda bound, _: is_safe(bound, None), accept=False
        )
        upper = find_last_safe(
            above, log_odds, self._accepted, most, lambda bound, _: is_safe(lower, bound), accept=True
        )
        f1 = {"before": float(before[0]), "after": float(self._quality(predictions, lower, upper)[0])}
        return self._held_out.describe(lower, upper, log_odds).model_copy(update={"f1": f1})

    def _decide(self, logit: Floats) -> Floats:
        """Return the decision's log-odds of the labelled candidates if all candidates had these logits."""
        table, log_odds = self._run.labelled_features(logit), np.empty(len(self._held_out.actual), np.float32)
        for held, trees in self._trees:
            log_odds[held] = np.asarray(trees.predict(table[held], raw_score=True))
        return log_odds

    def _quality(self, predictions: Predictions, lower: float | None, upper: float | None) -> Doubles:
        """Return how good the decision is on the labelled pairs if the bands decide by these bounds.

        That is F1 at the threshold it keeps, and half the average precision, which may fall twice as far.
        """
        decided = beyond(predictions.log_odds, lower, upper)
        logit = np.where(decided, predictions.log_odds, self._run.candidates.pair_logit)
        log_odds, actual = self._decide(logit), self._held_out.actual
        missed = np.ones(self._held_out.duplicates - int(actual.sum()), bool)  # no candidates
        ranking = np.concatenate([log_odds, np.full(len(missed), log_odds.min(initial=0.0) - 1)])
        precision = average_precision_score(np.concatenate([actual, missed]), ranking)
        return np.array([self._held_out.f1(log_odds >= self._cut), precision / 2])
