"""Queries to a store: the bi-encoder finds the nearest texts, the cross-encoder ranks them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa

from ..corpus.unique import normalised_key
from ..pipeline import NEAREST, Models, tokenise_texts
from ..progress import SILENT, Progress
from ..retrieval.candidates import pair_cosines
from ..retrieval.index import Index, flat_index
from ..schema import DOC_ID, TEXT, Floats, Rows, TokenStore, probabilities
from ..settings import MiningSettings
from .snapshot import Snapshot

_BLOCK = 256  # query texts per batch
ANSWERS = pa.schema(
    [
        pa.field("query", pa.int64()),
        pa.field("rank", pa.int64()),
        pa.field(DOC_ID, pa.string()),
        pa.field(TEXT, pa.string()),
        pa.field("cosine", pa.float32()),
        pa.field("probability", pa.float32()),
        pa.field("cluster_id", pa.int64()),
        pa.field("is_duplicate", pa.bool_()),
    ]
)


class QueryIndex:
    """An index over the live texts of a generation. Of documents with equal texts the first one answers."""

    def __init__(self, snapshot: Snapshot, settings: MiningSettings, models: Models) -> None:
        """Read the vectors of the live texts into memory."""
        self._snapshot = snapshot
        self._settings = settings
        self._models = models
        text_numbers = snapshot.state["text"].to_numpy()
        self._numbers, self._document = np.unique(text_numbers, return_index=True)
        if len(self._numbers) and self._numbers[0] < 0:
            self._numbers, self._document = self._numbers[1:], self._document[1:]
        self._vectors = snapshot.texts.vectors(self._numbers, models.encoder.dim)

    @cached_property
    def _index(self) -> Index:
        index = flat_index(self._models.encoder.dim, self._models.compute.device)
        index.add(self._vectors)
        return index

    def search(self, texts: Sequence[str], top: int, progress: Progress = SILENT) -> pa.Table:
        """Return the `top` best answers to each text, best first; schema `ANSWERS`.

        The 100 nearest texts by cosine are ranked by the sum of probability and cosine: the cross-encoder
        alone may put an unrelated text above one with nearly the same words. An equal text has probability
        1, an empty one no answer.
        """
        filled = np.array([i for i, text in enumerate(texts) if normalised_key(text)], np.int64)
        parts = [ANSWERS.empty_table()]
        for start in range(0, len(filled) if len(self._numbers) else 0, _BLOCK):
            batch = filled[start : start + _BLOCK]
            part = self._search_batch([texts[i] for i in batch], top, progress)
            parts.append(part.set_column(0, ANSWERS.field(0), pa.array(batch[part["query"].to_numpy()])))
        return pa.concat_tables(parts)

    def _search_batch(self, texts: list[str], top: int, progress: Progress) -> pa.Table:
        tokens, pair_tokens = tokenise_texts(texts, self._settings, self._models, progress)
        vectors = self._models.encoder.encode(texts, tokens, progress, fill=False)
        near = min(max(NEAREST, top), len(self._numbers))
        _, nearest = self._index.nearest(vectors, near)
        query, position = np.repeat(np.arange(len(texts)), near), nearest.ravel()
        probability = self._probabilities(texts, pair_tokens, query, position, progress)
        cosine = pair_cosines(
            np.concatenate([vectors, self._vectors[position]]), query, len(texts) + np.arange(len(position))
        )
        order = np.lexsort((position, -(cosine + probability), query))
        rank = np.arange(len(order)) % near
        order, rank = order[rank < top], rank[rank < top]
        return self._answers(query[order], rank + 1, position[order], cosine[order], probability[order])

    def _probabilities(
        self, texts: list[str], tokens: TokenStore, query: Rows, position: Rows, progress: Progress
    ) -> Floats:
        """Score each query with its neighbours; as in mining, pairs are in the order of normalised texts."""
        used, row = np.unique(position, return_inverse=True)
        both = TokenStore.concatenate(tokens, self._snapshot.texts.tokens.take(self._numbers[used]))
        neighbours = self._snapshot.texts.texts.take(self._numbers[used]).to_pylist()
        keys = np.array([normalised_key(text) for text in (*texts, *neighbours)], object)
        row = row + len(texts)
        first = keys[query] <= keys[row]
        left, right = np.where(first, query, row), np.where(first, row, query)
        logits = self._models.scorer.score(both, left, right, progress, fill=False)
        probability = probabilities(logits)
        probability[keys[query] == keys[row]] = 1.0
        return probability

    def _answers(
        self, query: Rows, rank: Rows, position: Rows, cosine: Floats, probability: Floats
    ) -> pa.Table:
        document = self._document[position]
        clusters = self._snapshot.state["cluster_id"].take(document)
        documents = self._snapshot.documents.select([DOC_ID, TEXT]).take(document)
        duplicate = probability >= self._settings.rerank.accepts_from
        columns = [query, rank, documents[DOC_ID], documents[TEXT], cosine, probability, clusters, duplicate]
        return pa.table(columns, schema=ANSWERS)
