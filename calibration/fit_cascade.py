"""Fit the cascade to a mined run: trees that foresee the decision, and from where they are trusted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedGroupKFold
from tokenizers import Tokenizer

from ..corpus.labelled import pairs_sha256
from ..corpus.questions import question_components
from ..evaluation.thresholds import count_accepted
from ..progress import SILENT, Progress
from ..rerank.bands import (
    FEATURES,
    Bands,
    Bounds,
    Shortcuts,
    StudentStep,
    clear,
    evidence,
    find_kinds,
    with_logit,
)
from ..rerank.calibration import Fitted
from ..rerank.decision import Decision, Evidence
from ..rerank.wording import rarity
from ..results.result import MiningResult
from ..schema import STUDENT, Flags, Floats, LabelledPairs, Rows, ScoredPairs, TokenStore, probabilities
from .bounds import LOSS, Edges, Judge, verdicts
from .fit_decision import fit_trees, positions, rows_of

# Chosen on split `valid` of Quora Question Pairs. The objective is the log loss against the decision's
# probabilities, so what the trees say are log-odds.
_TREES: dict[str, Any] = {
    "objective": "cross_entropy",
    "learning_rate": 0.1,
    "num_leaves": 31,
    "min_child_samples": 50,
    "lambda_l2": 10.0,
    "deterministic": True,
    "force_row_wise": True,
    "verbose": -1,
}
_ROUNDS = 200
_MOST = 200_000  # candidates the trees are fitted to
_TURNED = 0.05  # of what the decision accepts, on either side of a step that it follows
_GRID = 0.1  # log-odds between two bounds that are tried there

Student = tuple[str, Callable[[ScoredPairs], Floats], float]


def fit_shortcuts(  # noqa: PLR0913 - all of it named at the call
    result: MiningResult,
    pairs: LabelledPairs,
    tokens: TokenStore,
    tokenizer: Tokenizer,
    *,
    cross_encoder: str,
    threshold: float,
    decision: Decision,
    student: Student | None = None,
    folds: int = 5,
    seed: int = 42,
    progress: Progress = SILENT,
) -> Shortcuts:
    """Fit bands, and the step of a student, to the candidates of a run and judge them on labelled pairs.

    `tokens` are the cross-encoder's of the run's rows, `tokenizer` is its own, `cross_encoder` what its
    logits follow from and `threshold` the probability from which it accepts. The trees foresee what the
    `decision` makes of the cross-encoder's logits, which is nearer to the truth. Trees that have not seen a
    text judge the pairs of that text; labels choose the bounds, and nothing is fitted to them. `student` is
    its fingerprint, what it says of pairs, and what that costs if the cross-encoder costs 1.
    """
    floor = result.settings.retrieval.floor
    candidates = result.scored_pairs.where(result.scored_pairs.cosine >= floor)
    kinds, idf = find_kinds(tokenizer), np.round(rarity(tokens, tokenizer.get_vocab_size()), 2)
    at, part = positions(rows_of(pairs, result), candidates), _parts(pairs, result, folds, seed)
    likely = decision.decide(candidates, tokens, progress).probability
    forest, seen = Forest(candidates, likely, part, folds, seed), at >= 0
    labelled = np.searchsorted(forest.held, at[seen])
    judge = _judge(candidates.where(forest.held), labelled, pairs, seen, threshold)
    around = Neighbourhood(candidates, tokens, floor, idf, at[seen], question_components(pairs)[seen])
    accepted = likely[forest.held] >= np.float32(decision.thresholds.best_f1.threshold)
    after = AfterDecision(judge, around, accepted, folds, seed)
    table = evidence(tokens, candidates, idf, kinds)
    by_bands = forest.grow(table, FEATURES)
    bands = Bands(
        features=FEATURES,
        idf=tuple(float(value) for value in idf),
        kinds=kinds,
        trees=by_bands.trees,
        **_find_bounds(judge, after, by_bands),
    )
    step = None
    if student is not None:
        sha256, score, cost = student
        by_student = forest.grow(with_logit(table, score(candidates)), (*FEATURES, STUDENT))
        found = _find_bounds(judge, after, by_student, (by_bands, bands))
        found = {
            name: _worth_asking(judge, bounds, (by_bands, by_student), getattr(bands, name), cost)
            for name, bounds in found.items()
        }
        step = StudentStep(sha256=sha256, trees=by_student.trees, **found)
    return Shortcuts(
        bi_encoder=result.manifest["models"]["bi_encoder"]["sha256"],
        cross_encoder=cross_encoder,
        floor=floor,
        threshold=threshold,
        candidates=len(candidates),
        pairs=Fitted(n=len(pairs), duplicates=int((pairs.label > 0.5).sum()), sha256=pairs_sha256(pairs)),
        bands=bands,
        student=step,
    )


def _judge(
    candidates: ScoredPairs, labelled: Rows, pairs: LabelledPairs, seen: Flags, threshold: float
) -> Judge:
    actual = pairs.label > 0.5
    accepted = probabilities(candidates.pair_logit) >= np.float32(threshold)
    edge = float(np.log(threshold) - np.log1p(-threshold))
    return Judge(accepted, edge, labelled, actual[seen], int(actual.sum()))


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What trees say: of the candidates held out, unseen, of all of them, and the trees as text.

    NaN is a pair that was decided before.
    """

    held: Floats
    everywhere: Floats
    trees: str

    def without(self, before: Foreseen, bounds: Bounds) -> Foreseen:
        """Leave out what was clear to the step before."""
        sides = ((before.held, self.held), (before.everywhere, self.everywhere))
        held, everywhere = (np.where(bounds.clear(of), np.float32(np.nan), own) for of, own in sides)
        return Foreseen(held, everywhere, self.trees)


