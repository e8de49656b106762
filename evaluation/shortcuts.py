"""Fit the cascade to a mined run: trees that foresee the cross-encoder, and from where they are trusted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
from sklearn.model_selection import StratifiedGroupKFold
from tokenizers import Tokenizer

from ..rerank.bands import FEATURES, Bands, Bounds, evidence, find_kinds
from ..rerank.calibration import Fitted
from ..rerank.decision import Evidence
from ..rerank.shortcuts import Shortcuts, StudentBounds
from ..rerank.wording import rarity
from ..result import MiningResult
from ..schema import Floats, LabelledPairs, Rows, ScoredPairs, TokenStore, probabilities
from .bounds import LOSS, Judge, verdicts
from .calibrate import pairs_sha256
from .decide import fit_trees, positions, rows_of
from .metrics import Flags
from .splits import question_components

# Chosen on split `valid` of Quora Question Pairs. The objective is the log loss against the cross-encoder's
# probabilities, so what the trees say are log-odds of the same scale.
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
_STUDENT_MOST = 20_000  # candidates the student is asked about
_TOLERANCES = (0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12)  # the same where a decision follows

Student = tuple[str, Callable[[ScoredPairs], Floats]]


def fit_shortcuts(  # noqa: PLR0913 - all of it named at the call
    result: MiningResult,
    pairs: LabelledPairs,
    tokens: TokenStore,
    tokenizer: Tokenizer,
    *,
    cross_encoder: str,
    threshold: float,
    student: Student | None = None,
    folds: int = 5,
    seed: int = 42,
) -> Shortcuts:
    """Fit bands, and the bounds of a student, to the candidates of a run and judge them on labelled pairs.

    `tokens` are the cross-encoder's of the run's rows, `tokenizer` is its own, `cross_encoder` what its
    logits follow from and `threshold` the probability from which it accepts. Trees that have not seen a
    text judge the pairs of that text; labels choose the bounds, and nothing is fitted to them.
    """
    floor = result.settings.retrieval.floor
    candidates = result.scored_pairs.where(result.scored_pairs.cosine >= floor)
    kinds, idf = find_kinds(tokenizer), np.round(rarity(tokens, tokenizer.get_vocab_size()), 2)
    table = evidence(tokens, candidates, idf, kinds)
    at, part = positions(rows_of(pairs, result), candidates), _parts(pairs, result, folds, seed)
    held, said = _held_out(table, candidates, part, folds, seed)
    judge = _judge(candidates.where(held), np.searchsorted(held, at[at >= 0]), pairs, at >= 0, threshold)
    bounds = judge.find_bounds(said, judge.accepted)
    trees = _fit(table, candidates, np.arange(len(candidates)), seed)
    everywhere = np.asarray(trees.predict(table, raw_score=True), np.float32)
    everywhere[held] = said
    neighbours = Neighbourhood(
        candidates, tokens, floor, idf, at[at >= 0], question_components(pairs)[at >= 0]
    )
    return Shortcuts(
        bi_encoder=result.manifest["models"]["bi_encoder"]["sha256"],
        cross_encoder=cross_encoder,
        floor=floor,
        threshold=threshold,
        candidates=len(candidates),
        pairs=Fitted(n=len(pairs), duplicates=int((pairs.label > 0.5).sum()), sha256=pairs_sha256(pairs)),
        bands=Bands(
            features=FEATURES,
            idf=tuple(float(value) for value in idf),
            kinds=kinds,
            trees=trees.model_to_string(),
            bounds=bounds,
            bounds_with_decision=_with_decision(judge, said, everywhere, neighbours, folds, seed),
        ),
        student=None
        if student is None
        else _student_bounds(student, candidates.where(held), judge, bounds, said, seed),
    )


def _judge(
    candidates: ScoredPairs, labelled: Rows, pairs: LabelledPairs, seen: Flags, threshold: float
) -> Judge:
    actual = pairs.label > 0.5
    accepted = probabilities(candidates.cross_logit) >= np.float32(threshold)
    edge = float(np.log(threshold) - np.log1p(-threshold))
    return Judge(accepted, edge, labelled, actual[seen], int(actual.sum()))


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


def _with_decision(
    judge: Judge, said: Floats, everywhere: Floats, around: Neighbourhood, folds: int, seed: int
) -> Bounds | None:
    """Return the widest bounds under which a decision, fitted without them, has the F1 it has to keep.

    `everywhere` is what the bands say of all candidates. The decision keeps the threshold that is best for
    it without bounds.
    """
    own = around.candidates.cross_logit
    table = around.evidence(own)
    parts = list(
        StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(table, judge.actual, around.group)
    )
    trees = [fit_trees([table[fitted]], judge.actual[fitted], seed) for fitted, _ in parts]

    def decided(logit: Floats) -> Floats:
        seen, out = around.evidence(logit), np.empty(len(judge.actual), np.float32)
        for (_, held), tree in zip(parts, trees, strict=True):
            out[held] = np.asarray(tree.predict(seen[held], raw_score=True))
        return out

    alone = decided(own)
    cuts = np.quantile(alone, np.arange(1, 1000) / 1000)
    cut = cuts[np.argmax([judge.f1_of(alone >= cut) for cut in cuts])]
    before, found = judge.f1_of(alone >= cut), None
    for otherwise in _TOLERANCES:
        bounds = judge.find_bounds(said, judge.accepted, otherwise=otherwise, loss=1.0)
        after = judge.f1_of(decided(np.where(bounds.clear(everywhere), everywhere, own)) >= cut)
        if before - after > LOSS:
            break
        found = bounds.model_copy(update={"f1": {"before": before, "after": after}})
    return found


def _student_bounds(
    student: Student, held: ScoredPairs, judge: Judge, bands: Bounds, by_bands: Floats, seed: int
) -> StudentBounds:
    """Find the bounds of a student on what the bands leave; it is asked about some of the candidates."""
    sha256, score = student
    drawn = np.random.default_rng(seed).permutation(len(held))[:_STUDENT_MOST]
    at = np.union1d(drawn, judge.labelled)
    judge, held, by_bands = judge.take(at), held.where(at), by_bands[at]
    said, unclear = np.full(len(held), np.nan, np.float32), np.flatnonzero(~bands.clear(by_bands))
    said[unclear] = score(held.where(unclear))
    before = verdicts(bands, by_bands, judge.accepted)
    return StudentBounds(sha256=sha256, bounds=judge.find_bounds(said, before))


def _parts(pairs: LabelledPairs, result: MiningResult, folds: int, seed: int) -> Rows:
    """Divide a run's rows into parts at random, the texts of a labelled pair into the same."""
    generator = np.random.default_rng(seed)
    part = generator.integers(0, folds, int(result.row_of.max(initial=-1)) + 1)
    group = question_components(pairs)
    of_group = generator.integers(0, folds, int(group.max(initial=-1)) + 1)[group]
    for rows in rows_of(pairs, result):
        part[rows[rows >= 0]] = of_group[rows >= 0]
    return part


def _held_out(
    table: Floats, candidates: ScoredPairs, part: Rows, folds: int, seed: int
) -> tuple[Rows, Floats]:
    """Return which candidates have both texts in one part, and what trees without that part say of them."""
    ends = part[candidates.left], part[candidates.right]
    held = np.flatnonzero(ends[0] == ends[1])
    said = np.empty(len(held), np.float32)
    for number in range(folds):
        apart = np.flatnonzero((ends[0] != number) & (ends[1] != number))
        here = ends[0][held] == number
        trees = _fit(table, candidates, apart, seed)
        said[here] = np.asarray(trees.predict(table[held[here]], raw_score=True))
    return held, said


def _fit(table: Floats, candidates: ScoredPairs, rows: Rows, seed: int) -> lightgbm.Booster:
    """Fit trees to what the cross-encoder says of some candidates."""
    if len(rows) > _MOST:
        rows = np.sort(np.random.default_rng(seed).choice(rows, _MOST, replace=False))
    likely = probabilities(candidates.cross_logit[rows])
    data = lightgbm.Dataset(table[rows], likely, feature_name=list(FEATURES))
    return lightgbm.train(_TREES | {"seed": seed}, data, _ROUNDS)
