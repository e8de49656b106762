"""The data between the stages, and the columns of the tables that a run writes.

`row` is a position among the unique texts, `doc_id` an id of the user. A score is named by its kind
(`cosine`, `logit`, `probability`); higher is always closer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

DOC_ID = "doc_id"
TEXT = "text"
POSITION = "dupmine_position"

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file a corpus was read from; `guessed` has what no setting said, as its delimiter or encoding."""

    path: str
    format: str
    documents: int
    sha256: str
    guessed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Corpus:
    """The user's documents.

    `documents` has `doc_id` (string, unique), `text` (string, no nulls) and then every column of the user
    under its own name and type, in input order. `text_column` and `id_column` are the columns of the user
    that those two come from; `id_column` is None if ids are `file:row`. `counts` holds what reading replaced,
    dropped or guessed. `labels` is the pandas index whose labels are the ids, None if they come from
    elsewhere.
    """

    documents: pa.Table
    text_column: str
    id_column: str | None
    files: tuple[InputFile, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)
    labels: Any = None


@dataclass(frozen=True, slots=True)
class UniqueTexts:
    """One row per distinct normalised text.

    `texts[row]` is the text that the models read; `row_of[i]` is the row of document i, -1 if its text is
    empty. Rows are sorted by normalised text, so they do not depend on the order of the input.
    """

    texts: list[str]
    row_of: Rows

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.texts)


@dataclass(frozen=True, slots=True)
class TokenStore:
    """Token ids of all rows, without special tokens.

    Row r has `ids[offsets[r] : offsets[r + 1]]` (`ids int32[total]`, `offsets int64[n + 1]`); `truncated`
    counts the rows that were cut.
    """

    ids: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    truncated: int

    @property
    def lengths(self) -> Rows:
        """Tokens per row."""
        return np.diff(self.offsets)

    def take(self, rows: Rows) -> TokenStore:
        """Return the tokens of some rows, in their order."""
        lengths = self.lengths[rows]
        ids = self.ids[ranges(self.offsets[rows], lengths)]
        return TokenStore(ids, np.concatenate([[0], np.cumsum(lengths)]), 0)

    @classmethod
    def concatenate(cls, first: TokenStore, second: TokenStore) -> TokenStore:
        """Append the rows of `second` to those of `first`."""
        offsets = np.concatenate([first.offsets, first.offsets[-1] + second.offsets[1:]])
        truncated = first.truncated + second.truncated
        return cls(np.concatenate([first.ids, second.ids]), offsets, truncated)


@dataclass(frozen=True, slots=True)
class CandidatePairs:
    """Unordered pairs of rows, each once, `left < right`, sorted by (left, right)."""

    left: Rows
    right: Rows
    cosine: Floats

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.left)

    def where(self, mask: npt.NDArray[np.bool_] | Rows) -> Self:
        """Return the pairs that a mask selects, or those at some positions, in their order."""
        return replace(self, **{column.name: getattr(self, column.name)[mask] for column in fields(self)})

    def positions(self, left: Rows, right: Rows) -> Rows:
        """Return the positions of pairs of rows, in either order, among these; -1 if a pair is not there."""
        n_rows = 1 + max(int(rows.max(initial=0)) for rows in (self.right, left, right))
        keys = np.where((left >= 0) & (right >= 0), pair_keys(left, right, n_rows), -1)
        return find_keys(pair_keys(self.left, self.right, n_rows), keys)


# A store holds positions in this tuple: add a new step at the end.
EXACT, CROSS_ENCODER, CORPUS, BANDS, UNREAD = DECIDERS = (
    "exact",
    "cross-encoder",
    "corpus",
    "bands",
    "unread",
)


