"""Fit the cascade to a mined run: trees that predict the decision, and bounds within which they decide."""

from __future__ import annotations

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
    FittedCascade,
    beyond,
    evidence,
    find_token_kinds,
)
from ..rerank.calibration import FittedOn
from ..rerank.decision import Decision, PairFeatures
from ..rerank.lexical import compute_idf
from ..results.result import MiningResult
from ..schema import Flags, Floats, LabelledPairs, Rows, ScoredPairs, TokenStore, probabilities
from .bounds import LOSS, HeldOutPairs
from .fit_decision import fit_trees, rows_of

# Chosen on split `valid` of Quora Question Pairs. The objective is the log loss against the decision's
# probabilities, so the trees predict log-odds.
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
_OTHERWISE = 0.05  # of what the decision accepts, by either bound
_GRID = 0.1  # log-odds between two bounds that are tried


def fit_cascade(  # noqa: PLR0913 - all of it named at the call
    result: MiningResult,
    pairs: LabelledPairs,
    tokens: TokenStore,
    tokenizer: Tokenizer,
    *,
    cross_encoder: str,
    threshold: float,
    decision: Decision,
    folds: int = 5,
    seed: int = 42,
    progress: Progress = SILENT,
) -> FittedCascade:
    """Fit the bands to the candidates of a run, and find their bounds on labelled pairs.

    `tokens` are the cross-encoder's of the run's rows, `tokenizer` is its own, `cross_encoder` what its
    logits follow from and `threshold` the probability from which it accepts. The trees predict what the
    `decision` makes of the cross-encoder's logits, which is nearer to the truth. Bounds are chosen on pairs
    of texts that the trees have not seen; labels choose the bounds, and nothing is fitted to them.
    """
    floor = result.settings.retrieval.floor
    candidates = result.scored_pairs.where(result.scored_pairs.cosine >= floor)
    kinds, idf = (
        find_token_kinds(tokenizer),
        np.round(compute_idf(tokens, tokenizer.get_vocab_size()), 2),
    )
    at, part = candidates.positions(*rows_of(pairs, result)), _parts(pairs, result, folds, seed)
    probability, seen = decision.decide(candidates, tokens, progress).probability, at >= 0
    table, parts = evidence(tokens, candidates, idf, kinds), (part[candidates.left], part[candidates.right])
    predictions = _predict(table, probability, parts, seed)
    held = predictions.held
    held_out = _held_out(candidates.where(held), np.searchsorted(held, at[seen]), pairs, seen, threshold)
    around = Neighbourhood(candidates, tokens, floor, idf, at[seen], question_components(pairs)[seen])
    accepted = probability[held] >= np.float32(decision.thresholds.best_f1.threshold)
    bands = Bands(
        features=FEATURES,
        idf=tuple(float(value) for value in idf),
        kinds=kinds,
        trees=predictions.trees,
        bounds=held_out.find_bounds(predictions.held_out),
        bounds_with_decision=DecisionBounds(held_out, around, accepted, folds, seed).find(predictions),
    )
    return FittedCascade(
        bi_encoder=result.manifest["models"]["bi_encoder"]["sha256"],
        cross_encoder=cross_encoder,
        floor=floor,
        threshold=threshold,
        candidates=len(candidates),
        pairs=FittedOn(n=len(pairs), duplicates=int((pairs.label > 0.5).sum()), sha256=pairs_sha256(pairs)),
        bands=bands,
    )


def _held_out(
    candidates: ScoredPairs, labelled: Rows, pairs: LabelledPairs, seen: Flags, threshold: float
) -> HeldOutPairs:
    actual = pairs.label > 0.5
    accepted = probabilities(candidates.pair_logit) >= np.float32(threshold)
    edge = float(np.log(threshold) - np.log1p(-threshold))
    return HeldOutPairs(accepted, edge, labelled, actual[seen], int(actual.sum()))


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


def _predict(table: Floats, probability: Floats, parts: tuple[Rows, Rows], seed: int) -> Predictions:
    """Fit trees that predict the decision's probability from a table of features, one row per candidate.

    `parts` say in which part of the texts either side is; candidates with both in one part are held out.
    """

    def fit(rows: Rows) -> lightgbm.Booster:
        if len(rows) > _MOST:
            rows = np.sort(np.random.default_rng(seed).choice(rows, _MOST, replace=False))
        data = lightgbm.Dataset(table[rows], probability[rows], feature_name=list(FEATURES))
        return lightgbm.train(_TREES | {"seed": seed}, data, _ROUNDS)

    trees = fit(np.arange(len(table)))
    log_odds = np.asarray(trees.predict(table, raw_score=True), np.float32)
    held = np.flatnonzero(parts[0] == parts[1])
    for part in np.unique(parts[0][held]):
        here = held[parts[0][held] == part]
        others = fit(np.flatnonzero((parts[0] != part) & (parts[1] != part)))
        log_odds[here] = np.asarray(others.predict(table[here], raw_score=True))
    return Predictions(log_odds, held, trees.model_to_string())


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """The candidates around the labelled ones, which stand at `labelled` and are connected in groups."""

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
        return PairFeatures(scored, self.tokens, self.floor, self.idf).matrix(scored.where(self.labelled))


