"""Fit the corpus-aware decision to labelled pairs of a mined corpus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lightgbm
import numpy as np
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedGroupKFold

from ..errors import InputError
from ..evaluation.weighted_metrics import calibration_error
from ..rerank.decision import FEATURES, Decision, PairFeatures
from ..schema import Flags, Floats, Rows, ScoredPairs, probabilities
from .curves import fit_best
from .labelled_run import LabelledRun
from .probabilities import fitted_on
from .thresholds import find_thresholds

# Chosen by cross-validation on split `valid` of Quora Question Pairs; extremely randomised splits
# (Geurts et al., 2006) did better there than the best ones, and small trees as well as large ones.
_TREES: dict[str, Any] = {
    "objective": "binary",
    "learning_rate": 0.03,
    "num_leaves": 7,
    "min_child_samples": 100,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 10.0,
    "extra_trees": True,
    "deterministic": True,
    "force_row_wise": True,
    "verbose": -1,
}
_ROUNDS = 600
_KEPT_SHARES = (0.5, 0.1)  # of the other texts, in thinner corpora
_PARTS = 4  # of the labelled questions, each with other texts thinned
_LEAST = 100  # labelled candidates of each kind


def fit_decision(run: LabelledRun) -> Decision:
    """Fit the decision to the labelled pairs among a run's candidates.

    The trees see each pair in the whole corpus, in thinner ones and alone, so that the decision does not
    depend on how dense a corpus is. Other labelled pairs count as refused.

    Raises:
        InputError: too few labelled pairs are candidates of the run.
    """
    _require_candidates(run)
    actual, seen, folds, seed = run.actual, run.is_candidate, run.settings.folds, run.settings.seed
    group = _choose_groups(run)
    views = [run.labelled_features(), *_thinner_views(run, group[seen], seed)]
    held_out = _predict_held_out(views, actual[seen], group[seen], folds, seed)
    fit = fit_best(held_out, actual[seen], group[seen], folds=folds, seed=seed)
    decided, alone = np.zeros((2, len(actual)), np.float32)
    decided[seen] = probabilities(fit.held_out)
    alone[seen] = probabilities(run.candidates.pair_logit[run.positions[seen]])
    by_name = {"cross_encoder": alone, "decision": decided}
    return Decision(
        bi_encoder=run.bi_encoder,
        cross_encoder=run.cross_encoder,
        floor=run.floor,
        corpus_texts=len(run.tokens.lengths),
        pairs=fitted_on(run.pairs),
        features=FEATURES,
        curve=fit.curve,
        ece={name: calibration_error(actual[seen], likely[seen]) for name, likely in by_name.items()},
        average_precision={
            name: float(average_precision_score(actual, likely)) for name, likely in by_name.items()
        },
        thresholds=find_thresholds(decided, actual, group, base_rate=float(actual.mean()), seed=seed),
        idf=tuple(run.idf.tolist()),
        trees=fit_trees(views, actual[seen], seed).model_to_string(),
    )


def _choose_groups(run: LabelledRun) -> Rows:
    """Return the cluster groups of the pairs, or the question groups where one is too large for the folds."""
    largest = np.bincount(run.cluster_group).max()
    fits = largest * run.settings.folds <= len(run.pairs)
    return run.cluster_group if fits else run.question_group


def _thinner_views(run: LabelledRun, group: Rows, seed: int) -> Iterator[Floats]:
    """Yield the features of the labelled candidates in thinner and thinner corpora, and each alone."""
    pairs, at = run.candidates, run.positions[run.is_candidate]
    generator = np.random.default_rng(seed)
    part = generator.integers(0, _PARTS, int(group.max()) + 1)[group]
    for share in _KEPT_SHARES:
        table = np.empty((len(at), len(FEATURES)), np.float32)
        for number in range(_PARTS):
            here = part == number
            kept = generator.random(len(run.tokens.lengths)) < share
            kept[pairs.left[at[here]]] = kept[pairs.right[at[here]]] = True
            thin = pairs.where(kept[pairs.left] & kept[pairs.right])
            features = PairFeatures(thin, run.tokens, 0.0, run.idf)
            table[here] = features.table(pairs.where(at[here]))
        yield table
    labelled = pairs.where(at)
    tokens = run.tokens.take(np.stack([labelled.left, labelled.right], axis=1).ravel())
    left, right = np.arange(2 * len(at)).reshape(-1, 2).T
    alone = ScoredPairs.from_logits(left, right, labelled.cosine, labelled.pair_logit)
    yield PairFeatures(alone, tokens, 0.0, run.idf).table(alone)


def _predict_held_out(views: list[Floats], actual: Flags, group: Rows, folds: int, seed: int) -> Floats:
    """Return the log-odds of each pair in the whole corpus, by trees that have not seen its group."""
    log_odds = np.empty(len(actual), np.float32)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for fitted, held in splitter.split(views[0], actual, group):
        trees = fit_trees([view[fitted] for view in views], actual[fitted], seed)
        log_odds[held] = np.asarray(trees.predict(views[0][held], raw_score=True))
    return log_odds


def fit_trees(views: list[Floats], actual: Flags, seed: int) -> lightgbm.Booster:
    """Fit a decision's trees to several views of the same labelled pairs."""
    data = lightgbm.Dataset(
        np.concatenate(views), np.tile(actual, len(views)).astype(np.float32), feature_name=list(FEATURES)
    )
    settings = _TREES | {"min_child_samples": _TREES["min_child_samples"] * len(views), "seed": seed}
    return lightgbm.train(settings, data, _ROUNDS)


def _require_candidates(run: LabelledRun) -> None:
    duplicates = int((run.actual & run.is_candidate).sum())
    others = int(run.is_candidate.sum()) - duplicates
    if min(duplicates, others) < _LEAST:
        raise InputError(
            f"{run.pairs.source}: the decision needs at least {_LEAST} duplicates and as many other pairs "
            f"that are candidates of the corpus, and {duplicates:,} and {others:,} of {len(run.pairs):,} "
            "pairs are; are their texts in the corpus?"
        )
