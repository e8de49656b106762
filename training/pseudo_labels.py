"""Pseudo-labels: the candidates of a run, labelled with the probabilities that the run gave them."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from ..corpus.questions import question_components
from ..errors import InputError
from ..results.result import MiningResult
from ..schema import Flags, Floats, LabelledPairs, Rows
from .data import PairSets
from .settings import PseudoLabelSettings

log = logging.getLogger(__name__)

_BINS = 10
_MARGIN = 1e-6  # from 0 and 1, which mark human labels


def add_pseudo_labels(sets: PairSets, settings: PseudoLabelSettings, seed: int) -> PairSets:
    """Add candidates of `settings.run`, if there is one, labelled with their probabilities (self-training).

    If the corpus-aware decision gave the probabilities, the model learns to predict from two texts what the
    decision saw in the corpus around them. Pairs with a held-out text are excluded, and so are pairs that
    are labelled, directly or by a chain of duplicates. Pairs are drawn evenly over the probabilities: most
    candidates are near 0 or 1 and teach little.

    Raises:
        InputError: the labels are not 0 or 1, the folder is not a run, or no pair is left.
    """
    if settings.run is None:
        return sets
    if not sets.train.is_binary:
        raise InputError(
            f"{sets.train.source}: pseudo-labels are probabilities and go with labels 0 or 1; leave "
            "pseudo_labels.run out"
        )
    run = Path(settings.run)
    result = MiningResult.load(run)
    texts, pairs = result.texts, result.scored_pairs
    held_out_texts = np.isin(np.arange(len(texts)), result.find_rows(list(sets.held_out)))
    held_out = held_out_texts[pairs.left] | held_out_texts[pairs.right]
    labelled = _labelled(result, sets.train) & ~held_out
    free = np.flatnonzero(~held_out & ~labelled)
    if not len(free):
        raise InputError(
            f"{run}: its {len(pairs):,} scored pairs are all labelled already, or have texts that are held "
            "out; mine more texts"
        )
    chosen = free[sample_evenly(pairs.probability[free], settings.most_pairs, np.random.default_rng(seed))]
    added = pairs.where(np.sort(chosen))
    counts = {
        "candidates": len(pairs),
        "held_out": int(held_out.sum()),
        "labelled": int(labelled.sum()),
        "added": len(added),
    }
    log.info("pseudo-labels from %s: %s", run, counts)
    left, right = ([texts[row] for row in side] for side in (added.left, added.right))
    label = np.clip(added.probability, _MARGIN, 1 - _MARGIN)
    parts = [sets.train, LabelledPairs(left, right, label, source=str(run))]
    train = LabelledPairs.concatenate(parts, source=sets.train.source)
    return replace(sets, train=train, facts={**sets.facts, "pseudo_labels": {"run": run.name, **counts}})


def sample_evenly(probability: Floats, most: int, rng: np.random.Generator) -> Rows:
    """Return the positions of at most `most` pairs, as many from each tenth of the probabilities.

    Where a tenth has too few pairs, more come from the others.
    """
    order = rng.permutation(len(probability))
    tenth = np.minimum((probability[order] * _BINS).astype(np.int64), _BINS - 1)
    round_of = pd.Series(tenth).groupby(tenth).cumcount()
    return np.asarray(order[np.argsort(round_of, kind="stable")[:most]], np.int64)


def _labelled(result: MiningResult, labels: LabelledPairs) -> Flags:
    """Return which pairs of a run the labels determine: labelled pairs and chains of duplicates."""
    pairs = result.scored_pairs
    left, right = np.split(result.find_rows([*labels.left, *labels.right]), 2)
    directly = np.isin(np.arange(len(pairs)), pairs.positions(left, right))
    group = np.full(len(result.texts) + 1, -1)  # the last one is for texts that are not in the run
    duplicates = labels.label > 0.5
    number = question_components(labels.take(duplicates))
    group[left[duplicates]] = group[right[duplicates]] = number
    group[-1] = -1
    by_chain = (group[pairs.left] == group[pairs.right]) & (group[pairs.left] >= 0)
    return np.asarray(directly | by_chain, bool)