@dataclass(frozen=True, slots=True)
class Quality:
    """What a decision makes of the labelled pairs: F1 at the threshold it keeps, and average precision."""

    f1: float
    average_precision: float

    def loss(self, after: Quality) -> float:
        """Return by how much F1 falls, or half of what average precision does if that is more."""
        return max(self.f1 - after.f1, (self.average_precision - after.average_precision) / 2)


class DecisionBounds:
    """Finds the furthest bounds with which a decision, fitted without them, is nearly as good.

    It keeps the threshold that is best for it without bounds.
    """

    def __init__(
        self, held_out: HeldOutPairs, around: Neighbourhood, accepted: Flags, folds: int, seed: int
    ) -> None:
        """Fit the decision's trees, each to all but a part of the labelled pairs.

        `accepted` are the decision's verdicts on the candidates held out.
        """
        self._held_out, self._around, self._accepted = held_out, around, accepted
        table = around.evidence(around.candidates.pair_logit)
        parts = StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(
            table, held_out.actual, around.group
        )
        self._trees = [
            (held, fit_trees([table[fitted]], held_out.actual[fitted], seed)) for fitted, held in parts
        ]
        alone = self._decide(around.candidates.pair_logit)
        cuts = np.quantile(alone, np.arange(1, 1000) / 1000)
        counts = count_accepted(held_out.actual, alone, cuts, duplicates=held_out.duplicates)
        self._cut = cuts[counts.best()]

    def find(self, predictions: Predictions) -> Bounds:
        """Return the furthest bounds; the lower one, which decides more pairs, goes first."""
        before = self._quality(predictions, None, None)
        chosen: list[float | None] = [None, None]
        for side, bounds in enumerate(self._held_out.bounds_to_try(_GRID)):
            for bound in bounds.tolist():
                tried = [*chosen]
                tried[side] = bound
                turned = self._turned(predictions.held_out, side, bound)
                if turned is None:
                    continue
                if (
                    turned > _OTHERWISE * self._accepted.sum()
                    or before.loss(self._quality(predictions, *tried)) > LOSS
                ):
                    break
                chosen = tried
        f1 = {"before": before.f1, "after": self._quality(predictions, *chosen).f1}
        lower, upper = chosen
        return self._held_out.describe(lower, upper, predictions.held_out).model_copy(update={"f1": f1})

    def _turned(self, log_odds: Floats, side: int, bound: float) -> int | None:
        """Count the decision's verdicts that a bound turns; None where it decides nothing."""
        decided = beyond(log_odds, None, bound) if side else beyond(log_odds, bound, None)
        return int((decided & (self._accepted != bool(side))).sum()) if decided.any() else None

    def _decide(self, logit: Floats) -> Floats:
        table, log_odds = self._around.evidence(logit), np.empty(len(self._held_out.actual), np.float32)
        for held, trees in self._trees:
            log_odds[held] = np.asarray(trees.predict(table[held], raw_score=True))
        return log_odds

    def _quality(self, predictions: Predictions, lower: float | None, upper: float | None) -> Quality:
        """Return how good the decision is if the bands decide by these bounds."""
        decided = beyond(predictions.log_odds, lower, upper)
        logit = np.where(decided, predictions.log_odds, self._around.candidates.pair_logit)
        log_odds, actual = self._decide(logit), self._held_out.actual
        missed = np.ones(self._held_out.duplicates - int(actual.sum()), bool)  # no candidates
        ranking = np.concatenate([log_odds, np.full(len(missed), log_odds.min(initial=0.0) - 1)])
        precision = average_precision_score(np.concatenate([actual, missed]), ranking)
        return Quality(self._held_out.f1(log_odds >= self._cut), float(precision))


def _parts(pairs: LabelledPairs, result: MiningResult, folds: int, seed: int) -> Rows:
    """Divide a run's rows into parts at random, the texts of a labelled pair into the same."""
    generator = np.random.default_rng(seed)
    part = generator.integers(0, folds, int(result.row_of.max(initial=-1)) + 1)
    group = question_components(pairs)
    of_group = generator.integers(0, folds, int(group.max(initial=-1)) + 1)[group]
    for rows in rows_of(pairs, result):
        part[rows[rows >= 0]] = of_group[rows >= 0]
    return part
