"""A review: what to ask, what was answered, and how far it is; the page in `server` shows it."""

from __future__ import annotations

import random
import secrets
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np

from ..errors import InputError
from ..schema import Rows
from .health import examine
from .journal import Journal, Row
from .labels import ANSWERS
from .selection import Strategy, borderline_pairs, select_clusters
from .source import Mined, doc_ids, fingerprint, text_hash, texts
from .strata import SEED, allocate, audit_frame, draw

SESSION = 50  # questions
_LONGEST_NOTE = 2_000

Mode = Literal["audit", "borderline", "suspicious"]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two rows to compare; `sample` holds what an audit has to know of them."""

    left: int
    right: int
    probability: float | None
    sample: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Question:
    """One question: a pair, or a cluster whose texts are each compared with the one that stays."""

    source: str
    pairs: tuple[Pair, ...]
    reasons: tuple[str, ...] = ()

    @property
    def is_cluster(self) -> bool:
        """Whether a whole cluster is shown."""
        return self.source == "cluster"


def audit_questions(mined: Mined, size: int, seed: int = SEED) -> list[Question]:
    """Return a stratified sample of about `size` pairs, in the order to label them."""
    frame = audit_frame(mined)
    at, inclusion = draw(frame, allocate(frame, size), seed)
    name = f"{fingerprint(mined)[:12]}-{seed}-{size}"
    questions = []
    for place, share in zip(at.tolist(), inclusion.tolist(), strict=True):
        stratum = frame.names[frame.stratum[place]]
        sample = {"sample_id": name, "stratum": stratum, "inclusion_probability": share}
        pair = Pair(int(frame.left[place]), int(frame.right[place]), float(frame.probability[place]), sample)
        questions.append(Question("audit", (pair,)))
    return questions


def borderline_questions(mined: Mined, size: int) -> list[Question]:
    """Return the pairs nearest to the threshold."""
    pairs = mined.scored_pairs.where(borderline_pairs(mined, size))
    ends = zip(pairs.left.tolist(), pairs.right.tolist(), pairs.probability.tolist(), strict=True)
    return [Question("borderline", (Pair(*pair),)) for pair in ends]


def suspicious_questions(mined: Mined, size: int) -> list[Question]:
    """Return the most suspicious clusters of several texts."""
    health = examine(mined)
    questions = []
    for place in select_clusters(health, Strategy.suspicious, size).tolist():
        lines = health.members.lines(place)
        rows, probability = health.members.row[lines], health.members.probability[lines]
        _, first = np.unique(rows, return_index=True)
        head = int(rows[0])
        pairs = tuple(
            Pair(head, int(rows[i]), None if np.isnan(probability[i]) else float(probability[i]))
            for i in np.sort(first).tolist()
            if rows[i] != head
        )
        if pairs:
            questions.append(Question("cluster", pairs, tuple(health.reasons[place])))
    return questions


def make_questions(mined: Mined, mode: Mode, size: int, seed: int = SEED) -> list[Question]:
    """Return what a review asks: a stratified sample, pairs near the threshold, or suspicious clusters."""
    if mode == "audit":
        return audit_questions(mined, size, seed)
    return borderline_questions(mined, size) if mode == "borderline" else suspicious_questions(mined, size)


class Review:
    """The questions of one reviewer, in order, and the journal of the answers; safe for threads."""

    def __init__(self, mined: Mined, questions: Sequence[Question], journal: Journal, reviewer: str) -> None:
        """Begin a session with the questions that the journal has no answer to."""
        self._mined = mined
        self._journal = journal
        self._reviewer = reviewer
        self._run = fingerprint(mined)
        self._lock = threading.Lock()
        answered = {_key(row) for row in journal.rows}
        self._left = [question for question in questions if self._keys(question).isdisjoint(answered)]
        self._left.reverse()
        self._before = len(questions) - len(self._left)
        self._begin()

    def _begin(self) -> None:
        self._session = secrets.token_hex(6)
        self._answered: list[tuple[str, Question]] = []
        self._show()

    def _show(self) -> None:
        """Prepare the next question: a new number, hidden scores, a side for each text."""
        self._number = secrets.token_hex(6)
        self._revealed = False
        self._swapped = random.SystemRandom().random() < 0.5

    @property
    def _question(self) -> Question | None:
        return self._left[-1] if self._left and len(self._answered) < SESSION else None

    def state(self) -> dict[str, Any]:
        """Return what the page shows: the question without its scores, and the progress."""
        with self._lock:
            return self._state()

    def _state(self) -> dict[str, Any]:
        done, left = len(self._answered), len(self._left)
        return {
            "reviewer": self._reviewer,
            "done": done,
            "session": min(SESSION, done + left),
            "left": left,
            "before": self._before,
            "question": None if self._question is None else self._shown(self._question),
        }

    def _shown(self, question: Question) -> dict[str, Any]:
        shown: dict[str, Any] = {"number": self._number, "cluster": question.is_cluster}
        if question.is_cluster:
            rows = [question.pairs[0].left, *(pair.right for pair in question.pairs)]
        else:
            rows = [question.pairs[0].left, question.pairs[0].right]
            rows = rows[::-1] if self._swapped else rows
        shown["texts"] = texts(self._mined, self._mined.anchors[np.array(rows)])
        if self._revealed:
            shown["score"] = self._score(question)
        return shown

    def _score(self, question: Question) -> dict[str, Any]:
        """Return what is not to sway the reviewer: probabilities, cluster, and why it is suspicious."""
        labels = self._mined.row_labels
        pair = question.pairs[0]
        return {
            "probability": [pair.probability for pair in question.pairs],
            "threshold": self._mined.settings.rerank.accepts_from,
            "together": bool(labels[pair.left] == labels[pair.right]),
            "reasons": question.reasons,
        }

    def reveal(self, number: str) -> dict[str, Any]:
        """Show the scores of the current question; its labels remember that."""
        with self._lock:
            self._require(number)
            self._revealed = True
            return self._state()

    def answer(
        self, number: str, answers: Sequence[str], *, seconds: float = 0.0, note: str = ""
    ) -> dict[str, Any]:
        """Write an answer for each pair of the current question to the disk, and go on to the next.

        Raises:
            InputError: it is not the current question, or an answer is none.
            OutputError: it could not be written; the question stays.
        """
        with self._lock:
            question = self._require(number)
            if len(answers) != len(question.pairs) or not set(answers) <= set(ANSWERS):
                raise InputError(
                    f"expected {len(question.pairs)} of {', '.join(ANSWERS)}, found {answers!r:.80}"
                )
            rows = self._rows(question, answers, max(float(seconds), 0.0), _plain(note))
            name = self._journal.add(rows)
            self._answered.append((name, self._left.pop()))
            self._show()
            return self._state()

    def undo(self) -> dict[str, Any]:
        """Take back the last answer of this session, and ask again.

        Raises:
            InputError: nothing was answered in this session.
        """
        with self._lock:
            if not self._answered:
                raise InputError("nothing was answered in this session")
            name, question = self._answered[-1]
            self._journal.undo(name)
            self._answered.pop()
            self._left.append(question)
            self._show()
            return self._state()

    def new_session(self) -> dict[str, Any]:
        """Begin the next session; the answers of the last one stand."""
        with self._lock:
            self._before += len(self._answered)
            self._begin()
            return self._state()

    def _require(self, number: str) -> Question:
        if self._question is None or number != self._number:
            raise InputError("this is not the current question any more: reload the page")
        return self._question

    def _rows(self, question: Question, answers: Sequence[str], seconds: float, note: str) -> list[Row]:
        shared = {
            "reviewer": self._reviewer,
            "decided_at": datetime.now(UTC).isoformat(),
            "session": self._session,
            "seconds": seconds,
            "note": note,
            "revealed_score": self._revealed,
            "source": question.source,
            "threshold_then": self._mined.settings.rerank.accepts_from,
            "run": self._run,
        }
        return [
            self._names(pair)
            | {"label": answer, "probability_then": pair.probability}
            | shared
            | {**pair.sample}
            for pair, answer in zip(question.pairs, answers, strict=True)
        ]

    def _names(self, pair: Pair) -> Row:
        at: Rows = self._mined.anchors[np.array([pair.left, pair.right])]
        (left, right), (a, b) = doc_ids(self._mined, at), texts(self._mined, at)
        return {"left_id": left, "right_id": right, "left_hash": text_hash(a), "right_hash": text_hash(b)}

    def _keys(self, question: Question) -> set[tuple[str, str, bool]]:
        return {
            _key(self._names(pair) | {"source": question.source, "run": self._run}) for pair in question.pairs
        }


def _plain(note: str) -> str:
    """Return a note that UTF-8 can hold: half a surrogate pair becomes a question mark."""
    return note[:_LONGEST_NOTE].encode("utf-8", "replace").decode()


def _key(row: Mapping[str, Any]) -> tuple[str, str, bool]:
    """Name what was asked: an audit asks again what was asked for another reason."""
    left, right = sorted((row["left_hash"], row["right_hash"]))
    audited = row["source"] == "audit"
    return left, f"{right} {row['run'] if audited else ''}", audited
