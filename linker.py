"""A link run on one page: the texts of one corpus that ask the same as texts of another."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa

from .corpus import corpus_from, read_corpus
from .corpus.templates import Families
from .disk.folder import MANIFEST, WITHIN, is_store
from .disk.work import Work
from .errors import InputError
from .pipeline import Job, Models, describe_basis, extend_pairs, mine_corpus, score_candidates, start_job
from .progress import Progress
from .results.links import LinkResult, links_table, named_documents
from .results.manifest import peak_memory
from .results.result import MiningResult, join_documents
from .results.run_folder import read_run
from .retrieval.candidates import SearchFacts, find_candidates
from .retrieval.encoder import Embeddings
from .schema import DOC_ID, TEXT, CandidatePairs, Corpus, Flags, InputFile, Rows, UniqueTexts
from .settings import CorpusSettings, MiningSettings


@dataclass(frozen=True, slots=True)
class Sides:
    """Which rows are texts of the new documents, and which of the reference, `(n_rows,)`; some are both."""

    new: Flags
    reference: Flags

    @classmethod
    def mark(cls, row_of: Rows, n_new: int, n_rows: int) -> Self:
        """Return the sides of the rows of the new documents and of the others behind them."""
        flags = np.zeros((2, n_rows), bool)
        for side, rows in zip(flags, (row_of[:n_new], row_of[n_new:]), strict=True):
            side[rows[rows >= 0]] = True
        return cls(*flags)

    def join(self, left: Rows, right: Rows) -> Flags:
        """Return which pairs of rows are between a new text and one of the reference, `(n_pairs,)`."""
        joined: Flags = self.new[left] & self.reference[right]
        return joined | (self.reference[left] & self.new[right])


def link_corpora(
    new: Corpus,
    reference: Corpus,
    job: Job,
    *,
    top: int,
) -> LinkResult:
    """Find the reference texts that ask the same as each new text.

    Args:
        new: the new documents.
        reference: the documents they are looked up in; the ids of the two have nothing to do with each other.
        job: what the run works with, from `start_link`.
        top: at most so many matches of each new document are kept.
    """
    run, n_new = job.record, len(new.documents)
    both = _join(new, reference)
    job.work.require(describe_basis(both, job.settings, job.models) | {"new documents": str(n_new)})
    run.describe(reference=_describe(reference), top=top)
    run.count(reference_documents=len(reference.documents))
    scored = score_candidates(both, job, partial(_find_pairs, job, n_new))
    with run.stage("tables"):
        row_of = scored.unique.row_of
        links = links_table(
            (new.documents, reference.documents),
            (row_of[:n_new], row_of[n_new:]),
            scored.pairs,
            threshold=job.settings.rerank.accepts_from,
            top=top,
        )
        named = named_documents(links, reference.documents)
    run.describe(peak_memory_gib=peak_memory(), shards={"found": job.work.found, "made": job.work.made})
    return LinkResult(new, links, named, job.settings, run.manifest)


def start_link(
    new: Corpus,
    settings: MiningSettings,
    models: Models,
    work: Work,
    progress: Progress,
    seconds: Mapping[str, float] | None = None,
) -> Job:
    """Return a job that decides each pair alone, so that other texts than its own do not matter."""
    alone = settings.changed({"rerank.decision": "pair"})
    return start_job(new, alone, models.deciding_by(alone), work, progress, seconds)


def mine_unmatched(
    result: LinkResult, settings: MiningSettings, models: Models, work: Work, progress: Progress
) -> None:
    """Mine the new documents without a match among themselves, by an ordinary run."""
    result.within = mine_corpus(result.unmatched, settings, models, work.part(WITHIN), progress)
    counts = result.within.manifest["counts"]
    result.manifest[WITHIN] = True
    result.manifest["counts"]["removed_documents"] = counts["removed_documents"]
    result.manifest["seconds"][WITHIN] = round(sum(result.within.manifest["seconds"].values()), 3)


def _find_pairs(
    job: Job, n_new: int, unique: UniqueTexts, embeddings: Embeddings, families: Families
) -> tuple[CandidatePairs, SearchFacts]:
    """Find the candidates between the new texts and the reference; the index holds the new ones.

    A member of a template family stands for others of it, which may be on the other side: it is on both.
    """
    sides = Sides.mark(unique.row_of, n_new, len(unique))
    settings, device = job.settings.retrieval, job.models.compute.device
    find = partial(find_candidates, settings=settings, device=device, progress=job.progress, work=job.work)
    if not len(families):
        rows, others = np.flatnonzero(sides.new), np.flatnonzero(sides.reference)
        return find(embeddings, rows=rows, others=others)
    compared = families.compared
    on_both = families.family[compared] >= 0
    rows, others = (np.flatnonzero(side[compared] | on_both) for side in (sides.new, sides.reference))
    found, facts = find(embeddings[compared], rows=rows, others=others)
    pairs = extend_pairs(found, embeddings, families, settings.floor)
    return pairs.where(sides.join(pairs.left, pairs.right)), facts


def _join(new: Corpus, reference: Corpus) -> Corpus:
    """Return the texts of both as one corpus; its ids are of no use."""
    tables = [corpus.documents.select([DOC_ID, TEXT]) for corpus in (new, reference)]
    return replace(new, documents=pa.concat_tables(tables), files=(*new.files, *reference.files), labels=None)


def _describe(reference: Corpus) -> dict[str, Any]:
    """Return what the manifest says of the reference."""
    files = [asdict(file) for file in reference.files]
    columns = {"text": reference.text_column, "id": reference.id_column}
    return {"inputs": files, "columns": columns, "counts": reference.counts}


def read_reference(data: Any, settings: CorpusSettings) -> Corpus:
    """Read a reference: a result, a store, the folder of either, or what `dupmine.mine` takes.

    Raises:
        InputError: it cannot be read.
        CorruptStoreError: a file of the store is damaged.
    """
    from .store.store import Store

    if isinstance(data, MiningResult):
        return data.corpus
    if isinstance(data, Store):
        return _read_store(data)
    if isinstance(data, str | Path):
        return read_references([data], settings)
    if isinstance(data, list | tuple) and data and all(isinstance(item, Path) for item in data):
        return read_references(data, settings)
    return corpus_from(data, settings)


def read_references(inputs: Sequence[str | Path], settings: CorpusSettings) -> Corpus:
    """Read a reference that is files, folders and globs, or the folder of one run or store.

    Raises:
        InputError: a run or a store beside others, or one that cannot be read.
        CorruptStoreError: a file of the store is damaged.
    """
    readers = {str(path): _find_reader(Path(path).expanduser()) for path in inputs}
    kept = [path for path, reader in readers.items() if reader is not None]
    if not kept:
        return read_corpus(inputs, settings)
    if len(inputs) > 1:
        raise InputError(f"{kept[0]} is a run or a store: give it as the only reference")
    reader = readers[kept[0]]
    assert reader is not None
    return reader(Path(kept[0]).expanduser())


def _find_reader(folder: Path) -> Callable[[Path], Corpus] | None:
    """Return what reads a run or a store, None for all else."""
    try:
        if (folder / MANIFEST).is_file():
            return _read_run
        return _open_store if is_store(folder) else None
    except (OSError, ValueError):  # a name that is too long or has a null: `read_corpus` says so
        return None


def _read_run(folder: Path) -> Corpus:
    tables, manifest = read_run(folder)
    corpus = join_documents(tables["deduplicated"], tables["removed"], manifest)
    return _as_file(corpus, folder, "run")


def _open_store(folder: Path) -> Corpus:
    from .store.store import Store

    return _read_store(Store.open(folder, progress=False))


def _read_store(store: Any) -> Corpus:
    snapshot = store.snapshot
    columns = snapshot.commit.columns
    corpus = Corpus(snapshot.documents, columns.get("text", ""), columns.get("id"))
    return _as_file(corpus, store.path, "store")


def _as_file(corpus: Corpus, folder: Path, format: str) -> Corpus:
    """Return a corpus with its folder as the input, and a sum by which an interrupted run knows it again."""
    total = hashlib.sha256()
    for value in (v for name in (DOC_ID, TEXT) for v in corpus.documents[name].to_pylist()):
        total.update(f"{len(value)} {value}".encode())
    file = InputFile(str(folder), format, len(corpus.documents), total.hexdigest())
    return replace(corpus, files=(file,))
