"""A store's generation as the result of a run."""

from __future__ import annotations

from functools import partial

from ..errors import ModelError
from ..inference.locate import locate_model
from ..pipeline import Models
from ..progress import SILENT
from ..rerank.decision import FILE, Decision, load_decision
from ..results.manifest import RunRecord
from ..results.result import MiningResult
from ..results.tables import stored_clusters
from ..schema import Corpus
from ..settings import MiningSettings
from .commits import Commit
from .compatibility import stored_settings
from .generation import Task, advance
from .segments import Snapshot
from .update import decides_with_corpus


def as_result(snapshot: Snapshot) -> MiningResult:
    """Return what a run over the documents of a generation finds, with the store's cluster ids.

    Everything is known: no model is loaded but the trees of a corpus-aware decision.

    Raises:
        ModelError: those are not the ones the store decided with.
    """
    commit = snapshot.commit
    settings = stored_settings(commit)
    corpus = Corpus(snapshot.documents, commit.columns.get("text", ""), commit.columns.get("id"))
    decision = partial(_decision_of, commit, settings) if decides_with_corpus(commit) else None
    generation = advance(Task(corpus, snapshot, settings, _no_models, SILENT, decision=decision))
    record = RunRecord(settings, corpus)
    record.count(**generation.counts)
    record.describe(models=commit.models, store={"generation": commit.generation})
    result = generation.result
    result.manifest = record.manifest
    result.clusters_table = stored_clusters(snapshot.documents, snapshot.state)
    return result


def _decision_of(commit: Commit, settings: MiningSettings) -> Decision:
    folder = locate_model(settings.rerank.cross_encoder)
    found = load_decision(folder)
    if found is None or found.sha256 != commit.models["decision"]["sha256"]:
        raise ModelError(
            f"{folder / FILE} is not the decision the store was made with: put that back, or compute anew "
            "with `dupmine store rebuild`"
        )
    return found


def _no_models() -> Models:
    raise AssertionError("a generation knows all its scores")
