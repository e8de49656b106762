"""Train, validation and test pairs: splits that keep questions together, and what the others leak."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from sklearn.model_selection import train_test_split

from ..corpus.labelled import SPLIT, read_pairs_and_rows
from ..corpus.questions import number_questions, question_components
from ..errors import InputError, SettingsError
from ..schema import LabelledPairs, Rows
from ..settings import PairSettings

_FIFTHS = 5


@dataclass(frozen=True, slots=True)
class Leak:
    """A set of pairs, and how much of it another set gives away.

    `label` is the mean label (the share of duplicates); `leaked_questions` are in the other set too, and
    `leaked_pairs` have such a question.
    """

    pairs: int
    label: float
    questions: int
    leaked_questions: int
    leaked_pairs: int


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """How a file is divided: the share of each split by name, what is kept together, the sample's size."""

    shares: Mapping[str, float]
    by: Literal["pair", "question"] = "question"
    sample: int | None = None
    seed: int = 42


def split_file(
    path: Path, settings: PairSettings, plan: SplitPlan
) -> tuple[dict[str, pa.Table], dict[str, Leak]]:
    """Divide a file of labelled pairs; return each split's rows, with their column `split`, and its leak.

    Raises:
        InputError: the file cannot be read, or too few pairs for the splits.
        SettingsError: shares that do not sum to 1, a sample larger than the file.
    """
    pairs, table = read_pairs_and_rows(path, settings)
    if plan.sample is not None:
        drawn = sample_pairs(pairs, plan.sample, seed=plan.seed)
        pairs, table = pairs.take(drawn), table.take(pa.array(drawn))
    sets = split_pairs(pairs, list(plan.shares.values()), by=plan.by, seed=plan.seed)
    leaks = measure_leak([pairs.take(rows) for rows in sets])
    named = dict(zip(plan.shares, sets, strict=True))
    tables = {name: _named(table.take(pa.array(rows)), name) for name, rows in named.items()}
    return tables, dict(zip(plan.shares, leaks, strict=True))


def split_pairs(
    pairs: LabelledPairs, shares: Sequence[float], *, by: Literal["pair", "question"], seed: int
) -> list[Rows]:
    """Divide pairs into sets of about these shares and the labels of all; return the rows of each, sorted.

    `by` question no question is in two sets: connected components stay whole, and their sizes set how near
    the shares come. `by` pair the sets have these shares, and share questions.

    Raises:
        SettingsError: the shares are not above 0 or do not sum to 1.
        InputError: there are fewer components than sets, or a set would hold one class only.
    """
    if min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise SettingsError(
            f"--shares {','.join(f'{share:g}' for share in shares)}: expected shares above 0 that sum to 1, "
            "as 0.8,0.1,0.1"
        )
    classes = _classes(pairs)
    sets = (
        _by_pair(classes, shares, pairs.source, seed)
        if by == "pair"
        else _by_component(question_components(pairs), classes, np.asarray(shares), pairs.source, seed)
    )
    for rows in sets:
        if len(np.unique(classes[rows])) < 2:
            raise InputError(
                f"{pairs.source}: a split of {len(rows):,} of its {len(pairs):,} pairs would hold one class "
                "only: give more pairs, or other --shares"
            )
    return sets


def sample_pairs(pairs: LabelledPairs, n: int, *, seed: int) -> Rows:
    """Draw n pairs at random with the labels of all, as `train_test_split(stratify=…)`; sorted rows.

    Raises:
        SettingsError: there are fewer.
    """
    if n >= len(pairs):
        raise SettingsError(f"--sample {n:,}: there are only {len(pairs):,} pairs in {pairs.source}")
    return np.sort(_drawn(np.arange(len(pairs)), _classes(pairs), n, pairs.source, seed)[0])


def measure_leak(sets: Sequence[LabelledPairs]) -> list[Leak]:
    """Count each set's questions, and those that are in the first set too, from which a model learns."""
    questions = number_questions(LabelledPairs.concatenate(sets, source=""))
    ends = np.cumsum([len(pairs) for pairs in sets])
    leaks = []
    for pairs, end in zip(sets, ends, strict=True):
        own = questions[:, end - len(pairs) : end]
        seen = np.isin(own, questions[:, : ends[0]] if end > ends[0] else [])
        counts = len(np.unique(own)), len(np.unique(own[seen])), int(seen.any(axis=0).sum())
        leaks.append(Leak(len(pairs), float(pairs.label.mean()), *counts))
    return leaks


def _named(table: pa.Table, name: str) -> pa.Table:
    """Set the column `split` of a table to a name."""
    column = pa.array([name] * table.num_rows, pa.string())
    at = table.column_names.index(SPLIT) if SPLIT in table.column_names else None
    return table.append_column(SPLIT, column) if at is None else table.set_column(at, SPLIT, column)


def _classes(pairs: LabelledPairs) -> Rows:
    """Return what is kept in proportion: labels of 0 and 1, or labels between them by fifths."""
    values = pairs.label if pairs.is_binary else np.minimum(np.floor(pairs.label * _FIFTHS), _FIFTHS - 1)
    return np.asarray(np.unique(values, return_inverse=True)[1], np.int64)


def _by_pair(classes: Rows, shares: Sequence[float], source: str, seed: int) -> list[Rows]:
    sizes = [round(share * len(classes)) for share in shares[1:]]
    rest, sets = np.arange(len(classes)), []
    # The first set, then the second of what is left, and so on: what a notebook does.
    for size in [len(classes) - sum(sizes), *sizes[:-1]]:
        taken, rest = _drawn(rest, classes, size, source, seed)
        sets.append(np.sort(taken))
    return [*sets, np.sort(rest)]


def _drawn(rows: Rows, classes: Rows, size: int, source: str, seed: int) -> tuple[Rows, Rows]:
    try:
        taken, rest = train_test_split(
            rows, train_size=size, test_size=len(rows) - size, stratify=classes[rows], random_state=seed
        )
    except ValueError as error:
        raise InputError(f"{source}: {len(rows):,} pairs cannot be divided by label: {error}") from None
    return taken, rest


def _by_component(
    components: Rows, classes: Rows, shares: npt.NDArray[np.float64], source: str, seed: int
) -> list[Rows]:
    """Give each component, large before small, to the set whose classes it fills best.

    That is where `sum over classes of (have - wanted)^2 / wanted` falls most.
    """
    n = int(components.max()) + 1
    if n < len(shares):
        raise InputError(
            f"{source}: its pairs form {n:,} connected components of questions, fewer than {len(shares)} "
            "splits: give more pairs, or --by pair"
        )
    held = np.zeros((n, int(classes.max()) + 1))
    np.add.at(held, (components, classes), 1)
    wanted = shares[:, None] * held.sum(axis=0)
    order = np.random.default_rng(seed).permutation(n)
    order = order[np.argsort(-held.sum(axis=1)[order], kind="stable")]
    have, chosen = np.zeros_like(wanted), np.empty(n, np.int64)
    for component in order:
        added = held[component]
        chosen[component] = best = int(
            np.argmin(((2 * (have - wanted) + added) * added / wanted).sum(axis=1))
        )
        have[best] += added
    return [np.flatnonzero(chosen[components] == i) for i in range(len(shares))]
