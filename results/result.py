"""The result of a run: tables and frames to look at, another threshold, saving and loading."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..clustering import choose_representatives, cluster_pairs, weakest_links
from ..corpus.ids import id_text
from ..corpus.unique import collapse_exact_duplicates, find_rows, texts_of_rows
from ..disk.files import output_errors
from ..disk.folder import require_outside_store
from ..errors import InputError, needs_extra, speaks_python
from ..schema import DOC_ID, POSITION, TEXT, Corpus, Flags, Floats, Rows, ScoredPairs, id_ranks, pair_keys
from ..settings import MiningSettings, load_settings
from .explanation import Explainer, Explanation
from .run_folder import open_run, read_run, write_run
from .tables import clusters_table, pairs_table, read_pairs, row_anchors

if TYPE_CHECKING:
    import pandas as pd

    from ..report.notebook import Report
    from ..report.plots import Plots

_MODEL_COUNTS = ("pairs_scored", "pairs_left_unseen")  # kept by a new threshold, for which no model runs


class MiningResult:
    """The clusters of a corpus and every pair that was scored.

    `clusters_table`, `pairs_table`, `deduplicated_table` and `removed_table` are Arrow tables, described in
    docs/output.md; `clusters`, `pairs` and `deduplicated()` are the same as pandas frames.

    Examples:
        >>> import dupmine
        >>> texts = ["How do I learn Python?", "How do I  learn Python?", "What is the capital of France?"]
        >>> result = dupmine.mine(texts, progress=False)
        >>> result.manifest["counts"]["clusters"]
        1
        >>> result.deduplicated()["text"].tolist()
        ['How do I learn Python?', 'What is the capital of France?']
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
        """Hold a result; `dupmine.mine`, `MiningResult.build` and `MiningResult.load` make one.

        Args:
            corpus: the documents.
            row_of: the row of each document's text, `(n_documents,)`, -1 for an empty text.
            pairs: the scored pairs of rows.
            clusters: the clusters, schema `CLUSTERS`.
            settings: the settings of the run, its threshold as a number.
            manifest: what the run says of itself.
        """
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
        """Make the tables of a partition of the rows.

        Args:
            corpus: the documents.
            row_of: the row of each document's text, `(n_documents,)`, -1 for an empty text.
            pairs: the scored pairs of rows.
            labels: the cluster of each row, `(n_rows,)`.
            settings: the settings of the run, its threshold as a number.
            manifest: what the run says of itself; its counts are completed.
            score_rows: scores the pairs of members and representatives that `pairs` lacks.
        """
        documents = corpus.documents
        representatives = choose_representatives(
            labels, row_of, documents, pairs, settings=settings.clustering
        )
        probability = _to_representative(row_of, representatives, pairs, score_rows)
        document_labels, weakest = _label_documents(labels, row_of, weakest_links(labels, pairs))
        table = clusters_table(
            documents,
            document_labels,
            representatives,
            probability,
            weakest,
            singletons=settings.output.singletons,
        )
        result = cls(corpus, row_of, pairs, table, settings, manifest)
        manifest["counts"].update(result._counts(document_labels))
        return result

    @cached_property
    def texts(self) -> list[str]:
        """The text of each row, as the models saw it."""
        return texts_of_rows(self.corpus.documents[TEXT], self.row_of)

    def find_rows(self, texts: Sequence[str]) -> Rows:
        """Return the row of each text, normalised, `(n_texts,)`; -1 where no document has it."""
        return find_rows(texts, self.corpus.documents[TEXT], self.row_of)

    @cached_property
    def pairs_table(self) -> pa.Table:
        """Every scored pair and every exact duplicate."""
        threshold = self.settings.rerank.accepts_from
        return pairs_table(self.corpus.documents, self.row_of, self.scored_pairs, threshold)

    @cached_property
    def _is_removed(self) -> Flags:
        removed = self.clusters_table.filter(pc.invert(self.clusters_table["is_representative"]))[DOC_ID]
        mask = pc.is_in(self.corpus.documents[DOC_ID], value_set=removed.combine_chunks())
        return np.asarray(mask.to_numpy(), bool)

    @property
    def deduplicated_table(self) -> pa.Table:
        """The documents that stay: representatives and documents without a duplicate, in input order."""
        return self.corpus.documents.filter(pa.array(~self._is_removed))

    @property
    def removed_table(self) -> pa.Table:
        """The documents that `deduplicated_table` leaves out, with their positions in the input."""
        removed = self.corpus.documents.filter(pa.array(self._is_removed))
        return removed.append_column(POSITION, pa.array(np.flatnonzero(self._is_removed)))

    @cached_property
    def clusters(self) -> pd.DataFrame:
        """The clusters, one line per document.

        The index has the labels of the pandas frame or series that was mined, if they are the ids, and
        `dupmine_position` the positions in it.
        """
        frame = _frame(self.clusters_table)
        if self.corpus.labels is not None:
            positions = self.positions(self.clusters_table[DOC_ID])
            frame[POSITION] = positions
            frame.index = self.corpus.labels.take(positions)
        return frame

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """Every scored pair and every exact duplicate."""
        return _frame(self.pairs_table)

    def deduplicated(self) -> pd.DataFrame:
        """Return the documents that stay, with all their columns and the index of a pandas frame."""
        frame = _frame(self.deduplicated_table)
        if self.corpus.labels is not None:
            frame.index = self.corpus.labels[~self._is_removed]
        return frame

    @speaks_python
    def to_csv(self, path: str | Path) -> None:
        """Write the clusters to a CSV file, one line per document.

        Raises:
            OutputError: the file cannot be written.
        """
        with output_errors(Path(path)):
            require_outside_store(Path(path))
            _frame(self.clusters_table).to_csv(path, index=False)

    @speaks_python
    def to_excel(self, path: str | Path) -> None:
        """Write the clusters and the scored pairs to two sheets of an Excel file.

        Raises:
            OutputError: the file cannot be written.
            SettingsError: openpyxl is not installed.
        """
        with needs_extra("to_excel", "excel"):
            import openpyxl  # noqa: F401  (pandas imports it late)
        import pandas as pd

        require_outside_store(Path(path))
        with output_errors(Path(path)), pd.ExcelWriter(path, engine="openpyxl") as book:
            _frame(self.clusters_table).to_excel(book, sheet_name="clusters", index=False)
            _frame(self.pairs_table).to_excel(book, sheet_name="pairs", index=False)

    def duplicates_of(self, doc_id: object) -> pd.DataFrame:
        """Return the other members of a document's cluster, the most probable duplicate first.

        `probability` is that of the pair with the document, missing where it is not known.

        Raises:
            InputError: there is no such document.
        """
        row, name = int(self.row_of[self.position(doc_id)]), id_text(doc_id)
        frame = self.clusters
        cluster = frame.loc[frame[DOC_ID] == name, "cluster_id"]
        others = frame[frame["cluster_id"].isin(cluster) & (frame[DOC_ID] != name)]
        rows = [int(self.row_of[self.position(other)]) for other in others[DOC_ID]]
        probability = [self._explainer.scores([row, other])[1] for other in rows]
        return others.assign(probability=np.array(probability, np.float64)).sort_values(
            "probability", ascending=False, kind="stable"
        )

    def explain(self, left: object, right: object) -> Explanation:
        """Explain how a pair of documents, named by their ids, was decided.

        Raises:
            InputError: there is no such document.

        Examples:
            >>> import dupmine
            >>> result = dupmine.mine(["Is Mars red?", "is mars  red?"], progress=False)
            >>> left, right = result.clusters["doc_id"]
            >>> result.explain(left, right).decided_by
            'exact'
        """
        return self._explainer.explain(left, right)

    @cached_property
    def _explainer(self) -> Explainer:
        return Explainer(self)

    @property
    def n_rows(self) -> int:
        """The number of unique texts."""
        return int(self.row_of.max(initial=-1)) + 1

    @cached_property
    def anchors(self) -> Rows:
        """The position of the document that names each row, `(n_rows,)`."""
        return row_anchors(self.row_of, id_ranks(self.corpus.documents))

    @cached_property
    def row_labels(self) -> Rows:
        """The cluster of each row, `(n_rows,)`; a row without one has a number of its own."""
        clusters = self.clusters_table
        labels = clusters["cluster_id"].to_numpy()
        document_labels = labels.max(initial=-1) + 1 + np.arange(len(self.row_of))
        document_labels[self.positions(clusters[DOC_ID])] = labels
        return np.asarray(document_labels[self.anchors], np.int64)

    def positions(self, doc_ids: pa.ChunkedArray) -> Rows:
        """Return the positions of documents in the input by their ids."""
        ids = self.corpus.documents[DOC_ID].combine_chunks()
        return np.asarray(pc.index_in(doc_ids, ids).to_numpy(), np.int64)

    def position(self, doc_id: object) -> int:
        """Return the position of a document in the input.

        Raises:
            InputError: there is no such document.
        """
        name = id_text(doc_id)
        position = pc.index(self.corpus.documents[DOC_ID], name).as_py()
        if position < 0:
            raise InputError(f"there is no document with the id {name!r}")
        return int(position)

    def rethreshold(self, threshold: float) -> MiningResult:
        """Return the clusters at another threshold, higher or lower. No model runs.

        Args:
            threshold: probability from which a pair is a duplicate, 0 to 1.

        Raises:
            SettingsError: the threshold is not between 0 and 1.
        """
        settings = self.settings.changed({"rerank.threshold": threshold})
        partition = cluster_pairs(
            self.n_rows,
            self.scored_pairs,
            threshold=settings.rerank.accepts_from,
            settings=settings.clustering,
        )
        before = self.manifest["counts"]
        counts = before | partition.counts | {name: before[name] for name in _MODEL_COUNTS if name in before}
        return MiningResult.build(
            corpus=self.corpus,
            row_of=self.row_of,
            pairs=self.scored_pairs,
            labels=partition.labels,
            settings=settings,
            manifest=self.manifest
            | {
                "counts": counts,
                "settings": settings.model_dump(),
                "threshold": {"value": settings.rerank.accepts_from, "by": "rethreshold"},
            },
        )

    @speaks_python
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
    @speaks_python
    def load(cls, folder: str | Path) -> MiningResult:
        """Load a result from the folder of a run.

        Raises:
            InputError: the folder is not a run, or a file of it is missing or broken.
        """
        tables, manifest = read_run(Path(folder))
        corpus = join_documents(tables["deduplicated"], tables["removed"], manifest)
        unique = collapse_exact_duplicates(corpus.documents[TEXT])
        pairs = read_pairs(tables["pairs"], corpus.documents, unique.row_of)
        settings = load_settings(overrides=manifest["settings"])
        return cls(corpus, unique.row_of, pairs, tables["clusters"], settings, manifest)

    def _counts(self, document_labels: Rows) -> dict[str, int]:
        sizes = np.bincount(document_labels)
        return {
            "accepted_pairs": int((self.scored_pairs.probability >= self.settings.rerank.accepts_from).sum()),
            "exact_duplicates": int((self.row_of >= 0).sum()) - self.n_rows,
            "clusters": int((sizes > 1).sum()),
            "clustered_documents": int(sizes[sizes > 1].sum()),
            "removed_documents": int((sizes[sizes > 1] - 1).sum()),
            "largest_cluster": int(sizes.max(initial=0)),
        }

    def report(self, *, name: str = "result") -> Report:
        """Return a report as HTML, which a notebook shows: thresholds, clusters, borderline pairs.

        Examples:
            >>> import dupmine
            >>> result = dupmine.mine(["Is Mars red?", "is mars  red?"], progress=False)
            >>> result.report().save("report.html")
        """
        from ..report.notebook import Report
        from ..report.page import render_report

        return Report(render_report(self, name=name))

    @property
    def plot(self) -> Plots:
        """Pictures: `plot.scores()`, `plot.thresholds()`, `plot.cluster_sizes()`, `plot.cluster(id)`."""
        from ..report.plots import Plots

        return Plots(self)

    def sample(
        self,
        n: int = 20,
        strategy: Literal["borderline", "suspicious", "random", "largest"] = "borderline",
        *,
        seed: int = 42,
    ) -> pd.DataFrame:
        """Return pairs to look at, with both texts and, for suspicious clusters, the reason.

        Args:
            n: how many.
            strategy: `borderline` for pairs nearest to the threshold, `random` for accepted pairs at random,
                `suspicious` or `largest` for the least likely pair of each of these clusters.
            seed: of all chance.
        """
        from ..report.selection import Strategy, sample_pairs

        return sample_pairs(self, n, Strategy(strategy), seed)

    @property
    def labels_(self) -> Rows:
        """The cluster of each input row, in input order, `(n_documents,)`; -1 where a document is alone."""
        labels = np.full(len(self.row_of), -1, np.int64)
        table = self.clusters_table.filter(pc.greater(self.clusters_table["cluster_size"], 1))
        labels[self.positions(table[DOC_ID])] = table["cluster_id"].to_numpy()
        return labels

    def __len__(self) -> int:
        """Return the number of clusters of two or more documents."""
        return int(self.manifest["counts"]["clusters"])

    def __bool__(self) -> bool:
        """Return True: a result without clusters is a result too."""
        return True

    def __iter__(self) -> Iterator[pd.DataFrame]:
        """Yield the clusters of two or more documents, each as a frame, the representative first."""
        frame = self.clusters[self.clusters["cluster_size"] > 1]
        for _, members in frame.groupby("cluster_id", sort=True):
            yield members

    def _repr_html_(self) -> str:
        from ..report.notebook import summary_html

        return summary_html(self)

    def __repr__(self) -> str:
        """Return the size of the result in one line."""
        counts = self.manifest["counts"]
        return (
            f"MiningResult({counts['documents']:,} documents, {counts['clusters']:,} clusters, "
            f"{counts['removed_documents']:,} documents that could go, "
            f"threshold {self.settings.rerank.accepts_from:g})"
        )


