"""Pseudo-labels: the candidates of a run, each with the probability that the run gave it."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..corpus.questions import question_components
from ..corpus.unique import collapse_exact_duplicates, normalised_key
from ..errors import InputError
from ..results.result import MiningResult
from ..schema import TEXT, Flags, Floats, LabelledPairs, Rows, ScoredPairs
from .data import PairSets, pairs_at
from .settings import PseudoLabelSettings

log = logging.getLogger(__name__)

_BINS = 10
_UNSURE = 1e-6  # at least so far from 0 and 1, which are what people say


def add_pseudo_labels(sets: PairSets, run: Path, settings: PseudoLabelSettings, seed: int) -> PairSets:
    """Add candidates of a run to the training pairs, labelled with their probabilities (self-training).

    Where the corpus-aware decision gave these, the model learns to tell from two texts what it saw in the
    corpus around them. Left out are pairs with a text that is held out, and those that are labelled, directly
    or by a chain of duplicates. They are drawn evenly over the probabilities: most candidates are clear, and
    teach little.

    Raises:
        InputError: the labels are not 0 or 1, the folder holds no run, or no pair of it is left.
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
    held = np.isin(np.arange(len(texts)), [row_of[key] for key in sets.held_out & row_of.keys()])
    held_out = held[pairs.left] | held[pairs.right]
    labelled = _labelled(pairs, sets.train, row_of) & ~held_out
    free = np.flatnonzero(~held_out & ~labelled)
    if not len(free):
        raise InputError(
            f"{run}: its {len(pairs):,} scored pairs are all labelled already, or have texts that are held "
            "out; mine more texts"
        )
    chosen = free[spread(pairs.probability[free], settings.most_pairs, np.random.default_rng(seed))]
    chosen.sort()
    counts = {
        "candidates": len(pairs),
        "held_out": int(held_out.sum()),
        "labelled": int(labelled.sum()),
        "added": len(chosen),
    }
    log.info("pseudo-labels from %s: %s", run, counts)
    label = np.clip(pairs.probability[chosen], _UNSURE, 1 - _UNSURE)
    parts = [sets.train, pairs_at(texts, pairs, chosen, label, str(run))]
    facts: dict[str, Any] = {**sets.facts, "pseudo_labels": {"run": run.name, **counts}}
    return replace(sets, train=LabelledPairs.concatenate(parts, source=sets.train.source), facts=facts)


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


def _labelled(pairs: ScoredPairs, known: LabelledPairs, row_of: dict[str, int]) -> Flags:
    """Return which pairs of a run the labels know: those labelled, and the closure of the duplicates."""
    left, right = (
        np.array([row_of.get(normalised_key(text), -1) for text in side], np.int64)
        for side in (known.left, known.right)
    )
    there = (left >= 0) & (right >= 0)
    low, high = np.minimum(left, right)[there], np.maximum(left, right)[there]
    directly = np.isin(pairs.left * len(row_of) + pairs.right, low * len(row_of) + high)
    group = np.full(len(row_of) + 1, -1)  # the last one is for texts that are not in the run
    same = known.label > 0.5
    number = question_components(known.take(same))
    group[left[same]] = group[right[same]] = number
    group[-1] = -1
    by_chain = (group[pairs.left] == group[pairs.right]) & (group[pairs.left] >= 0)
    return np.asarray(directly | by_chain, bool)