@dataclass(frozen=True, slots=True)
class ScoredPairs(CandidatePairs):
    """Candidate pairs with the scores of stage 2: `probability` is the logistic of `logit`.

    `pair_logit` considers the pair alone: it comes from the cross-encoder, or from the bands if they decided
    the pair; `scored_by` names the step. The corpus-aware decision replaces `logit` and keeps `pair_logit`,
    except where the models did not see what tells the texts apart.
    `decided_by` and `scored_by` are positions in `DECIDERS`, `(n_pairs,) int8`.
    """

    logit: Floats
    probability: Floats
    pair_logit: Floats
    decided_by: npt.NDArray[np.int8]
    scored_by: npt.NDArray[np.int8]

    @property
    def pair_probability(self) -> Floats:
        """The probability by the pair alone, before the corpus-aware decision, `(n_pairs,)`."""
        undecided = self.pair_logit == self.logit
        return np.where(undecided, self.probability, probabilities(self.pair_logit))

    @classmethod
    def from_logits(
        cls,
        left: Rows,
        right: Rows,
        cosine: Floats,
        logit: Floats,
        scored_by: npt.NDArray[np.int8] | None = None,
    ) -> ScoredPairs:
        """Return pairs with these logits, by the cross-encoder unless `scored_by` names another step."""
        if scored_by is None:
            scored_by = np.full(len(left), DECIDERS.index(CROSS_ENCODER), np.int8)
        return cls(left, right, cosine, logit, probabilities(logit), logit, scored_by, scored_by)

    @classmethod
    def none(cls) -> ScoredPairs:
        """Return no pairs."""
        rows, scores = np.empty(0, np.int64), np.empty(0, np.float32)
        return cls.from_logits(rows, rows, scores, scores)

    @classmethod
    def concatenate(cls, *parts: ScoredPairs) -> ScoredPairs:
        """Join disjoint sets of pairs into one, sorted by (left, right)."""
        columns = [np.concatenate([getattr(part, column.name) for part in parts]) for column in fields(cls)]
        order = np.lexsort((columns[1], columns[0]))
        return cls(*(column[order] for column in columns))

    def decided(self, logit: Floats) -> ScoredPairs:
        """Return the pairs with the logits of the corpus-aware decision."""
        unread = self.scored_by == DECIDERS.index(UNREAD)
        logit = np.where(unread, self.pair_logit, logit)
        by = np.where(unread, self.scored_by, DECIDERS.index(CORPUS)).astype(np.int8)
        return replace(self, logit=logit, probability=probabilities(logit), decided_by=by)


@dataclass(frozen=True, slots=True)
class LabelledPairs:
    """Pairs of texts with labels by people.

    `label` is `(n_pairs,) float32`, from 0 (different) to 1 (the same); the ids are those of the texts where
    the file has them. `source` names the file in messages.
    """

    left: list[str]
    right: list[str]
    label: Floats
    left_id: list[str] | None = None
    right_id: list[str] | None = None
    source: str = "the pairs"

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.label)

    @property
    def is_binary(self) -> bool:
        """Whether every label is 0 or 1."""
        return bool(np.isin(self.label, (0.0, 1.0)).all())

    def take(self, rows: npt.NDArray[np.bool_] | Rows) -> LabelledPairs:
        """Return the pairs that a mask selects, or those at some positions, in their order."""
        at = np.arange(len(self))[rows]
        picked = [
            None if column is None else [column[i] for i in at]
            for column in (self.left, self.right, self.left_id, self.right_id)
        ]
        left, right, left_id, right_id = picked
        return LabelledPairs(left or [], right or [], self.label[at], left_id, right_id, self.source)

    @classmethod
    def concatenate(cls, parts: Sequence[LabelledPairs], *, source: str) -> LabelledPairs:
        """Concatenate sets of pairs; ids are kept if all have them."""
        named = all(part.left_id is not None for part in parts)
        return cls(
            left=[text for part in parts for text in part.left],
            right=[text for part in parts for text in part.right],
            label=np.concatenate([part.label for part in parts]),
            left_id=[i for part in parts for i in part.left_id or ()] if named else None,
            right_id=[i for part in parts for i in part.right_id or ()] if named else None,
            source=source,
        )