def _frame(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas()
    return frame


def join_documents(kept: pa.Table, removed: pa.Table, manifest: Mapping[str, Any]) -> Corpus:
    """Return all documents of a run in the order of the input.

    The last column of those that were removed has their positions.
    """
    last = removed.num_columns - 1
    positions = removed.column(last).to_numpy()
    documents = pa.concat_tables([kept, removed.remove_column(last)])
    kept_positions = np.setdiff1d(np.arange(len(documents)), positions)
    order = np.argsort(np.concatenate([kept_positions, positions]))
    columns = manifest["columns"]
    return Corpus(documents.take(order), columns["text"], columns["id"])


def _label_documents(labels: Rows, row_of: Rows, weakest: Floats) -> tuple[Rows, Floats]:
    """Return the label of each document, and the weakest link of each label.

    A document with an empty text has a label of its own, with a weakest link of 1.
    """
    has_text = row_of >= 0
    document_labels = len(weakest) + np.cumsum(~has_text) - 1
    document_labels[has_text] = labels[row_of[has_text]]
    return document_labels, np.append(weakest, np.ones(int((~has_text).sum()), np.float32))


def _to_representative(
    row_of: Rows,
    representatives: Rows,
    pairs: ScoredPairs,
    score_rows: Callable[[Rows, Rows], ScoredPairs] | None,
) -> Floats:
    """Return the probability of each document and its representative, NaN where it is not known."""
    rows, others = row_of, row_of[representatives]
    probability = np.ones(len(rows), np.float32)
    differ = np.flatnonzero(rows != others)
    n_rows = int(row_of.max(initial=0)) + 1
    keys, place = np.unique(pair_keys(rows[differ], others[differ], n_rows), return_inverse=True)
    left, right = keys // n_rows, keys % n_rows
    known = np.append(pairs.probability, np.float32(np.nan))[pairs.positions(left, right)]
    missing = np.isnan(known)
    if score_rows is not None and missing.any():
        known[missing] = score_rows(left[missing], right[missing]).probability
    probability[differ] = known[place]
    return probability
