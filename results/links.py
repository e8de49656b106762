"""The result of a link run: the reference texts that ask the same as each new text."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..disk.files import make_folder
from ..disk.folder import LINK_FILES, LINK_TABLES, RUN_FILES, WITHIN
from ..errors import speaks_python
from ..schema import (
    DECIDERS,
    DOC_ID,
    EXACT,
    LINKS,
    POSITION,
    TEXT,
    Corpus,
    Flags,
    Rows,
    ScoredPairs,
    id_ranks,
    ranges,
)
from ..settings import MiningSettings, load_settings
from .result import MiningResult, join_documents
from .run_folder import open_run, read_run, write_run
from .tables import row_anchors

if TYPE_CHECKING:
    import pandas as pd

FILES = (*LINK_FILES, WITHIN, *(f"{WITHIN}/{name}" for name in RUN_FILES))

_EXACT = DECIDERS.index(EXACT)
_MATCH = ("reference_id", "reference_text", "cosine", "probability")


class LinkResult:
    """The best matches of new documents among those of a reference.

    Examples:
        >>> import dupmine
        >>> new = ["How can I learn Python?", "Where do pythons live?"]
        >>> result = dupmine.link(new, ["How do I learn Python?", "Is Mars red?"], progress=False)
        >>> result.known()[["text", "reference_text"]].values.tolist()
        [['How can I learn Python?', 'How do I learn Python?']]
        >>> result.new()["text"].tolist()
        ['Where do pythons live?']
    """

    def __init__(
        self,
        corpus: Corpus,
        links: pa.Table,
        reference: pa.Table,
        settings: MiningSettings,
        manifest: dict[str, Any],
    ) -> None:
        """Hold a result; `dupmine.link` and `LinkResult.load` make one.

        Args:
            corpus: the new documents.
            links: their matches, schema `LINKS`.
            reference: id and text of at least the reference documents in `links`.
            settings: the settings of the run, its threshold as a number.
            manifest: what the run says of itself; its counts are completed.
        """
        self.corpus = corpus
        self.links_table = links
        self.reference_table = reference
        self.settings = settings
        self.manifest = manifest
        self.within: MiningResult | None = None  # the run over the new documents without a match
        known = int(self._is_known.sum())
        accepted = int(pc.sum(links["is_duplicate"]).as_py() or 0)
        counts = {"links": len(links), "accepted_links": accepted}
        counts |= {"known_documents": known, "new_documents": len(corpus.documents) - known}
        manifest["counts"] = manifest["counts"] | counts

    @cached_property
    def links(self) -> pd.DataFrame:
        """The matches, in the order of the new documents, best first."""
        return _frame(self.links_table)

    @cached_property
    def _best(self) -> Rows:
        """The line of each new document's best match, -1 where it has none, `(n_documents,)`."""
        firsts = np.flatnonzero(self.links_table["rank"].to_numpy() == 1)
        ids = self.links_table["new_id"].take(firsts).combine_chunks()
        lines = np.append(firsts, -1)
        best: Rows = lines[pc.index_in(self.corpus.documents[DOC_ID], ids).fill_null(-1).to_numpy()]
        return best

    @cached_property
    def _is_known(self) -> Flags:
        accepted = np.append(self.links_table["is_duplicate"].to_numpy(zero_copy_only=False), False)
        return np.asarray(accepted[self._best], bool)

    @property
    def unmatched(self) -> Corpus:
        """The new documents without a duplicate in the reference."""
        labels = None if self.corpus.labels is None else self.corpus.labels[~self._is_known]
        documents = self.corpus.documents.filter(pa.array(~self._is_known))
        return Corpus(documents, self.corpus.text_column, self.corpus.id_column, labels=labels)

    @property
    def new_table(self) -> pa.Table:
        """The documents of `unmatched`; with `within` one of each cluster of them."""
        return self.unmatched.documents if self.within is None else self.within.deduplicated_table

    @property
    def known_table(self) -> pa.Table:
        """The new documents with a duplicate in the reference, their positions and best matches."""
        documents = self.corpus.documents.filter(pa.array(self._is_known))
        best = self.links_table.take(self._best[self._is_known])
        at = pc.index_in(best["reference_id"], self.reference_table[DOC_ID].combine_chunks())
        match = [
            best["reference_id"],
            self.reference_table[TEXT].take(at),
            best["cosine"],
            best["probability"],
        ]
        table = documents.rename_columns(_free_names(documents.column_names))
        for name, column in zip(_MATCH, match, strict=True):
            table = table.append_column(name, column)
        return table.append_column(POSITION, pa.array(np.flatnonzero(self._is_known)))

    def new(self) -> pd.DataFrame:
        """Return the new documents without a duplicate in the reference, with all their columns.

        With `within` it is one document of each of their clusters. The index is that of a pandas frame.
        """
        if self.within is not None:
            return self.within.deduplicated()
        frame = _frame(self.new_table)
        if self.corpus.labels is not None:
            frame.index = self.corpus.labels[~self._is_known]
        return frame

    def known(self) -> pd.DataFrame:
        """Return the other new documents, each with its best match in the reference.

        The columns of the match are reference_id, reference_text, cosine and probability; `dupmine_position`
        is the position of the document. A column of yours with such a name gets the ending `_original`.
        """
        frame = _frame(self.known_table)
        if self.corpus.labels is not None:
            frame.index = self.corpus.labels[self._is_known]
        return frame

    def rethreshold(self, threshold: float) -> LinkResult:
        """Return the result at another threshold, higher or lower. No model runs, so `within` is None.

        Args:
            threshold: probability from which a pair is a duplicate, 0 to 1.

        Raises:
            SettingsError: the threshold is not between 0 and 1.
        """
        settings = self.settings.changed({"rerank.threshold": threshold})
        least = settings.rerank.accepts_from
        column = LINKS.get_field_index("is_duplicate")
        accepted = pa.array(self.links_table["probability"].to_numpy() >= least)
        links = self.links_table.set_column(column, LINKS.field(column), accepted)
        facts = {"settings": settings.model_dump(), "threshold": {"value": least, "by": "rethreshold"}}
        counts = {name: n for name, n in self.manifest["counts"].items() if name != "removed_documents"}
        manifest = self.manifest | facts | {WITHIN: False, "counts": counts}
        return LinkResult(self.corpus, links, self.reference_table, settings, manifest)

    @speaks_python
    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write the tables and the manifest to a folder, whole or not at all.

        Raises:
            OutputError: the folder exists, or cannot be written.
        """
        with open_run(Path(folder), overwrite=overwrite, files=FILES) as run:
            self.write(run.staging)

    def write(self, staging: Path) -> None:
        """Write the tables and the manifest into a folder from `open_run`."""
        tables = (self.links_table, self.new_table, self.known_table, self.reference_table)
        write_run(staging, dict(zip(LINK_TABLES, tables, strict=True)), self.manifest)
        if self.within is not None:
            make_folder(staging / WITHIN)
            self.within.write(staging / WITHIN)

    @classmethod
    @speaks_python
    def load(cls, folder: str | Path) -> Self:
        """Load a result from the folder of a link run.

        Raises:
            InputError: the folder is not such a run, or a file of it is missing or broken.
        """
        path = Path(folder).expanduser()
        tables, manifest = read_run(path, LINK_TABLES, command="link")
        within = MiningResult.load(path / WITHIN) if manifest.get(WITHIN) else None
        new, known = tables["new"] if within is None else within.corpus.documents, tables["known"]
        positions = known[POSITION]
        known = known.select(range(new.num_columns)).rename_columns(new.column_names)
        corpus = join_documents(new, known.append_column(POSITION, positions), manifest)
        settings = load_settings(overrides=manifest["settings"])
        result = cls(corpus, tables["links"], tables["reference"], settings, manifest)
        result.within = within
        return result

    def __repr__(self) -> str:
        """Return the size of the result in one line."""
        counts = self.manifest["counts"]
        return (
            f"LinkResult({counts['documents']:,} new documents, {counts['known_documents']:,} of them known, "
            f"{counts['reference_documents']:,} documents in the reference, "
            f"threshold {self.settings.rerank.accepts_from:g})"
        )


def links_table(
    documents: tuple[pa.Table, pa.Table],
    rows: tuple[Rows, Rows],
    pairs: ScoredPairs,
    *,
    threshold: float,
    top: int,
) -> pa.Table:
    """Return the best matches of each new document, in input order; schema `LINKS`.

    A reference text is named by its document with the lowest id.

    Args:
        documents: the new documents and those of the reference.
        rows: their rows, -1 for an empty text.
        pairs: scored pairs of rows; those not between a new text and one of the reference do not count.
        threshold: probability from which a pair is a duplicate.
        top: at most so many matches of each document.
    """
    new_rows, reference_rows = rows
    n_rows = 1 + max(int(side.max(initial=-1)) for side in rows)
    anchors = np.full(n_rows, -1)
    anchors[np.unique(reference_rows[reference_rows >= 0])] = row_anchors(
        reference_rows, id_ranks(documents[1])
    )
    same = np.flatnonzero(anchors >= 0)
    certain = np.ones(len(same), np.float32)
    source = np.concatenate([same, pairs.left, pairs.right])
    target = np.concatenate([same, pairs.right, pairs.left])
    cosine = np.concatenate([certain, pairs.cosine, pairs.cosine])
    probability = np.concatenate([certain, pairs.probability, pairs.probability])
    by = np.concatenate([np.full(len(same), _EXACT, np.int8), pairs.decided_by, pairs.decided_by])
    order = np.lexsort((target, -cosine, -probability, by != _EXACT, source))
    order = order[anchors[target[order]] >= 0]
    start = np.searchsorted(source[order], np.arange(n_rows))
    length = np.minimum(np.bincount(source[order], minlength=n_rows), top)
    filled = np.flatnonzero(new_rows >= 0)
    lengths = length[new_rows[filled]]
    lines = order[ranges(start[new_rows[filled]], lengths)]
    return pa.table(
        {
            "new_id": documents[0][DOC_ID].take(np.repeat(filled, lengths)),
            "reference_id": documents[1][DOC_ID].take(anchors[target[lines]]),
            "rank": 1 + ranges(np.zeros_like(lengths), lengths),
            "cosine": cosine[lines],
            "probability": probability[lines],
            "is_duplicate": probability[lines] >= threshold,
            "decided_by": pa.DictionaryArray.from_arrays(by[lines], DECIDERS).cast(pa.string()),
        },
        schema=LINKS,
    )


def named_documents(links: pa.Table, documents: pa.Table) -> pa.Table:
    """Return id and text of the reference documents that links name, in input order."""
    is_named = pc.is_in(documents[DOC_ID], value_set=links["reference_id"].combine_chunks())
    return documents.select([DOC_ID, TEXT]).filter(is_named)


def _free_names(names: Sequence[str]) -> list[str]:
    """Return the names of columns, with an ending where those of a match need them."""
    taken, free = {*names, *_MATCH}, []
    for name in names:
        new = name
        while new in taken and (new != name or name in _MATCH):
            new += "_original"
        taken.add(new)
        free.append(new)
    return free


def _frame(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas()
    return frame
