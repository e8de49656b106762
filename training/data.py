"""The labelled pairs of a training: those it learns from, and those it is validated on."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ..corpus.labelled import SPLIT, read_pairs_and_rows
from ..corpus.questions import question_components
from ..corpus.unique import normalised_key
from ..disk.files import digest
from ..errors import InputError
from ..schema import LabelledPairs
from ..settings import PairSettings

log = logging.getLogger(__name__)

_TRAIN = ("train",)
_VALID = ("valid", "validation", "dev")
_VALID_SHARE = 0.05
_MAX_VALID = 5_000


@dataclass(frozen=True, slots=True)
class PairSets:
    """Pairs to train on and pairs to validate on.

    `facts` describe where the pairs come from. `elsewhere` are the normalised texts of a file's other
    splits.
    """

    train: LabelledPairs
    valid: LabelledPairs
    facts: dict[str, Any] = field(default_factory=dict)
    elsewhere: frozenset[str] = frozenset()

    @property
    def held_out(self) -> set[str]:
        """The normalised texts that must not occur in pairs added to the training."""
        return normalised_texts(self.valid) | self.elsewhere


def read_sets(path: Path, valid: Path | None, settings: PairSettings, seed: int) -> PairSets:
    """Read the pairs to train on and those to validate on.

    If a file has a column `split`, only its rows `train`, or `valid`, are used. Without a second file and
    without rows `valid`, 5 % of the pairs, at most 5,000, are set aside; none of their questions is in the
    rest.

    Raises:
        InputError: a file cannot be read or has no suitable rows, or has too few questions to set aside.
    """
    pairs, rows = read_pairs_and_rows(path, settings)
    split, files = _splits(rows), [_describe(path)]
    train = _rows_of_split(pairs, split, _TRAIN)
    if valid is not None:
        valid_pairs, valid_rows = read_pairs_and_rows(valid, settings)
        held_out = _rows_of_split(valid_pairs, _splits(valid_rows), _VALID)
        files.append(_describe(valid))
        origin = f"from {valid.name}"
    elif split is not None and not set(_VALID).isdisjoint(split):
        held_out, origin = _rows_of_split(pairs, split, _VALID), f"its column {SPLIT} says so"
    else:
        train, held_out = set_aside(train, seed)
        origin = "set aside, no question in both"
    elsewhere: frozenset[str] = frozenset()
    if split is not None:
        elsewhere = frozenset(normalised_texts(pairs.take(~np.isin(split, _TRAIN))))
    log.info("%d pairs to train on, %d to validate on: %s", len(train), len(held_out), origin)
    _warn_of_leak(train, held_out)
    return PairSets(train, held_out, {"files": files, "validation": origin}, elsewhere)


def set_aside(pairs: LabelledPairs, seed: int) -> tuple[LabelledPairs, LabelledPairs]:
    """Divide pairs into many to train on and few to validate on, without a common question.

    Raises:
        InputError: all pairs are connected by their questions, or none would be left to train on.
    """
    component = question_components(pairs)
    sizes = np.bincount(component)
    target = min(max(round(_VALID_SHARE * len(pairs)), 1), _MAX_VALID)
    order = np.random.default_rng(seed).permutation(len(sizes))
    order = order[sizes[order] <= max(target // 10, 2)]  # one large component must not be most of the set
    chosen = order[np.cumsum(sizes[order]) <= max(target, 2)]
    held_out = np.isin(component, chosen)
    if not held_out.any():
        raise InputError(
            f"{pairs.source}: its questions are all connected, so no pairs can be set aside for validation; "
            "give some with --valid"
        )
    if held_out.all():
        raise InputError(
            f"{pairs.source}: {len(pairs)} pairs are too few to set some aside for validation; add pairs, or "
            "give others with --valid"
        )
    return pairs.take(~held_out), pairs.take(held_out)


def require_labels(sets: PairSets, *, binary: bool, batch: int) -> None:
    """Check the labels of both sets and the number of training pairs.

    Raises:
        InputError: labels other than 0 or 1 where they must be `binary`, pairs of only one label, or fewer
            training pairs than one batch.
    """
    for name, pairs in (("training", sets.train), ("validation", sets.valid)):
        if binary and not pairs.is_binary:
            label = pairs.label[~np.isin(pairs.label, (0.0, 1.0))][0]
            raise InputError(
                f"{pairs.source}: a label is {label:g}, expected 0 (different) or 1 (duplicate); "
                "similarities are for train cross-encoder --head score"
            )
        if len(np.unique(pairs.label)) < 2:
            raise InputError(
                f"{pairs.source}: all {len(pairs)} {name} pairs have the label {pairs.label[0]:g}; "
                "add pairs with other labels"
            )
    if len(sets.train) < batch:
        raise InputError(
            f"{sets.train.source}: {len(sets.train)} training pairs are less than one batch of {batch}; "
            "add pairs, or lower training.batch_size"
        )


def normalised_texts(pairs: LabelledPairs) -> set[str]:
    """Return the normalised texts of pairs."""
    return {normalised_key(text) for text in (*pairs.left, *pairs.right)}


def _splits(rows: pa.Table) -> list[str] | None:
    """Return the split of each row, None without a column `split`."""
    if rows.schema.get_field_index(SPLIT) < 0:
        return None
    return [str(value) for value in rows.column(SPLIT).to_pylist()]


def _rows_of_split(pairs: LabelledPairs, split: list[str] | None, names: Iterable[str]) -> LabelledPairs:
    """Return the pairs whose split is one of some names, all where there are no splits."""
    if split is None:
        return pairs
    rows = np.isin(split, list(names))
    if not rows.any():
        present = ", ".join(sorted(set(split))[:10])
        raise InputError(f"{pairs.source}: no row has split {' or '.join(names)}; there are {present}")
    return pairs.take(rows)


def _describe(path: Path) -> dict[str, Any]:
    return {"name": path.name, "sha256": digest(path) if path.is_file() else None}


def _warn_of_leak(train: LabelledPairs, valid: LabelledPairs) -> None:
    train_texts, valid_texts = normalised_texts(train), normalised_texts(valid)
    if shared := len(train_texts & valid_texts):
        log.warning(
            "%d of the %d validation questions occur in the training pairs too, so the validation is "
            "optimistic; make disjoint sets with dupmine split --by question",
            shared,
            len(valid_texts),
        )
