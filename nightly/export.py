"""A store's generation as the result of a run."""

from __future__ import annotations

from ..pipeline import Models
from ..progress import SILENT
from ..result import MiningResult
from ..schema import Corpus
from ..store.compatibility import stored_settings
from ..store.manifest import RunRecord
from ..store.segments import Snapshot
from ..store.tables import stored_clusters
from .generation import Task, advance


def as_result(snapshot: Snapshot) -> MiningResult:
    """Return what a run over the documents of a generation finds, with the store's cluster ids.

    Everything is known: no model is loaded.
    """
    commit = snapshot.commit
    settings = stored_settings(commit)
    corpus = Corpus(snapshot.documents, commit.columns.get("text", ""), commit.columns.get("id"))
    generation = advance(Task(corpus, snapshot, settings, _no_models, SILENT))
    record = RunRecord(settings, corpus)
    record.count(**generation.counts)
    record.describe(models=commit.models, store={"generation": commit.generation})
    result = generation.result
    result.manifest = record.manifest
    result.clusters_table = stored_clusters(snapshot.documents, snapshot.state)
    return result


def _no_models() -> Models:
    raise AssertionError("a generation knows all its scores")
