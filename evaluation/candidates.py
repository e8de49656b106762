"""The candidate pairs of a run, and what stages 1 and 2 made of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..schema import EXACT, Flags, Floats, Rows, find_keys, pair_keys
from .metrics import pair_metrics

DEPTHS = (1, 5, 10, 20, 50)

_NOT_FOUND = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class RunCandidates:
    """The candidates of a run between its texts, each text named by one of its documents.

    `text_of` is the position of the document that names each document's text, `(n_documents,)`. `key`,
    sorted, identifies a candidate. `rank` is the better of its ranks by cosine among the candidates of
    either text, from 1. `accepted` says whether stage 2 accepted it.
    """

    documents: pd.Index
    text_of: Rows
    key: Rows
    rank: Rows
    accepted: Flags

    @classmethod
    def build(cls, documents: pd.Index, pairs: pd.DataFrame, floor: float) -> RunCandidates:
        """Read the candidates from `pairs.parquet`; those below `floor` are additions of the clustering."""
        left, right = (documents.get_indexer(pd.Index(pairs[name])) for name in ("left_id", "right_id"))
        exact = (pairs["decided_by"] == EXACT).to_numpy(bool)
        text_of = np.arange(len(documents))
        text_of[right[exact]] = left[exact]
        cosine = pairs["cosine"].to_numpy(np.float32)
        listed = ~exact & (cosine >= floor)
        a, b = left[listed], right[listed]
        rank = _ranks(a, b, cosine[listed]).min(axis=0)
        key = pair_keys(a, b, len(documents))
        order = np.argsort(key)
        accepted = pairs["is_duplicate"].to_numpy(bool)[listed]
        return cls(documents, text_of, key[order], rank[order], accepted[order])

    def positions(self, ids: Iterable[str]) -> Rows:
        """Return the positions of documents, all of which must be in the run."""
        return np.asarray(self.documents.get_indexer(pd.Index(ids)), np.int64)

    def gold_pairs(self, ids: pd.Series[str], clusters: pd.Series[str]) -> tuple[Rows, Rows, Flags]:
        """Return the pairs of distinct texts that share a gold cluster or that stage 2 accepted.

        The flags are True for pairs that share a gold cluster.
        """
        gold = pd.DataFrame({"text": self.text_of[self.positions(ids)], "cluster": clusters.to_numpy()})
        gold = gold.drop_duplicates("text")
        both = gold.merge(gold, on="cluster")
        both = both[both["text_x"] < both["text_y"]]
        n = len(self.documents)
        same = (both["text_x"] * n + both["text_y"]).to_numpy()
        labelled = np.isin(np.arange(n), gold["text"])
        accepted = self.key[self.accepted]
        accepted = accepted[labelled[accepted // n] & labelled[accepted % n]]
        keys = np.union1d(same, accepted)
        return keys // n, keys % n, np.isin(keys, same)

    def evaluate(self, left: Rows, right: Rows, actual: Flags) -> dict[str, dict[str, float]]:
        """Evaluate the accepted pairs, and the recall of the candidates, on labelled pairs of documents.

        Documents with the same text count as accepted candidates of rank 0.
        """
        a, b = self.text_of[left], self.text_of[right]
        at = find_keys(self.key, pair_keys(a, b, len(self.documents)))
        listed = at >= 0
        accepted, rank = a == b, np.where(a == b, 0, _NOT_FOUND)
        accepted[listed] |= self.accepted[at[listed]]
        rank[listed] = self.rank[at[listed]]
        duplicate_ranks = rank[actual]
        n_duplicates = max(len(duplicate_ranks), 1)
        recall = {f"recall@{k}": float((duplicate_ranks <= k).sum() / n_duplicates) for k in DEPTHS}
        recall["recall"] = float((duplicate_ranks < _NOT_FOUND).sum() / n_duplicates)
        return {"accepted": pair_metrics(accepted, actual), "candidates": recall}


def _ranks(left: Rows, right: Rows, cosine: Floats) -> Rows:
    """Return the rank, from 1, of each pair among those of its left text and of its right text, `(2, n)`."""
    ends = {"text": np.append(left, right), "other": np.append(right, left), "cosine": np.tile(-cosine, 2)}
    ordered = pd.DataFrame(ends).sort_values(["text", "cosine", "other"])
    ranks = ordered.groupby("text").cumcount().sort_index() + 1
    return np.asarray(ranks, np.int64).reshape(2, -1)
