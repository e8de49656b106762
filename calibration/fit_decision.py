"""Fit the corpus-aware decision to labelled pairs of a corpus that was mined."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedGroupKFold

from ..corpus.questions import number_components, question_components
from ..corpus.unique import collapse_exact_duplicates, normalised_key
from ..errors import InputError
from ..evaluation.weighted_metrics import calibration_error
from ..rerank.calibration import FittedOn
from ..rerank.decision import FEATURES, Decision, PairFeatures
from ..rerank.lexical import compute_idf
from ..results.result import MiningResult
from ..schema import TEXT, Flags, Floats, LabelledPairs, Rows, ScoredPairs, TokenStore, probabilities
from .curves import fit_best
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
_KEPT = (0.5, 0.1)  # shares of the other texts in thinner corpora
_PARTS = 4  # of the labelled questions, each with other texts thinned
_LEAST = 100  # labelled candidates of each kind


def fit_decision(  # noqa: PLR0913 - all of it named at the call
    result: MiningResult,
    pairs: LabelledPairs,
    tokens: TokenStore,
    *,
    cross_encoder: str,
    n_tokens: int,
    sha256: str,
    folds: int = 5,
    seed: int = 42,
) -> Decision:
    """Fit the decision to the labelled pairs among a run's candidates.

    `tokens` are the cross-encoder's of the run's rows, `cross_encoder` what its logits follow from,
    `n_tokens` the size of its vocabulary, `sha256` that of the labelled pairs. Each pair is seen in the whole
    corpus, in thinner ones and alone, so that the decision does not depend on the density of a corpus. A
    labelled pair that is not a candidate counts as refused.

    Raises:
        InputError: too few labelled pairs are candidates of the run.
    """
    floor = result.settings.retrieval.floor
    candidates = result.scored_pairs.where(result.scored_pairs.cosine >= floor)
    rows = rows_of(pairs, result)
    at = candidates.positions(*rows)
    actual, seen = pairs.label > 0.5, at >= 0
    _require(pairs, actual, seen)
    group = _groups(pairs, rows, result, folds)
    idf = np.round(compute_idf(tokens, n_tokens), 2)
    views = [
        PairFeatures(candidates, tokens, floor, idf).matrix(candidates.where(at[seen])),
        *_thinner(candidates, at[seen], group[seen], tokens, idf, seed),
    ]
    held_out = _held_out(views, actual[seen], group[seen], folds, seed)
    fit = fit_best(held_out, actual[seen], group[seen], folds=folds, seed=seed)
    probability = np.zeros(len(pairs), np.float32)
    probability[seen] = probabilities(fit.held_out)
    own = np.full(len(pairs), -np.inf, np.float32)
    own[seen] = candidates.pair_logit[at[seen]]
    return Decision(
        bi_encoder=result.manifest["models"]["bi_encoder"]["sha256"],
        cross_encoder=cross_encoder,
        floor=floor,
        corpus_texts=len(tokens.lengths),
        pairs=FittedOn(n=len(pairs), duplicates=int(actual.sum()), sha256=sha256),
        features=FEATURES,
        curve=fit.curve,
        ece={
            "cross_encoder": calibration_error(actual[seen], probabilities(own[seen])),
            "decision": calibration_error(actual[seen], probability[seen]),
        },
        average_precision={
            "cross_encoder": float(average_precision_score(actual, probabilities(own))),
            "decision": float(average_precision_score(actual, probability)),
        },
        thresholds=find_thresholds(probability, actual, group, base_rate=float(actual.mean()), seed=seed),
        idf=tuple(float(value) for value in idf),
        trees=fit_trees(views, actual[seen], seed).model_to_string(),
    )


def rows_of(pairs: LabelledPairs, result: MiningResult) -> tuple[Rows, Rows]:
    """Return the rows of a run that the texts of labelled pairs have, -1 where it lacks them."""
    unique = collapse_exact_duplicates(result.corpus.documents[TEXT])
    row_of = {normalised_key(text): row for row, text in enumerate(unique.texts)}
    left, right = (
        np.array([row_of.get(normalised_key(text), -1) for text in texts], np.int64)
        for texts in (pairs.left, pairs.right)
    )
    return left, right


def _groups(pairs: LabelledPairs, rows: tuple[Rows, Rows], result: MiningResult, folds: int) -> Rows:
    """Return the group of each pair: those of one neighbourhood, unless that leaves no folds to speak of."""
    alone = question_components(pairs)
    joined = in_one_neighbourhood(alone, rows, result)
    return joined if np.bincount(joined).max() * folds <= len(pairs) else alone


def in_one_neighbourhood(group: Rows, rows: tuple[Rows, Rows], result: MiningResult) -> Rows:
    """Return the number of each labelled pair's group, in which those groups are joined that share a cluster.

    The decision uses the texts of a cluster for each other, so its errors on them are correlated: folds that
    divide a cluster would train on what they test, and intervals over independent pairs would be too narrow.
    `rows` are the pairs' rows, -1 for none.
    """
    names = result.clusters.set_index("doc_id")["cluster_id"]
    documents = result.corpus.documents["doc_id"].to_pandas()
    cluster, found = pd.factorize(names.reindex(documents))  # -1 for none
    of_row = np.full(int(result.row_of.max(initial=-1)) + 2, -1, np.int64)  # the last one is row -1
    of_row[result.row_of] = cluster
    first = int(group.max(initial=-1)) + 1
    edges = [(group[of_row[side] >= 0], first + of_row[side][of_row[side] >= 0]) for side in rows]
    left, right = (np.concatenate(ends) for ends in zip(*edges, strict=True))
    return number_components(first + len(found), left, right)[group]


def _thinner(
    pairs: ScoredPairs, at: Rows, group: Rows, tokens: TokenStore, idf: Floats, seed: int
) -> Iterator[Floats]:
    """Yield the features of the labelled pairs at some positions in thinner and thinner corpora."""
    generator = np.random.default_rng(seed)
    part = generator.integers(0, _PARTS, int(group.max()) + 1)[group]
    for kept in _KEPT:
        features = np.empty((len(at), len(FEATURES)), np.float32)
        for number in range(_PARTS):
            here = part == number
            rows = generator.random(len(tokens.lengths)) < kept
            rows[pairs.left[at[here]]] = rows[pairs.right[at[here]]] = True
            thin = pairs.where(rows[pairs.left] & rows[pairs.right])
            features[here] = PairFeatures(thin, tokens, 0.0, idf).matrix(pairs.where(at[here]))
        yield features
    alone = pairs.where(at)
    ends = np.arange(2 * len(at)).reshape(-1, 2)
    own_tokens = tokens.take(np.stack([alone.left, alone.right], axis=1).ravel())
    lonely = ScoredPairs.from_logits(ends[:, 0], ends[:, 1], alone.cosine, alone.pair_logit)
    yield PairFeatures(lonely, own_tokens, 0.0, idf).matrix(lonely)


def _held_out(views: list[Floats], actual: Flags, group: Rows, folds: int, seed: int) -> Floats:
    """Return what trees that have not seen a pair's questions say of it in the whole corpus."""
    said = np.empty(len(actual), np.float32)
    for fitted, held in StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(
        views[0], actual, group
    ):
        trees = fit_trees([view[fitted] for view in views], actual[fitted], seed)
        said[held] = np.asarray(trees.predict(views[0][held], raw_score=True))
    return said


def fit_trees(views: list[Floats], actual: Flags, seed: int) -> lightgbm.Booster:
    """Fit a decision's trees to several views of the same labelled pairs."""
    data = lightgbm.Dataset(
        np.concatenate(views), np.tile(actual, len(views)).astype(np.float32), feature_name=list(FEATURES)
    )
    settings = _TREES | {"min_child_samples": _TREES["min_child_samples"] * len(views), "seed": seed}
    return lightgbm.train(settings, data, _ROUNDS)


def _require(pairs: LabelledPairs, actual: Flags, seen: npt.NDArray[np.bool_]) -> None:
    duplicates, others = int((actual & seen).sum()), int((~actual & seen).sum())
    if min(duplicates, others) < _LEAST:
        raise InputError(
            f"{pairs.source}: the decision needs at least {_LEAST} duplicates and as many other pairs that "
            f"are candidates of the corpus, and {duplicates:,} and {others:,} of {len(pairs):,} pairs are; "
            "are their texts in the corpus?"
        )