class Forest:
    """Grows trees that foresee the decision, such that some candidates are judged by unseen ones.

    `part` divides the rows; `held` are the candidates with both texts in one part.
    """

    def __init__(self, candidates: ScoredPairs, likely: Floats, part: Rows, folds: int, seed: int) -> None:
        """Take all candidates of a run, and how likely the decision finds each."""
        self._likely = likely
        self._ends, self._folds, self._seed = (part[candidates.left], part[candidates.right]), folds, seed
        self.held = np.flatnonzero(self._ends[0] == self._ends[1])

    def grow(self, table: Floats, names: tuple[str, ...]) -> Foreseen:
        """Fit trees to a table of features by name, one row per candidate."""
        held = np.empty(len(self.held), np.float32)
        for number in range(self._folds):
            apart = np.flatnonzero((self._ends[0] != number) & (self._ends[1] != number))
            here = self._ends[0][self.held] == number
            trees = self._fit(table, apart, names)
            held[here] = np.asarray(trees.predict(table[self.held[here]], raw_score=True))
        trees = self._fit(table, np.arange(len(table)), names)
        everywhere = np.asarray(trees.predict(table, raw_score=True), np.float32)
        everywhere[self.held] = held
        return Foreseen(held, everywhere, trees.model_to_string())

    def _fit(self, table: Floats, rows: Rows, names: tuple[str, ...]) -> lightgbm.Booster:
        if len(rows) > _MOST:
            rows = np.sort(np.random.default_rng(self._seed).choice(rows, _MOST, replace=False))
        data = lightgbm.Dataset(table[rows], self._likely[rows], feature_name=list(names))
        return lightgbm.train(_TREES | {"seed": self._seed}, data, _ROUNDS)


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """The candidates around the labelled ones, which stand at `labelled` and hang together in groups."""

    candidates: ScoredPairs
    tokens: TokenStore
    floor: float
    idf: Floats
    labelled: Rows
    group: Rows

    def evidence(self, logit: Floats) -> Floats:
        """Return what a decision sees of the labelled pairs if all candidates had these logits."""
        of = self.candidates
        scored = ScoredPairs.from_logits(of.left, of.right, of.cosine, logit)
        return Evidence(scored, self.tokens, self.floor, self.idf).matrix(scored.where(self.labelled))


@dataclass(frozen=True, slots=True)
class Quality:
    """What a decision makes of the labelled pairs: F1 at the threshold it keeps, and average precision."""

    f1: float
    average_precision: float

    def loss(self, after: Quality) -> float:
        """Return by how much F1 falls, or half of what average precision does if that is more."""
        return max(self.f1 - after.f1, (self.average_precision - after.average_precision) / 2)


