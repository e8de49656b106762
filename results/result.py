"""What a run found, to look at, cluster anew, save and load."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..clustering import choose_representatives, cluster_pairs, weakest_links
from ..clustering.paths import strongest_path
from ..corpus.unique import collapse_exact_duplicates
from ..errors import InputError, ModelError
from ..inference.locate import load_tokenizer, locate_model
from ..inference.tokens import tokenise
from ..progress import SILENT
from ..schema import (
    CORPUS,
    CROSS_ENCODER,
    DECIDERS,
    DOC_ID,
    EXACT,
    POSITION,
    TEXT,
    Corpus,
    Floats,
    Rows,
    ScoredPairs,
    id_ranks,
    pair_keys,
    probabilities,
)
from ..settings import MiningSettings, load_settings
from .explanation import Explanation
from .run_folder import open_run, read_run, write_run
from .tables import clusters_table, pairs_table, read_pairs, row_anchors

if TYPE_CHECKING:
    import pandas as pd

# What running the models counted; a new threshold runs none.
_MODEL_COUNTS = ("pairs_scored", "pairs_left_unseen")


class MiningResult:
    """The clusters of a corpus and every pair that was scored.

    `clusters_table`, `pairs_table`, `deduplicated_table` and `removed_table` are Arrow tables (the
    contract is in docs/output.md); `clusters`, `pairs` and `deduplicated()` are the same as pandas frames.
    """

    def __init__(
        self,
        corpus: Corpus,
        row_of: Rows,
        pairs: ScoredPairs,
        clusters: pa.Table,
        settings: MiningSettings,
        manifest: dict[str, Any],
    ) -> None:
        """Hold a result; `build`, `load` and `dupmine.mine` make them."""
        self.corpus = corpus
        self.row_of = row_of
        self.scored_pairs = pairs
        self.clusters_table = clusters
        self.settings = settings
        self.manifest = manifest

    @classmethod
    def build(  # noqa: PLR0913 - the parts of a result, each named at the call
        cls,
        *,
        corpus: Corpus,
        row_of: Rows,
        pairs: ScoredPairs,
        labels: Rows,
        settings: MiningSettings,
        manifest: dict[str, Any],
        score_rows: Callable[[Rows, Rows], ScoredPairs] | None = None,
    ) -> MiningResult:
        """Make the tables of a partition of the rows; `labels` is `(n_rows,)`.

        With `score_rows` the pairs of members and representatives that are not known are scored.
        """
        documents = corpus.documents
        chosen = choose_representatives(labels, row_of, documents, pairs, settings=settings.clustering)
        probability = _to_representative(row_of, chosen, pairs, score_rows)
        filled = row_of >= 0
        of_document = len(weakest := weakest_links(labels, pairs)) + np.cumsum(~filled) - 1
        of_document[filled] = labels[row_of[filled]]
        weakest = np.append(weakest, np.ones(int((~filled).sum()), np.float32))
        table = clusters_table(
            documents, of_document, chosen, probability, weakest, singletons=settings.output.singletons
        )
        result = cls(corpus, row_of, pairs, table, settings, manifest)
        manifest["counts"].update(result._counts(of_document))
        return result

    @cached_property
    def pairs_table(self) -> pa.Table:
        """Every scored pair and every exact duplicate."""
        threshold = self.settings.rerank.accepts_from
        return pairs_table(self.corpus.documents, self.row_of, self.scored_pairs, threshold)

    @cached_property
    def _removed(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        gone = self.clusters_table.filter(pc.invert(self.clusters_table["is_representative"]))[DOC_ID]
        mask = pc.is_in(self.corpus.documents[DOC_ID], value_set=gone.combine_chunks())
        return np.asarray(mask.to_numpy(), bool)

    @property
    def deduplicated_table(self) -> pa.Table:
        """The documents that stay: representatives and documents without a duplicate, in input order."""
        return self.corpus.documents.filter(pa.array(~self._removed))

    @property
    def removed_table(self) -> pa.Table:
        """The documents that `deduplicated_table` leaves out, and their positions in the input."""
        gone = self.corpus.documents.filter(pa.array(self._removed))
        return gone.append_column(POSITION, pa.array(np.flatnonzero(self._removed)))

    @cached_property
    def clusters(self) -> pd.DataFrame:
        """The clusters, one line per document."""
        return _frame(self.clusters_table)

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """Every scored pair and every exact duplicate."""
        return _frame(self.pairs_table)

    def deduplicated(self) -> pd.DataFrame:
        """Return the documents that stay, with all their columns."""
        return _frame(self.deduplicated_table)

    def duplicates_of(self, doc_id: object) -> pd.DataFrame:
        """Return the other members of a document's cluster, with the probability of each pair if known.

        Raises:
            InputError: there is no such document.
        """
        row = int(self.row_of[self._position(doc_id)])
        frame = self.clusters
        cluster = frame.loc[frame[DOC_ID] == str(doc_id), "cluster_id"]
        others = frame[frame["cluster_id"].isin(cluster) & (frame[DOC_ID] != str(doc_id))]
        rows = [int(self.row_of[self._position(other)]) for other in others[DOC_ID]]
        found = [self._scores([row, other])[1] for other in rows]
        return others.assign(probability=np.array(found, np.float64)).sort_values(
            "probability", ascending=False, kind="stable"
        )

    def explain(self, left: object, right: object) -> Explanation:
        """Tell how a pair of documents was decided.

        Raises:
            InputError: there is no such document.
        """
        ends = (self._position(left), self._position(right))
        texts = [self.corpus.documents[TEXT][end].as_py() for end in ends]
        rows = [int(self.row_of[end]) for end in ends]
        path = self._path(rows) if min(rows) >= 0 else None
        cosine, probability, decided_by = self._scores(rows)
        at = self._pair_at(rows) if decided_by == CORPUS else None
        return Explanation(
            left_id=str(left),
            right_id=str(right),
            left_text=texts[0],
            right_text=texts[1],
            same_cluster=ends[0] == ends[1] or path is not None,
            decided_by=decided_by,
            cosine=cosine,
            probability=probability,
            path=path or (),
            pair_probability=None if at is None else float(probabilities(self.scored_pairs.pair_logit[at])),
            scored_by=CROSS_ENCODER if at is None else DECIDERS[self.scored_pairs.scored_by[at]],
            shares=() if at is None else self._shares(at, texts),
        )

    def _scores(self, rows: list[int]) -> tuple[float | None, float | None, str]:
        if min(rows) < 0:
            return None, None, "an empty text is compared with nothing"
        if rows[0] == rows[1]:
            return 1.0, 1.0, EXACT
        pairs, at = self.scored_pairs, self._pair_at(rows)
        if at is None:
            probability = self._to_representatives.get((min(rows), max(rows)))
            if probability is None:
                return None, None, "the bi-encoder did not propose the pair"
            return None, probability, CROSS_ENCODER
        return float(pairs.cosine[at]), float(pairs.probability[at]), DECIDERS[pairs.decided_by[at]]

    def _pair_at(self, rows: list[int]) -> int | None:
        """Return the position of a scored pair of rows, None where it was not scored."""
        [at] = self.scored_pairs.positions(np.array(rows[:1]), np.array(rows[1:])).tolist()
        return None if at < 0 else int(at)

    def _shares(self, at: int, texts: list[str]) -> tuple[tuple[str, float | None, float], ...]:
        """Return what each feature added to the corpus-aware decision of a pair, the weightiest first.

        Nothing where the model that decided is not there any more.
        """
        from ..rerank.decision import load_decision

        rerank, known = self.settings.rerank, self.manifest["models"]["decision"]["sha256"]
        try:
            folder = locate_model(rerank.cross_encoder)
            decision = load_decision(folder)
            tokenizer = load_tokenizer(folder)
        except ModelError:
            return ()
        if decision is None or decision.sha256 != known:
            return ()
        tokens = tokenise(texts, tokenizer, max_tokens=self.settings.corpus.max_tokens, progress=SILENT)
        n_rows = int(self.row_of.max(initial=-1)) + 1
        shares = decision.shares(self.scored_pairs, n_rows, at, tokens)
        ordered = sorted(shares.items(), key=lambda item: -abs(item[1][1]))
        return tuple((name, value, share) for name, (value, share) in ordered)

    def _path(self, rows: list[int]) -> tuple[tuple[str, str, float], ...] | None:
        """Return the strongest path between two rows inside one cluster, None across clusters."""
        labels = self.row_labels
        if labels[rows[0]] != labels[rows[1]]:
            return None
        pairs = self.scored_pairs
        members = labels == labels[rows[0]]
        steps = strongest_path(pairs.where(members[pairs.left] & members[pairs.right]), *rows)
        ids = self.corpus.documents[DOC_ID]
        names = [ids[int(self._anchors[row])].as_py() for row in steps.rows]
        return tuple(zip(names[:-1], names[1:], steps.probability, strict=True))

    @cached_property
    def _to_representatives(self) -> dict[tuple[int, int], float]:
        """The probabilities in the clusters table by the two rows, the lower one first."""
        table = self.clusters_table
        rows = self.row_of[self._positions(table[DOC_ID])].tolist()
        columns = [table[name].to_pylist() for name in ("cluster_id", "is_representative", "probability")]
        heads = {cluster: row for row, cluster, is_head, _ in zip(rows, *columns, strict=True) if is_head}
        return {
            (min(row, heads[cluster]), max(row, heads[cluster])): probability
            for row, cluster, _, probability in zip(rows, *columns, strict=True)
            if probability is not None
        }

    @cached_property
    def _anchors(self) -> Rows:
        return row_anchors(self.row_of, id_ranks(self.corpus.documents))

    @cached_property
    def row_labels(self) -> Rows:
        """The cluster of each row; rows without one have a number of their own."""
        clusters = self.clusters_table
        labels = clusters["cluster_id"].to_numpy()
        by_document = labels.max(initial=-1) + 1 + np.arange(len(self.row_of))
        by_document[self._positions(clusters[DOC_ID])] = labels
        return np.asarray(by_document[self._anchors], np.int64)

    def _positions(self, doc_ids: pa.ChunkedArray) -> Rows:
        known = self.corpus.documents[DOC_ID].combine_chunks()
        return np.asarray(pc.index_in(doc_ids, known).to_numpy(), np.int64)

    def _position(self, doc_id: object) -> int:
        position = pc.index(self.corpus.documents[DOC_ID], str(doc_id)).as_py()
        if position < 0:
            raise InputError(f"there is no document with the id {str(doc_id)!r}")
        return int(position)

    def rethreshold(self, threshold: float) -> MiningResult:
        """Cluster anew with another threshold, up or down, from the known probabilities; no model runs.

        Raises:
            SettingsError: the threshold is not between 0 and 1.
        """
        settings = self.settings.changed({"rerank.threshold": threshold})
        partition = cluster_pairs(
            int(self.row_of.max(initial=-1)) + 1,
            self.scored_pairs,
            threshold=settings.rerank.accepts_from,
            settings=settings.clustering,
        )
        known = self.manifest["counts"]
        counts = known | partition.counts | {name: known[name] for name in _MODEL_COUNTS if name in known}
        return MiningResult.build(
            corpus=self.corpus,
            row_of=self.row_of,
            pairs=self.scored_pairs,
            labels=partition.labels,
            settings=settings,
            manifest=self.manifest | {"counts": counts, "settings": settings.model_dump()},
        )

    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write the tables and the manifest to a folder, whole or not at all.

        Raises:
            OutputError: the folder exists, or cannot be written.
        """
        with open_run(Path(folder), overwrite=overwrite) as run:
            self.write(run.staging)

    def write(self, staging: Path) -> None:
        """Write the tables and the manifest into a folder from `open_run`."""
        tables = {
            "clusters": self.clusters_table,
            "pairs": self.pairs_table,
            "deduplicated": self.deduplicated_table,
            "removed": self.removed_table,
        }
        write_run(staging, tables, self.manifest)

    @classmethod
    def load(cls, folder: str | Path) -> MiningResult:
        """Load a result from the folder of a run.

        Raises:
            InputError: the folder is no run, or a file of it is missing or broken.
        """
        tables, manifest = read_run(Path(folder))
        kept, gone = tables["deduplicated"], tables["removed"]
        last = gone.num_columns - 1
        positions = gone.column(last).to_numpy()
        documents = pa.concat_tables([kept, gone.remove_column(last)])
        stays = np.setdiff1d(np.arange(len(documents)), positions)
        documents = documents.take(np.argsort(np.concatenate([stays, positions])))
        unique = collapse_exact_duplicates(documents[TEXT])
        pairs = read_pairs(tables["pairs"], documents, unique.row_of)
        columns = manifest["columns"]
        corpus = Corpus(documents, columns["text"], columns["id"])
        settings = load_settings(overrides=manifest["settings"])
        return cls(corpus, unique.row_of, pairs, tables["clusters"], settings, manifest)

    def _counts(self, labels: Rows) -> dict[str, int]:
        sizes = np.bincount(labels)
        rows = self.row_of[self.row_of >= 0]
        return {
            "accepted_pairs": int((self.scored_pairs.probability >= self.settings.rerank.accepts_from).sum()),
            "exact_duplicates": len(rows) - int(rows.max(initial=-1)) - 1,
            "clusters": int((sizes > 1).sum()),
            "clustered_documents": int(sizes[sizes > 1].sum()),
            "removed_documents": int((sizes[sizes > 1] - 1).sum()),
            "largest_cluster": int(sizes.max(initial=0)),
        }

    def __repr__(self) -> str:
        """Return the size of the result in a line."""
        counts = self.manifest["counts"]
        return (
            f"MiningResult({counts['documents']:,} documents, {counts['clusters']:,} clusters, "
            f"{counts['removed_documents']:,} documents that could go, "
            f"threshold {self.settings.rerank.accepts_from:g})"
        )


def _frame(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas()
    return frame


def _to_representative(
    row_of: Rows,
    chosen: Rows,
    pairs: ScoredPairs,
    score_rows: Callable[[Rows, Rows], ScoredPairs] | None,
) -> Floats:
    """Return the probability of each document and its representative, NaN where it is not known."""
    own, other = row_of, row_of[chosen]
    probability = np.ones(len(own), np.float32)
    differ = np.flatnonzero(own != other)
    n_rows = int(row_of.max(initial=0)) + 1
    keys = pair_keys(own[differ], other[differ], n_rows)
    distinct, place = np.unique(keys, return_inverse=True)
    left, right = distinct // n_rows, distinct % n_rows
    known = np.append(pairs.probability, np.float32(np.nan))[pairs.positions(left, right)]
    missing = np.isnan(known)
    if score_rows is not None and missing.any():
        known[missing] = score_rows(left[missing], right[missing]).probability
    probability[differ] = known[place]
    return probability
