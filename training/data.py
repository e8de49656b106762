"""The pairs of a training: those it learns from, and those that say how good it is."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ..corpus.labelled import SPLIT, pairs_sha256, read_pairs_and_rows
from ..corpus.questions import question_components
from ..corpus.unique import normalised_key
from ..disk.files import digest
from ..errors import InputError
from ..schema import CandidatePairs, Floats, LabelledPairs, Rows
from ..settings import PairSettings

log = logging.getLogger(__name__)

_VALID = ("valid", "validation", "dev")
_SHARE = 0.05
_MOST = 5_000


@dataclass(frozen=True, slots=True)
class PairSets:
    """Pairs to train on and pairs to validate with; `facts` tell where they come from.

    `elsewhere` are the normalised texts of a file's other splits.
    """

    train: LabelledPairs
    valid: LabelledPairs
    facts: dict[str, Any] = field(default_factory=dict)
    elsewhere: frozenset[str] = frozenset()

    @property
    def held_out(self) -> set[str]:
        """The normalised texts that no pair added to the training may have."""
        return normalised_texts(self.valid) | self.elsewhere

    def fingerprints(self) -> dict[str, str]:
        """Return what tells these sets from others."""
        return {"training pairs": pairs_sha256(self.train), "validation pairs": pairs_sha256(self.valid)}


def read_sets(path: Path, valid: Path | None, settings: PairSettings, seed: int) -> PairSets:
    """Read the pairs to train on, and those to validate with.

    Where a file has a column `split`, only its rows `train`, or `valid`, count. Without a second file and
    without rows `valid`, a twentieth of the pairs, at most 5,000, is set aside; none of its questions is
    in the rest.

    Raises:
        InputError: a file that cannot be read or has no fitting rows, or too few questions to set aside.
    """
    pairs, rows = read_pairs_and_rows(path, settings)
    train, elsewhere = _of_split(pairs, rows, ("train",)), _elsewhere(pairs, rows)
    facts: dict[str, Any] = {"files": [_describe(path)]}
    if valid is not None:
        others, other_rows = read_pairs_and_rows(valid, settings)
        held = _of_split(others, other_rows, _VALID)
        facts |= {"files": [*facts["files"], _describe(valid)], "validation": f"from {valid.name}"}
    elif rows.schema.get_field_index(SPLIT) >= 0 and _has(rows, _VALID):
        held = _of_split(pairs, rows, _VALID)
        facts["validation"] = f"its column {SPLIT} says so"
    else:
        train, held = set_aside(train, seed)
        facts["validation"] = "set aside, no question in both"
    log.info("%d pairs to train on, %d to validate with: %s", len(train), len(held), facts["validation"])
    _warn_of_leak(train, held)
    return PairSets(train, held, facts, elsewhere)


def set_aside(pairs: LabelledPairs, seed: int) -> tuple[LabelledPairs, LabelledPairs]:
    """Divide pairs into many to train on and few to validate with, question-disjoint.

    Raises:
        InputError: all pairs hang together by their questions, or none would be left to train on.
    """
    component = question_components(pairs)
    sizes = np.bincount(component)
    wanted = min(max(round(_SHARE * len(pairs)), 1), _MOST)
    order = np.random.default_rng(seed).permutation(len(sizes))
    order = order[sizes[order] <= max(wanted // 10, 2)]  # a large one would be all there is to validate with
    chosen = order[np.cumsum(sizes[order]) <= max(wanted, 2)]
    held = np.isin(component, chosen)
    if not held.any():
        raise InputError(
            f"{pairs.source}: its questions hang together, so no pairs can be set aside to validate with; "
            "give some with --valid"
        )
    if held.all():
        raise InputError(
            f"{pairs.source}: {len(pairs)} pairs are too few to set some aside to validate with; add pairs, "
            "or give others with --valid"
        )
    return pairs.take(~held), pairs.take(held)


def require_labels(sets: PairSets, *, binary: bool, batch: int) -> None:
    """Check that there is something to learn from and to validate with.

    Raises:
        InputError: labels that are not 0 or 1 where they have to be, one class only, or fewer training pairs
            than a batch has.
    """
    for name, pairs in (("training", sets.train), ("validation", sets.valid)):
        if binary and not pairs.is_binary:
            strange = pairs.label[~np.isin(pairs.label, (0.0, 1.0))][0]
            raise InputError(
                f"{pairs.source}: a label is {strange:g}, expected 0 (different) or 1 (duplicate); "
                "similarities are for train cross-encoder --head score"
            )
        if len(np.unique(pairs.label)) < 2:
            raise InputError(
                f"{pairs.source}: all {len(pairs)} {name} pairs have the label {pairs.label[0]:g}; "
                "add pairs of the other kind"
            )
    if len(sets.train) < batch:
        raise InputError(
            f"{sets.train.source}: {len(sets.train)} training pairs are less than one batch of {batch}; "
            "add pairs, or lower training.batch_size"
        )


def pairs_at(
    texts: Sequence[str], pairs: CandidatePairs, at: Rows, label: Floats, source: str
) -> LabelledPairs:
    """Return some of a run's pairs, those at the positions `at`, with their texts and a label for each."""
    left, right = ([texts[row] for row in side[at]] for side in (pairs.left, pairs.right))
    return LabelledPairs(left, right, label, source=source)


def normalised_texts(pairs: LabelledPairs) -> set[str]:
    """Return the normalised texts of pairs."""
    return {normalised_key(text) for text in (*pairs.left, *pairs.right)}


def _has(rows: pa.Table, names: Iterable[str]) -> bool:
    return not set(names).isdisjoint(rows.column(SPLIT).to_pylist())


def _elsewhere(pairs: LabelledPairs, rows: pa.Table) -> frozenset[str]:
    """Return the normalised texts of the pairs whose column `split` says anything but train."""
    if rows.schema.get_field_index(SPLIT) < 0:
        return frozenset()
    others = np.array([value != "train" for value in rows.column(SPLIT).to_pylist()], bool)
    return frozenset(normalised_texts(pairs.take(others)))


def _of_split(pairs: LabelledPairs, rows: pa.Table, names: tuple[str, ...]) -> LabelledPairs:
    """Return the pairs whose column `split` has one of some names, or all where there is no such column."""
    if rows.schema.get_field_index(SPLIT) < 0:
        return pairs
    values = rows.column(SPLIT).to_pylist()
    wanted = np.isin(np.array(values, object).astype(str), names)
    if not wanted.any():
        there = ", ".join(sorted({str(value) for value in values})[:10])
        raise InputError(f"{pairs.source}: no row has split {' or '.join(names)}; there are {there}")
    return pairs.take(wanted)


def _describe(path: Path) -> dict[str, Any]:
    return {"name": path.name, "sha256": digest(path) if path.is_file() else None}


def _warn_of_leak(train: LabelledPairs, valid: LabelledPairs) -> None:
    seen, held = normalised_texts(train), normalised_texts(valid)
    if shared := len(seen & held):
        log.warning(
            "%d of the %d validation questions occur in the training pairs too, which flatters the model; "
            "make disjoint sets with dupmine split --by question",
            shared,
            len(held),
        )
