"""Labels that people gave to pairs: their table, who agrees with whom, and what an audit may use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import InputError
from ..schema import DOC_ID, described
from .audit import Labelled
from .source import Mined, fingerprint, positions
from .strata import Frame

DUPLICATE, DIFFERENT, UNSURE = ANSWERS = ("duplicate", "different", "unsure")
SOURCES = ("audit", "borderline", "cluster", "import")


LABELS = pa.schema(
    [
        described("left_id", pa.string(), "doc_id of one document"),
        described("right_id", pa.string(), "doc_id of the other document"),
        described("left_hash", pa.string(), "SHA-256 of its normalised text, 32 digits"),
        described("right_hash", pa.string(), "SHA-256 of the other's normalised text, 32 digits"),
        described("label", pa.string(), "duplicate, different or unsure"),
        described("reviewer", pa.string(), "who decided"),
        described("decided_at", pa.timestamp("us", "UTC"), "when"),
        described("session", pa.string(), "in which session"),
        described("seconds", pa.float32(), "seconds from the question to the answer"),
        described("note", pa.string(), "what the reviewer wrote, or empty"),
        described("revealed_score", pa.bool_(), "whether the score and the cluster were shown"),
        described("source", pa.string(), "why it was asked: audit, borderline, cluster or import"),
        described("sample_id", pa.string(), "the sample of an audit", nullable=True),
        described("stratum", pa.string(), "its stratum", nullable=True),
        described(
            "inclusion_probability", pa.float64(), "chance of the pair to be in the sample", nullable=True
        ),
        described(
            "probability_then", pa.float32(), "the pair's probability when it was asked", nullable=True
        ),
        described("threshold_then", pa.float64(), "the result's threshold when it was asked"),
        described("run", pa.string(), "fingerprint of the result"),
    ]
)


def labels_table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Return rows as the table of labels; of each pair, reviewer and source the latest counts."""
    latest = {_key(row): row for row in sorted(rows, key=lambda row: str(row["decided_at"]))}
    listed = [{name: row.get(name) for name in LABELS.names} for row in latest.values()]
    for row in listed:
        row["decided_at"] = pd.Timestamp(str(row["decided_at"]))
    return pa.Table.from_pylist(listed, schema=LABELS)


def _key(row: Mapping[str, Any]) -> tuple[str, str, str, bool]:
    left, right = sorted((str(row["left_id"]), str(row["right_id"])))
    return left, right, str(row["reviewer"]), row["source"] == "audit"


def read_labels(path: Path) -> pa.Table:
    """Read `labels.parquet`.

    Raises:
        InputError: it cannot be read, or a column is missing or holds something else.
    """
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file: make one with `dupmine review`") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: no readable Parquet: {str(error).splitlines()[0]}") from None
    missing = [name for name in LABELS.names if name not in table.column_names]
    if missing:
        raise InputError(f"{path}: the column {missing[0]} is missing; see docs/report.md for the columns")
    try:
        table = table.select(LABELS.names).cast(LABELS)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise InputError(f"{path}: {str(error).splitlines()[0]}") from None
    for name, known in (("label", ANSWERS), ("source", SOURCES)):
        strange = set(table[name].to_pylist()) - set(known)
        if strange:
            raise InputError(f"{path}: {name} holds {min(strange)!r}; expected {', '.join(known)}")
    return labels_table(table.to_pylist())


@dataclass(frozen=True, slots=True)
class AuditLabels:
    """The labels an audit uses, and how many it refuses for which reason."""

    labelled: Labelled
    refused: dict[str, int]
    disagreements: tuple[tuple[str, str], ...]
    reviewers: tuple[str, ...]
    kappa: float | None


def labels_for_audit(mined: Mined, frame: Frame, table: pa.Table) -> AuditLabels:
    """Choose the labels that came from a sample of this result; of several reviewers the majority counts.

    A pair on which they are divided equally is unsure.
    """
    refused: Counter[str] = Counter()
    run = fingerprint(mined)
    n = int(mined.row_of.max(initial=-1)) + 1
    places = {key: place for place, key in enumerate((frame.left * n + frame.right).tolist())}
    ends = [positions(mined, table[name]) for name in ("left_id", "right_id")]
    votes: dict[int, list[str]] = {}
    by_reviewer: dict[str, dict[int, str]] = {}
    for row, left, right in zip(table.to_pylist(), *map(np.ndarray.tolist, ends), strict=True):
        reason = _refusal(row, run, left, right)
        a, b = (int(mined.row_of[end]) if end >= 0 else -1 for end in (left, right))
        place = places.get(min(a, b) * n + max(a, b))
        if reason is None and place is None:
            reason = "not among the scored or removed pairs of the result"
        if reason is not None or place is None:
            refused[str(reason)] += 1
            continue
        votes.setdefault(place, []).append(row["label"])
        by_reviewer.setdefault(row["reviewer"], {})[place] = row["label"]
    settled = {place: _majority(answers) for place, answers in votes.items()}
    sure = [place for place, answer in settled.items() if answer != UNSURE]
    labelled = Labelled(
        at=np.array(sure, np.int64),
        duplicate=np.array([settled[place] == DUPLICATE for place in sure], bool),
        unsure=np.array([place for place, answer in settled.items() if answer == UNSURE], np.int64),
    )
    divided = [place for place, answers in votes.items() if len(set(answers)) > 1]
    return AuditLabels(
        labelled,
        dict(refused),
        tuple(_names(mined, frame, place) for place in divided),
        tuple(sorted(by_reviewer)),
        kappa(list(by_reviewer.values())),
    )


def _refusal(row: Mapping[str, Any], run: str, left: int, right: int) -> str | None:
    if row["source"] != "audit":
        return f"source is {row['source']}, not audit: these pairs were not drawn at random"
    if row["inclusion_probability"] is None or not 0 < row["inclusion_probability"] <= 1:
        return "no inclusion probability: nobody can tell how often such pairs are drawn"
    if row["run"] != run:
        return "of another run, or of this one before it was changed"
    if min(left, right) < 0:
        return "a document is not in the result"
    return None


def _majority(answers: Sequence[str]) -> str:
    ranked = Counter(answers).most_common(2)
    return UNSURE if len(ranked) == 2 and ranked[0][1] == ranked[1][1] else ranked[0][0]


def _names(mined: Mined, frame: Frame, place: int) -> tuple[str, str]:
    ids = mined.corpus.documents[DOC_ID]
    ends = (int(mined.anchors[frame.left[place]]), int(mined.anchors[frame.right[place]]))
    return ids[ends[0]].as_py(), ids[ends[1]].as_py()


def kappa(reviewers: Sequence[Mapping[Any, str]]) -> float | None:
    """Return Cohen's kappa (1960), averaged over the pairs of reviewers by the pairs both labelled.

    None where no two reviewers share a pair.
    """
    total, weight = 0.0, 0
    for i, first in enumerate(reviewers):
        for second in reviewers[i + 1 :]:
            shared = sorted(first.keys() & second.keys())
            if shared:
                total += len(shared) * _cohen([first[key] for key in shared], [second[key] for key in shared])
                weight += len(shared)
    return total / weight if weight else None


def _cohen(first: Sequence[str], second: Sequence[str]) -> float:
    n = len(first)
    agreed = sum(a == b for a, b in zip(first, second, strict=True)) / n
    by_chance = sum(first.count(answer) * second.count(answer) for answer in ANSWERS) / n**2
    return 1.0 if by_chance == 1 else (agreed - by_chance) / (1 - by_chance)
