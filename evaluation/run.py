"""Evaluate a run against labels in a file: its clusters, and what each stage found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from ..corpus.gold import GOLD, read_gold
from ..corpus.questions import number_components
from ..errors import InputError
from ..results.run_folder import read_run
from ..schema import DOC_ID
from .candidates import RunCandidates
from .metrics import cluster_metrics, pair_metrics

Metrics = dict[str, float | int]


def evaluate_run(run: Path, labels: Path) -> dict[str, Metrics]:
    """Compare each stage of a run with gold clusters (`id`, `cluster`) or labelled pairs.

    Labelled pairs have the columns `qid1`, `qid2`, `is_duplicate`. Labels of documents that the run does
    not hold are counted and left out. Returned by stage are

    * `clusters`: the clusters; a labelled pair counts as predicted where both documents share a cluster;
    * `accepted`: the pairs that stage 2 accepted, before clustering;
    * `candidates`: the recall of the pairs that stage 1 proposed;
    * `closure`, for labelled pairs only: the clusters against the connected components of the labelled
      duplicates, over the labelled documents; documents of two components count as different.

    Raises:
        InputError: the run or the labels cannot be read, or no labelled document is in the run.
    """
    tables, manifest = read_run(run)
    cluster_of = _clusters(tables)
    table = read_gold(labels)
    floor = manifest["settings"].get("retrieval", {}).get("floor", -1.0)
    candidates = RunCandidates.build(cluster_of.index, tables["pairs"].to_pandas(), floor)
    is_gold = set(GOLD) <= set(table.columns)
    has_documents = table[["id"] if is_gold else ["qid1", "qid2"]].isin(cluster_of.index).all(axis=1)
    labelled = table[has_documents]
    if labelled.empty:
        raise InputError(f"{labels}: no labelled document is in the run; do the ids match?")
    missing = len(table) - len(labelled)
    if is_gold:
        gold_pairs = candidates.gold_pairs(labelled["id"], labelled["cluster"])
        return {"clusters": _compare_gold(cluster_of, labelled, missing)} | candidates.evaluate(*gold_pairs)
    left, right = (candidates.positions(labelled[name]) for name in ("qid1", "qid2"))
    return {
        "clusters": _compare_pairs(cluster_of, labelled, missing),
        **candidates.evaluate(left, right, labelled["is_duplicate"].to_numpy(bool)),
        "closure": _compare_closure(cluster_of, labelled),
    }


def _clusters(tables: dict[str, pa.Table]) -> pd.Series[float]:
    """Return the cluster of each document; a document without one gets its own number below 0."""
    clusters = tables["clusters"].select(["cluster_id", DOC_ID]).to_pandas()
    cluster_of = pd.Series(clusters["cluster_id"].to_numpy(), index=clusters[DOC_ID])
    singles = pd.Index(pd.concat([tables[t][DOC_ID].to_pandas() for t in ("deduplicated", "removed")]))
    cluster_of = cluster_of.reindex(singles)
    alone = cluster_of.isna().to_numpy()
    cluster_of[alone] = -1.0 - np.arange(alone.sum())
    return cluster_of


def _compare_gold(cluster_of: pd.Series[float], labelled: pd.DataFrame, missing: int) -> Metrics:
    predicted = cluster_of[labelled["id"]].to_numpy().astype(np.int64)
    actual = pd.factorize(labelled["cluster"])[0].astype(np.int64)
    counts = {"labelled documents": len(labelled), "not in the run": missing}
    return counts | cluster_metrics(predicted, actual)


def _compare_pairs(cluster_of: pd.Series[float], labelled: pd.DataFrame, missing: int) -> Metrics:
    predicted = cluster_of[labelled["qid1"]].to_numpy() == cluster_of[labelled["qid2"]].to_numpy()
    actual = labelled["is_duplicate"].to_numpy(bool)
    counts = {"labelled pairs": len(labelled), "not in the run": missing}
    return counts | pair_metrics(predicted, actual)


def _compare_closure(cluster_of: pd.Series[float], labelled: pd.DataFrame) -> Metrics:
    ends, documents = pd.factorize(pd.concat([labelled["qid1"], labelled["qid2"]]))
    left, right = ends.reshape(2, -1)
    # Pairs labelled different become loops, which connect nothing.
    gold = number_components(len(documents), left, np.where(labelled["is_duplicate"], right, left))
    predicted = cluster_of.reindex(documents).to_numpy().astype(np.int64)
    return {"labelled documents": len(documents)} | cluster_metrics(predicted, gold)
