"""A run against labels in a file: its clusters, and what each stage found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ..corpus.questions import number_components
from ..errors import InputError
from ..results.run_folder import read_run
from ..schema import DOC_ID
from .candidates import RunCandidates
from .metrics import cluster_metrics, pair_metrics

_GOLD = ("id", "cluster")
_PAIRS = ("qid1", "qid2", "is_duplicate")
_FLAGS = {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}


Measures = dict[str, float | int]


def evaluate(run: Path, labels: Path) -> Measures:
    """Compare the clusters of a run with gold clusters (`id`, `cluster`) or labelled pairs.

    Labelled pairs have `qid1`, `qid2`, `is_duplicate`; a pair counts as predicted where both documents
    share a cluster. Labels of documents that the run does not hold are counted and left out.

    Raises:
        InputError: the run or the labels cannot be read, or no labelled document is in the run.
    """
    return evaluate_stages(run, labels)["clusters"]


def evaluate_stages(run: Path, labels: Path) -> dict[str, Measures]:
    """Compare what each stage of a run found with labels, as `evaluate` does for its clusters.

    `clusters` is what `evaluate` returns, `accepted` the pairs that stage 2 accepted before clusters were
    made of them, `candidates` the recall of those that stage 1 proposed. For labelled pairs `closure` holds
    the clusters against the connected components of the labelled duplicates, over the labelled documents;
    components that no label joins count as different.

    Raises:
        InputError: as `evaluate`.
    """
    tables, manifest = read_run(run)
    cluster_of = _clusters(tables)
    table = _read_labels(labels)
    floor = manifest["settings"].get("retrieval", {}).get("floor", -1.0)
    proposals = RunCandidates.build(cluster_of.index, tables["pairs"].to_pandas(), floor)
    if set(_GOLD) <= set(table.columns):
        known = table[table["id"].isin(cluster_of.index)]
        _require(len(known), labels)
        found = {"clusters": _against_gold(cluster_of, known, len(table))}
        return found | proposals.judge(*proposals.gold_pairs(known["id"], known["cluster"]))
    known = table[table["qid1"].isin(cluster_of.index) & table["qid2"].isin(cluster_of.index)]
    _require(len(known), labels)
    found = {"clusters": _against_pairs(cluster_of, known, len(table))}
    left, right = (proposals.places(known[name]) for name in ("qid1", "qid2"))
    found |= proposals.judge(left, right, known["is_duplicate"].to_numpy(bool))
    return found | {"closure": _against_closure(cluster_of, known)}


def _clusters(tables: dict[str, pa.Table]) -> pd.Series[float]:
    """Return the cluster of each document; one without has a number of its own below 0."""
    clusters = tables["clusters"].select(["cluster_id", DOC_ID]).to_pandas()
    cluster_of = pd.Series(clusters["cluster_id"].to_numpy(), index=clusters[DOC_ID])
    singles = pd.Index(pd.concat([tables[t][DOC_ID].to_pandas() for t in ("deduplicated", "removed")]))
    cluster_of = cluster_of.reindex(singles)
    alone = cluster_of.isna().to_numpy()
    cluster_of[alone] = -1.0 - np.arange(alone.sum())
    return cluster_of


def _against_gold(cluster_of: pd.Series[float], known: pd.DataFrame, labelled: int) -> Measures:
    predicted = cluster_of[known["id"]].to_numpy().astype(np.int64)
    actual = pd.factorize(known["cluster"])[0].astype(np.int64)
    counts = {"labelled documents": len(known), "not in the run": labelled - len(known)}
    return counts | cluster_metrics(predicted, actual)


def _against_pairs(cluster_of: pd.Series[float], known: pd.DataFrame, labelled: int) -> Measures:
    predicted = cluster_of[known["qid1"]].to_numpy() == cluster_of[known["qid2"]].to_numpy()
    actual = known["is_duplicate"].to_numpy(bool)
    counts = {"labelled pairs": len(known), "not in the run": labelled - len(known)}
    return counts | pair_metrics(predicted, actual)


def _against_closure(cluster_of: pd.Series[float], known: pd.DataFrame) -> Measures:
    ends, documents = pd.factorize(pd.concat([known["qid1"], known["qid2"]]))
    left, right = ends.reshape(2, -1)
    # An edge from a document to itself joins nothing.
    gold = number_components(len(documents), left, np.where(known["is_duplicate"], right, left))
    predicted = cluster_of.reindex(documents).to_numpy().astype(np.int64)
    return {"labelled documents": len(documents)} | cluster_metrics(predicted, gold)


def _read_labels(path: Path) -> pd.DataFrame:
    """Read the labels with ids as strings."""
    try:
        if path.suffix == ".parquet":
            table = pq.read_table(path).to_pandas()
        else:
            # Only nothing is missing: an id may well be called NA or null.
            table = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: no readable CSV or Parquet: {str(error).splitlines()[0]}") from None
    names = next((names for names in (_GOLD, _PAIRS) if set(names) <= set(table.columns)), None)
    if names is None:
        raise InputError(
            f"{path}: expected the columns {', '.join(_GOLD)} or {', '.join(_PAIRS)}, "
            f"found {', '.join(map(str, table.columns))}"
        )
    if table[list(names)].isna().any(axis=None):
        raise InputError(f"{path}: a label or an id is missing; remove or complete that row")
    if names == _GOLD:
        return _with_gold(table.astype({"id": str}), path)
    return _with_flags(table.astype({"qid1": str, "qid2": str}), path)


def _with_gold(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    twice = table.loc[table["id"].duplicated(), "id"]
    if len(twice):
        raise InputError(f"{path}: the id {twice.iloc[0]!r} is there twice; give each document one cluster")
    return table


def _with_flags(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    flags = table["is_duplicate"].astype(str).str.lower().map(_FLAGS)
    if flags.isna().any():
        strange = table.loc[flags.isna(), "is_duplicate"].iloc[0]
        raise InputError(f"{path}: is_duplicate holds {strange!r}; expected 0 or 1, or true or false")
    return table.assign(is_duplicate=flags.astype(bool))


def _require(n: int, labels: Path) -> None:
    if n == 0:
        raise InputError(f"{labels}: no labelled document is in the run; do the ids match?")