def ranges(starts: Rows, lengths: Rows) -> Rows:
    """Concatenate the ranges `starts[i] … starts[i] + lengths[i] - 1`."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))


def pair_keys(left: Rows, right: Rows, n_rows: int) -> Rows:
    """Number pairs of rows, in either order, as they are sorted."""
    return np.minimum(left, right) * n_rows + np.maximum(left, right)


def find_keys(keys: Rows, queries: Rows) -> Rows:
    """Return the position of each queried key among `keys`, which ascend; -1 if it is not there."""
    if not len(keys):
        return np.full(len(queries), -1)
    at = np.minimum(np.searchsorted(keys, queries), len(keys) - 1)
    return np.where(keys[at] == queries, at, -1)


def probabilities(logits: npt.NDArray[np.floating[Any]]) -> Floats:
    """Return the logistic function of `logits`."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * logits.astype(np.float64))), np.float32)


def id_ranks(documents: pa.Table) -> Rows:
    """Rank the documents by the length of their id, then by the id: the order that decides ties."""
    ids = documents[DOC_ID]
    table = pa.table({"length": pc.utf8_length(ids), "id": ids})
    order = pc.sort_indices(table, sort_keys=[("length", "ascending"), ("id", "ascending")]).to_numpy()
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.arange(len(order))
    return ranks


def described(name: str, kind: pa.DataType, description: str, *, nullable: bool = False) -> pa.Field:
    """Return a column that carries its description."""
    return pa.field(name, kind, nullable=nullable, metadata={"description": description})


CLUSTERS = pa.schema(
    [
        described("cluster_id", pa.int64(), "number of the cluster, from 0, in order of its first text"),
        described("doc_id", pa.string(), "the document's id"),
        described("text", pa.string(), "the document's text"),
        described("is_representative", pa.bool_(), "whether this document stands for its cluster"),
        described("cluster_size", pa.int64(), "documents in the cluster"),
        described(
            "probability",
            pa.float32(),
            "probability that the document and the representative are duplicates, 0 to 1; "
            "null where it is not known (only after a new threshold)",
            nullable=True,
        ),
        described(
            "weakest_link",
            pa.float32(),
            "lowest probability on the strongest paths that connect the cluster, 0 to 1",
        ),
    ]
)

PAIRS = pa.schema(
    [
        described("left_id", pa.string(), "doc_id of one document"),
        described("right_id", pa.string(), "doc_id of the other document"),
        described("cosine", pa.float32(), "bi-encoder's cosine similarity, -1 to 1"),
        described("probability", pa.float32(), "probability that the two are duplicates, 0 to 1"),
        described("is_duplicate", pa.bool_(), "whether the pair was accepted"),
        described(
            "decided_by",
            pa.string(),
            "exact: equal normalised texts; bands: the first step of the cascade; unread: refused, as the "
            "models do not see what tells the texts apart; cross-encoder: its probability; corpus: the "
            "decision that looks at the neighbours too",
        ),
        described(
            "pair_probability",
            pa.float32(),
            "probability by the pair alone, before the corpus-aware decision, 0 to 1",
        ),
        described(
            "scored_by",
            pa.string(),
            "which step computed `pair_probability`: cross-encoder, bands, unread or exact",
        ),
    ]
)

LINKS = pa.schema(
    [
        described("new_id", pa.string(), "doc_id of the new document"),
        described("reference_id", pa.string(), "doc_id of the reference document"),
        described("rank", pa.int64(), "place among the matches of the new document, from 1, best first"),
        described("cosine", pa.float32(), "bi-encoder's cosine similarity, -1 to 1"),
        described("probability", pa.float32(), "probability that the two are duplicates, 0 to 1"),
        described("is_duplicate", pa.bool_(), "whether the probability reached the threshold"),
        described("decided_by", pa.string(), "exact, bands, unread or cross-encoder, as in `PAIRS`"),
    ]
)
