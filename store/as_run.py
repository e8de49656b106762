"""Turn a generation of a store into the result of a run."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ..errors import ModelError
from ..inference.locate import locate_model
from ..inference.model_files import DECISION
from ..progress import SILENT
from ..rerank.decision import Decision
from ..results.manifest import RunRecord
from ..results.result import MiningResult
from ..results.tables import stored_clusters
from ..schema import Corpus
from ..settings import MiningSettings
from .commits import Commit
from .compatibility import stored_settings
from .generation import GenerationTask, derive_generation
from .snapshot import Snapshot
from .update import decides_with_corpus

if TYPE_CHECKING:
    from ..pipeline import Models


def as_result(snapshot: Snapshot) -> MiningResult:
    """Return the result of a run over the documents of a generation, with the store's cluster ids.

    All scores are stored. No model is loaded except the trees of a corpus-aware decision.

    Raises:
        ModelError: the decision is not the one the store was made with.
    """
    commit = snapshot.commit
    settings = stored_settings(commit)
    corpus = Corpus(snapshot.documents, commit.columns.get("text", ""), commit.columns.get("id"))
    decision = partial(_load_same_decision, commit, settings) if decides_with_corpus(commit) else None
    generation = derive_generation(
        GenerationTask(corpus, snapshot, settings, _no_models, SILENT, decision=decision)
    )
    record = RunRecord(settings, corpus)
    record.count(**generation.counts)
    record.describe(models=commit.models, store={"generation": commit.generation})
    result = generation.result
    result.manifest = record.manifest
    result.clusters_table = stored_clusters(snapshot.documents, snapshot.state)
    return result


def _load_same_decision(commit: Commit, settings: MiningSettings) -> Decision:
    folder = locate_model(settings.rerank.cross_encoder)
    decision = Decision.load(folder)
    if decision is None or decision.sha256 != commit.models["decision"]["sha256"]:
        raise ModelError(
            f"{folder / DECISION} is not the decision the store was made with: restore that file, or run "
            "`dupmine store rebuild`"
        )
    return decision


def _no_models() -> Models:
    raise AssertionError("all scores of a generation are stored")
