"""Small stores with tiny models, and the full run over the same documents that they must equal."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dupmine import Miner, MiningResult, Store
from dupmine.schema import DOC_ID
from dupmine.store.changes import MEMBERS
from dupmine.store.commits import Commit, latest_commit

# id -> (text, score), in order of arrival: an edited document keeps its place.
Documents = Mapping[str, tuple[str, int]]

SCHEMA = pa.schema([("id", pa.string()), ("text", pa.string()), ("score", pa.int64())])
POOL = [
    f"{question} {verb} {thing}"
    for question in ("How do I", "How can you", "What is the best way to")
    for verb in ("learn", "read", "write", "play")
    for thing in ("Python", "piano", "French", "math", "guitar")
]


def table(documents: Documents) -> pa.Table:
    """Return documents as updates and runs take them."""
    lines = [{"id": doc_id, "text": text, "score": score} for doc_id, (text, score) in documents.items()]
    return pa.Table.from_pylist(lines, SCHEMA)


def numbered(texts: Iterable[str], start: int = 0) -> dict[str, tuple[str, int]]:
    """Return documents with the ids "0", "1", … and scores from 0 to 4."""
    return {str(i): (text, i * 7 % 5) for i, text in enumerate(texts, start)}


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes stores and runs of the same settings, with models that are loaded once."""

    miner: Miner
    blank: Path

    @classmethod
    def of(cls, folder: Path, **settings: Any) -> Maker:
        """Make an empty store in `folder`, to be copied."""
        miner = Miner(progress=False, compute={"device": "cpu", "threads": 1}, **settings)
        Store.create(folder, miner.settings, progress=False)
        return cls(miner, folder)

    def store(self, path: Path, documents: Documents | None = None) -> Store:
        """Return a new store, with documents if given."""
        shutil.copytree(self.blank, path)
        store = self.open(path)
        if documents:
            store.update(table(documents))
        return store

    def open(self, path: Path, **overrides: Any) -> Store:
        """Open a store with the models that are loaded."""
        return self.lend(Store.open(path, progress=False, **overrides))

    def lend(self, store: Store) -> Store:
        """Give a store the models that are loaded."""
        store.models = self.miner.models
        return store

    def mine(self, documents: Documents) -> MiningResult:
        """Mine documents at once."""
        return self.miner.mine(table(documents))


def unnumbered(clusters: pa.Table) -> pa.Table:
    """Return a table of clusters without their ids, in an order that does not depend on them."""
    heads = clusters.filter(clusters["is_representative"])
    heads = pa.table({"cluster_id": heads["cluster_id"], "head": heads[DOC_ID]})
    named = clusters.join(heads, "cluster_id").drop_columns("cluster_id")
    return named.select(["head", *clusters.column_names[1:]]).sort_by(
        [("head", "ascending"), (DOC_ID, "ascending")]
    )


def tables(result: MiningResult) -> dict[str, pa.Table]:
    """Return the tables of a run, its clusters without their ids."""
    return {
        "clusters": unnumbered(result.clusters_table),
        "pairs": result.pairs_table,
        "deduplicated": result.deduplicated_table,
        "removed": result.removed_table,
    }


def require_equal(found: Mapping[str, pa.Table], expected: Mapping[str, pa.Table]) -> None:
    """Compare tables to the bit."""
    for name, wanted in expected.items():
        got = found[name]
        if len(wanted):  # an empty store has forgotten its columns
            assert got.schema.names == wanted.schema.names, name
            assert got.schema.types == wanted.schema.types, name
        assert got.to_pylist() == wanted.to_pylist(), name


def members(store: Store) -> dict[int, frozenset[str]]:
    """Return the documents of each cluster by its id."""
    ids: dict[int, set[str]] = {}
    for line in store.clusters_table.select(["cluster_id", DOC_ID]).to_pylist():
        ids.setdefault(line["cluster_id"], set()).add(line[DOC_ID])
    return {number: frozenset(members) for number, members in ids.items()}


def membership(store: Store) -> list[dict[str, Any]]:
    """Return the clusters as `replay` does."""
    columns = store.clusters_table.select(MEMBERS.names)
    lines: list[dict[str, Any]] = columns.sort_by(
        [("cluster_id", "ascending"), (DOC_ID, "ascending")]
    ).to_pylist()
    return lines


def commit_of(store: Store) -> Commit:
    return latest_commit(store.path)


def logged(store: Store) -> list[pa.Table]:
    """Return the committed changes by generation, oldest first."""
    names = sorted(n for n in commit_of(store).files if n.startswith("changes/") and ".copy." not in n)
    log = pa.concat_tables([pq.read_table(store.path / name) for name in names])
    return [
        log.filter(pc.equal(log["generation"], number)).drop_columns("generation")
        for number in range(store.generation + 1)
    ]


def committed(path: Path) -> dict[str, bytes]:
    """Return the content of all committed files of a store."""
    folders = ("generations", "segments", "states", "changes")
    files = (file for folder in folders for file in sorted((path / folder).rglob("*")) if file.is_file())
    return {str(file.relative_to(path)): file.read_bytes() for file in files}
