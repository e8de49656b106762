"""Pseudo-labels: the candidates of a run, each with the probability that the run gave it."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..corpus.unique import collapse_exact_duplicates, normalised_key
from ..errors import InputError
from ..result import MiningResult
from ..schema import TEXT, Floats, LabelledPairs, Rows
from .data import Sets, keys_of
from .settings import PseudoLabelSettings

log = logging.getLogger(__name__)

_BINS = 10


def add_pseudo_labels(sets: Sets, run: Path, settings: PseudoLabelSettings, seed: int) -> Sets:
    """Add candidates of a run to the training pairs, labelled with their probabilities (self-training).

    Where the corpus-aware decision gave these, the model learns to tell from two texts what it saw in the
    corpus around them. Left out are pairs with a text of a validation pair, and those that are labelled
    already. They are drawn evenly over the probabilities: most candidates are clear, and teach little.

    Raises:
        InputError: the labels are not 0 or 1, the folder holds no run, or no candidate of it does.
    """
    if not sets.train.is_binary:
        raise InputError(
            f"{sets.train.source}: pseudo-labels are probabilities and go with labels 0 or 1; leave "
            "pseudo_labels.run out"
        )
    result = MiningResult.load(run)
    texts = collapse_exact_duplicates(result.corpus.documents[TEXT]).texts
    row_of = {normalised_key(text): row for row, text in enumerate(texts)}
    pairs = result.scored_pairs
    held, labelled = _held(sets, row_of), _labelled(sets.train, row_of)
    of_validation = held[pairs.left] | held[pairs.right]
    known = np.isin(pairs.left * len(texts) + pairs.right, labelled) & ~of_validation
    free = np.flatnonzero(~of_validation & ~known)
    if not len(free):
        raise InputError(
            f"{run}: its {len(pairs):,} scored pairs are all labelled already, or have texts of validation "
            "pairs; mine more texts"
        )
    chosen = free[spread(pairs.probability[free], settings.most_pairs, np.random.default_rng(seed))]
    chosen.sort()
    counts = {
        "candidates": len(pairs),
        "of_validation": int(of_validation.sum()),
        "labelled": int(known.sum()),
        "added": len(chosen),
    }
    log.info("pseudo-labels from %s: %s", run, counts)
    mined = LabelledPairs(
        [texts[row] for row in pairs.left[chosen]],
        [texts[row] for row in pairs.right[chosen]],
        pairs.probability[chosen],
        source=str(run),
    )
    train = LabelledPairs.concatenate([sets.train, mined], source=sets.train.source)
    facts: dict[str, Any] = {**sets.facts, "pseudo_labels": {"run": run.name, **counts}}
    return replace(sets, train=train, facts=facts)


def spread(probability: Floats, most: int, rng: np.random.Generator) -> Rows:
    """Return the positions of at most `most` pairs, equally many of each tenth of the probabilities.

    Where a tenth has too few, the others give more.
    """
    order = rng.permutation(len(probability))
    tenth = np.minimum((probability[order] * _BINS).astype(np.int64), _BINS - 1)
    by_tenth = np.argsort(tenth, kind="stable")
    sizes = np.bincount(tenth, minlength=_BINS)
    turn = np.empty(len(order), np.int64)
    turn[by_tenth] = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.asarray(order[np.argsort(turn, kind="stable")[:most]], np.int64)


def _held(sets: Sets, row_of: dict[str, int]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    held = np.zeros(len(row_of), bool)
    held[[row_of[key] for key in keys_of(sets.valid) if key in row_of]] = True
    return held


def _labelled(pairs: LabelledPairs, row_of: dict[str, int]) -> Rows:
    """Return the pairs that stand in the run too, as `left * n_rows + right` with the lower row first."""
    left, right = (
        np.array([row_of.get(normalised_key(text), -1) for text in side], np.int64)
        for side in (pairs.left, pairs.right)
    )
    there = (left >= 0) & (right >= 0)
    low, high = np.minimum(left, right)[there], np.maximum(left, right)[there]
    return np.asarray(low * len(row_of) + high, np.int64)
