"""Split labelled pairs into train, valid and test, and measure how many questions the sets share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from sklearn.model_selection import train_test_split

from ..corpus.labelled import SPLIT, read_pairs_and_rows
from ..corpus.questions import number_questions, question_components
from ..errors import InputError, SettingsError
from ..schema import Doubles, LabelledPairs, Rows
from ..settings import PairSettings

_FIFTHS = 5


@dataclass(frozen=True, slots=True)
class Leak:
    """A set of pairs, and how much of it is also in another set.

    `label` is the mean label, which is the share of duplicates. `leaked_questions` are questions that are in
    the other set too, `leaked_pairs` the pairs with such a question.
    """

    pairs: int
    label: float
    questions: int
    leaked_questions: int
    leaked_pairs: int


def split_file(
    path: Path,
    settings: PairSettings,
    *,
    shares: Mapping[str, float],
    by: Literal["pair", "question"],
    sample: int | None,
    seed: int,
) -> tuple[dict[str, pa.Table], dict[str, Leak]]:
    """Divide a file of labelled pairs; return the rows of each split, with a column `split`, and its leak.

    `shares` are by name of the split. `sample` is the number of pairs to draw first, None for all.

    Raises:
        InputError: the file cannot be read or has too few pairs for the splits.
        SettingsError: the shares do not sum to 1, or the sample is larger than the file.
    """
    pairs, table = read_pairs_and_rows(path, settings)
    if sample is not None:
        rows = sample_pairs(pairs, sample, seed=seed)
        pairs, table = pairs.take(rows), table.take(pa.array(rows))
    sets = split_pairs(pairs, list(shares.values()), by=by, seed=seed)
    leaks = measure_leak([pairs.take(rows) for rows in sets])
    tables = {
        name: _with_split(table.take(pa.array(rows)), name) for name, rows in zip(shares, sets, strict=True)
    }
    return tables, dict(zip(shares, leaks, strict=True))


def split_pairs(
    pairs: LabelledPairs, shares: Sequence[float], *, by: Literal["pair", "question"], seed: int
) -> list[Rows]:
    """Divide pairs into sets, stratified by label; return the rows of each set, sorted.

    By `question`, no question is in two sets: connected components of questions stay whole, so the shares
    are met approximately. By `pair`, the shares are exact and sets can have questions in common.

    Raises:
        SettingsError: a share is not above 0, or the shares do not sum to 1.
        InputError: there are fewer components than sets, or a set would hold only one class.
    """
    if min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise SettingsError(
            f"--shares {','.join(f'{share:g}' for share in shares)}: expected shares above 0 that sum to 1, "
            "such as 0.8,0.1,0.1"
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
                f"{pairs.source}: a split of {len(rows):,} of its {len(pairs):,} pairs would hold only one "
                "class: give more pairs, or other --shares"
            )
    return sets


def sample_pairs(pairs: LabelledPairs, n: int, *, seed: int) -> Rows:
    """Draw n pairs at random, stratified by label; return their rows, sorted.

    Raises:
        SettingsError: there are not more than n pairs.
    """
    if n >= len(pairs):
        raise SettingsError(f"--sample {n:,}: there are only {len(pairs):,} pairs in {pairs.source}")
    return np.sort(_draw(np.arange(len(pairs)), _classes(pairs), n, pairs.source, seed)[0])


def measure_leak(sets: Sequence[LabelledPairs]) -> list[Leak]:
    """Count the questions of each set, and those that are in the first set too, on which a model trains."""
    questions = number_questions(LabelledPairs.concatenate(sets, source=""))
    ends = np.cumsum([len(pairs) for pairs in sets])
    leaks = []
    for pairs, end in zip(sets, ends, strict=True):
        in_set = questions[:, end - len(pairs) : end]
        leaked = np.isin(in_set, questions[:, : ends[0]] if end > ends[0] else [])
        counts = len(np.unique(in_set)), len(np.unique(in_set[leaked])), int(leaked.any(axis=0).sum())
        leaks.append(Leak(len(pairs), float(pairs.label.mean()), *counts))
    return leaks


def _with_split(table: pa.Table, name: str) -> pa.Table:
    """Set the column `split` of all rows to a name."""
    column = pa.array([name] * table.num_rows, pa.string())
    if SPLIT not in table.column_names:
        return table.append_column(SPLIT, column)
    return table.set_column(table.column_names.index(SPLIT), SPLIT, column)


def _classes(pairs: LabelledPairs) -> Rows:
    """Return the class of each pair for stratification: its label, or the fifth of a continuous label."""
    values = pairs.label if pairs.is_binary else np.minimum(np.floor(pairs.label * _FIFTHS), _FIFTHS - 1)
    return np.asarray(np.unique(values, return_inverse=True)[1], np.int64)


def _by_pair(classes: Rows, shares: Sequence[float], source: str, seed: int) -> list[Rows]:
    sizes = [round(share * len(classes)) for share in shares[1:]]
    rest, sets = np.arange(len(classes)), []
    # As repeated `train_test_split` does: the first set, then the second from the rest, and so on.
    for size in [len(classes) - sum(sizes), *sizes[:-1]]:
        drawn, rest = _draw(rest, classes, size, source, seed)
        sets.append(np.sort(drawn))
    return [*sets, np.sort(rest)]


def _draw(rows: Rows, classes: Rows, size: int, source: str, seed: int) -> tuple[Rows, Rows]:
    try:
        drawn, rest = train_test_split(
            rows, train_size=size, test_size=len(rows) - size, stratify=classes[rows], random_state=seed
        )
    except ValueError as error:
        raise InputError(f"{source}: {len(rows):,} pairs cannot be divided by label: {error}") from None
    return drawn, rest


def _by_component(components: Rows, classes: Rows, shares: Doubles, source: str, seed: int) -> list[Rows]:
    """Assign each component, large before small, to the set that gains most from it.

    The gain is the fall of `sum over classes of (count - target)^2 / target`.
    """
    n = int(components.max()) + 1
    if n < len(shares):
        raise InputError(
            f"{source}: its pairs form {n:,} connected components of questions, fewer than {len(shares)} "
            "splits: give more pairs, or --by pair"
        )
    counts = np.zeros((n, int(classes.max()) + 1))
    np.add.at(counts, (components, classes), 1)
    target = shares[:, None] * counts.sum(axis=0)
    order = np.random.default_rng(seed).permutation(n)
    order = order[np.argsort(-counts.sum(axis=1)[order], kind="stable")]
    current, set_of = np.zeros_like(target), np.empty(n, np.int64)
    for component in order:
        added = counts[component]
        change = ((2 * (current - target) + added) * added / target).sum(axis=1)
        set_of[component] = best = int(np.argmin(change))
        current[best] += added
    return [np.flatnonzero(set_of[components] == i) for i in range(len(shares))]