class AfterDecision:
    """Finds bounds under which a decision, fitted without them, is nearly as good.

    It keeps the threshold that is best for it without bounds. Each step finds the logits that those before it
    gave the candidates.
    """

    def __init__(self, judge: Judge, around: Neighbourhood, accepted: Flags, folds: int, seed: int) -> None:
        """Fit the decision's trees, each to all but a part of the labelled pairs.

        `accepted` are the decision's verdicts on the candidates held out.
        """
        self._judge, self._around, self._accepted = judge, around, accepted
        self._logit, self._allowed = around.candidates.pair_logit, 0.0
        table = around.evidence(self._logit)
        parts = StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(
            table, judge.actual, around.group
        )
        self._trees = [
            (held, fit_trees([table[fitted]], judge.actual[fitted], seed)) for fitted, held in parts
        ]
        alone = self._decided(self._logit)
        cuts = np.quantile(alone, np.arange(1, 1000) / 1000)
        self._cut = cuts[count_accepted(judge.actual, alone, cuts, duplicates=judge.duplicates).best()]
        self._before = self._quality(self._logit)

    def find_bounds(self, said: Foreseen, before: Flags) -> Bounds:
        """Return the widest bounds of a step, and let what is clear to it have its logits from now on.

        `before` are the verdicts on the candidates held out without the step. Each step may cost half of the
        loss that is allowed, and what the one before left of its half; refusals, which are more, go first.
        """
        chosen: list[float | None] = [None, None]
        self._allowed += LOSS / 2
        for side, bounds in enumerate(self._judge.tried(_GRID)):
            for bound in bounds.tolist():
                tried = [*chosen]
                tried[side] = bound
                turned = self._turned(said.held, side, bound)
                if turned is None:
                    continue
                if turned > _TURNED * self._accepted.sum() or self._loss(said, tried) > self._allowed:
                    break
                chosen = tried
        own = self._quality(self._logit).f1
        self._logit = self._with(said, chosen)
        f1 = {"before": own, "after": self._quality(self._logit).f1}
        return self._judge.describe(chosen, said.held, before).model_copy(update={"f1": f1})

    def _turned(self, said: Floats, side: int, bound: float) -> int | None:
        """Count the decision's verdicts that a bound turns; None where nothing is clear by it."""
        found = clear(said, None, bound) if side else clear(said, bound, None)
        return int((found & (self._accepted != bool(side))).sum()) if found.any() else None

    def _loss(self, said: Foreseen, edges: Edges) -> float:
        return self._before.loss(self._quality(self._with(said, edges)))

    def _with(self, said: Foreseen, edges: Edges) -> Floats:
        return np.where(clear(said.everywhere, *edges), said.everywhere, self._logit)

    def _decided(self, logit: Floats) -> Floats:
        seen, out = self._around.evidence(logit), np.empty(len(self._judge.actual), np.float32)
        for held, trees in self._trees:
            out[held] = np.asarray(trees.predict(seen[held], raw_score=True))
        return out

    def _quality(self, logit: Floats) -> Quality:
        decided, actual = self._decided(logit), self._judge.actual
        missed = np.ones(
            self._judge.duplicates - int(actual.sum()), bool
        )  # duplicates that are no candidates
        likely = np.concatenate([decided, np.full(len(missed), decided.min(initial=0.0) - 1)])
        precision = average_precision_score(np.concatenate([actual, missed]), likely)
        return Quality(self._judge.f1_of(decided >= self._cut), float(precision))


def _find_bounds(
    judge: Judge, after: AfterDecision, foreseen: Foreseen, earlier: tuple[Foreseen, Bands] | None = None
) -> dict[str, Bounds]:
    """Return the bounds of a step, on what the one before leaves: without and with a decision afterwards."""

    def left(bounds: Bounds | None) -> tuple[Foreseen, Flags]:
        if earlier is None or bounds is None:
            return foreseen, judge.accepted
        before = earlier[0]
        return foreseen.without(before, bounds), verdicts(bounds, before.held, judge.accepted)

    own, with_decision = (None, None)
    if earlier is not None:
        own, with_decision = earlier[1].bounds, earlier[1].bounds_with_decision
    said, before = left(own)
    return {
        "bounds": judge.find_bounds(said.held, before),
        "bounds_with_decision": after.find_bounds(*left(with_decision)),
    }


def _worth_asking(
    judge: Judge, bounds: Bounds, foreseen: tuple[Foreseen, Foreseen], earlier: Bounds | None, cost: float
) -> Bounds:
    """Return a student's bounds with the bands' log-odds up to which asking it spares the most time.

    A pair it is asked of costs `cost`, one it decides saves the cross-encoder's 1.
    """
    by_bands, by_student = foreseen
    said = by_student if earlier is None else by_student.without(by_bands, earlier)
    left = np.flatnonzero(~np.isnan(said.held))
    order = left[np.argsort(by_bands.held[left], kind="stable")]
    saved = np.cumsum(bounds.clear(said.held[order]) - cost)
    if not len(saved) or saved.max() <= 0:
        return bounds.within(refuse=False, accept=False)
    asked = float(by_bands.held[order[np.argmax(saved)]])
    heard = np.where(by_bands.held <= np.float32(asked), said.held, np.float32(np.nan))
    before = judge.accepted if earlier is None else verdicts(earlier, by_bands.held, judge.accepted)
    described = judge.describe((bounds.lower, bounds.upper), heard, before)
    return described.model_copy(update={"asked": asked, "f1": bounds.f1})


def _parts(pairs: LabelledPairs, result: MiningResult, folds: int, seed: int) -> Rows:
    """Divide a run's rows into parts at random, the texts of a labelled pair into the same."""
    generator = np.random.default_rng(seed)
    part = generator.integers(0, folds, int(result.row_of.max(initial=-1)) + 1)
    group = question_components(pairs)
    of_group = generator.integers(0, folds, int(group.max(initial=-1)) + 1)[group]
    for rows in rows_of(pairs, result):
        part[rows[rows >= 0]] = of_group[rows >= 0]
    return part
