"""Fit the cascade to a mined run: trees that predict the decision, and bounds beyond which they decide."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
from tokenizers import Tokenizer

from ..progress import SILENT, Progress
from ..rerank.bands import FEATURES, Bands, band_features, find_token_kinds
from ..rerank.cascade import FittedCascade
from ..rerank.decision import Decision
from ..schema import Floats, Rows, probabilities
from .bounds import DecisionBounds, HeldOutPairs, Predictions
from .labelled_run import LabelledRun
from .probabilities import fitted_on

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


def fit_cascade(
    run: LabelledRun,
    decision: Decision,
    tokenizer: Tokenizer,
    *,
    threshold: float,
    progress: Progress = SILENT,
) -> FittedCascade:
    """Fit the bands to the candidates of a run, and find their bounds on labelled pairs.

    `tokenizer` is the cross-encoder's, `threshold` the probability from which it accepts. The trees predict
    what the `decision` makes of the cross-encoder's logits, which is nearer to the truth. Bounds are chosen
    on pairs of texts that the trees have not seen; labels choose the bounds, and nothing is fitted to them.
    """
    candidates, kinds = run.candidates, find_token_kinds(tokenizer)
    probability = decision.decide(candidates, run.tokens, progress).probability
    table = band_features(run.tokens, candidates, run.idf, kinds)
    part = _divide_rows(run)
    predictions = _predict(
        table, probability, (part[candidates.left], part[candidates.right]), run.settings.seed
    )
    held_out = _hold_out(run, predictions.held, threshold)
    accepted = probability[predictions.held] >= np.float32(decision.thresholds.best_f1.threshold)
    bands = Bands(
        features=FEATURES,
        idf=tuple(run.idf.tolist()),
        kinds=kinds,
        trees=predictions.trees,
        bounds=held_out.find_bounds(predictions.held_out),
        bounds_with_decision=DecisionBounds(run, held_out, accepted).find(predictions),
    )
    return FittedCascade(
        bi_encoder=run.bi_encoder,
        cross_encoder=run.cross_encoder,
        floor=run.floor,
        threshold=threshold,
        candidates=len(candidates),
        pairs=fitted_on(run.pairs),
        bands=bands,
    )


def _divide_rows(run: LabelledRun) -> Rows:
    """Divide the rows into parts at random, both texts of a labelled pair into the same; `(n_rows,)`."""
    generator, folds = np.random.default_rng(run.settings.seed), run.settings.folds
    group = run.question_group
    part = generator.integers(0, folds, len(run.tokens.lengths))
    part_of_pair = generator.integers(0, folds, int(group.max(initial=-1)) + 1)[group]
    for rows in run.rows:
        part[rows[rows >= 0]] = part_of_pair[rows >= 0]
    return part


def _predict(table: Floats, probability: Floats, parts: tuple[Rows, Rows], seed: int) -> Predictions:
    """Fit trees that predict the decision's probability from a table of features, one row per candidate.

    `parts` are the parts of the left and the right texts; candidates with both in one part are held out.
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


def _hold_out(run: LabelledRun, held: Rows, threshold: float) -> HeldOutPairs:
    seen = run.is_candidate
    return HeldOutPairs(
        accepted=probabilities(run.candidates.pair_logit[held]) >= np.float32(threshold),
        edge=float(np.log(threshold) - np.log1p(-threshold)),
        labelled=np.searchsorted(held, run.positions[seen]),
        actual=run.actual[seen],
        duplicates=int(run.actual.sum()),
    )
