"""Results: every kind of input, tables and explanations, another threshold, saving and loading."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from dupmine import InputError, Miner, MiningResult, OutputError, SettingsError

from ..helpers import shell

ROWS = [line.split(",") for line in shell.QUESTIONS.splitlines()]
FRAME = pd.DataFrame(ROWS[1:], columns=ROWS[0])
WEIGHT = [
    "How can I lose weight?",
    "How can I lose weight fast?",
    "What is the fastest way to lose weight?",
    "How do I lose belly fat?",
    "What is the best way to reduce belly fat?",
    "What is the best diet to lose weight?",
    "What should I eat to lose weight?",
    "How do I slim down?",
    "How can I get slim?",
    "Is Mars red?",
]
CLUSTERS = [{"0", "1", "2"}, {"3", "4"}, {"6", "7"}]


def changed(miner: Miner, **settings: Any) -> Miner:
    """Return a miner with other settings and the same models, loaded once; it decides each pair alone."""
    other = Miner(miner.settings, progress=False, decision="pair", **settings)
    other.__dict__["models"] = replace(miner.models, decision=None)
    return other


@pytest.fixture(scope="session")
def half(miner: Miner) -> Miner:
    return changed(miner, threshold=0.5)


@pytest.fixture(scope="session")
def result(half: Miner) -> MiningResult:
    return half.mine(FRAME)


@pytest.fixture(scope="session")
def chain(miner: Miner) -> MiningResult:
    """Mine texts whose clusters are connected by chains of accepted pairs."""
    return changed(miner, method="components", floor=0.75, threshold=0.3).mine(WEIGHT)


def members(result: MiningResult) -> list[set[str]]:
    return sorted((set(ids) for _, ids in result.clusters.groupby("cluster_id")["doc_id"]), key=min)


@pytest.mark.parametrize(
    "make",
    [
        lambda: FRAME["question"].tolist(),
        lambda: FRAME["question"],
        lambda: FRAME[["question"]],
        lambda: pl.DataFrame({"question": FRAME["question"].tolist()}),
        lambda: pa.table({"question": FRAME["question"].tolist()}),
    ],
    ids=["list", "series", "pandas", "polars", "arrow"],
)
def test_every_kind_of_data_gives_the_same_clusters(
    make: Callable[[], Any], half: Miner, result: MiningResult
) -> None:
    found = half.mine(make())
    assert members(found) == CLUSTERS
    assert found.clusters["text"].tolist() == result.clusters["text"].tolist()
    np.testing.assert_array_equal(found.clusters["probability"], result.clusters["probability"])


@pytest.mark.parametrize("kind", [str, Path])
def test_path_gives_the_same_tables(
    kind: type[str] | type[Path], half: Miner, tmp_path: Path, result: MiningResult
) -> None:
    path = tmp_path / "questions.csv"
    path.write_text(shell.QUESTIONS, encoding="utf-8")
    found = half.mine(kind(path))
    assert found.clusters_table.equals(result.clusters_table)
    assert found.pairs_table.equals(result.pairs_table)
    pd.testing.assert_frame_equal(found.deduplicated(), result.deduplicated(), check_dtype=False)


def test_clusters(result: MiningResult) -> None:
    assert members(result) == shell.MEMBERS
    frame = result.clusters
    assert frame["cluster_id"].tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert frame["cluster_size"].tolist() == [2, 2, 3, 3, 3, 2, 2]
    assert frame.groupby("cluster_id")["is_representative"].sum().tolist() == [1, 1, 1]
    assert frame.loc[frame["is_representative"], "probability"].tolist() == [1.0, 1.0, 1.0]
    learn = frame[frame["cluster_id"] == 1]
    pair = result.explain("a1", "a3")
    assert learn.set_index("doc_id")["probability"].to_dict() == {
        "a1": 1.0,
        "a2": 1.0,
        "a3": np.float32(pair.probability or 0),
    }
    assert set(learn["weakest_link"]) == {np.float32(pair.probability or 0)}


def test_pairs_say_how_they_were_decided(result: MiningResult) -> None:
    pairs = result.pairs
    assert {frozenset(ends) for ends in pairs[["left_id", "right_id"]].itertuples(index=False)} == {
        frozenset(ends) for ends in (("a1", "a2"), ("a1", "a3"), ("b1", "b2"), ("d1", "d2"))
    }
    exact = pairs[pairs["decided_by"] == "exact"]
    assert exact.to_dict("records") == [
        {
            "left_id": "a1",
            "right_id": "a2",
            "cosine": 1.0,
            "probability": 1.0,
            "is_duplicate": True,
            "decided_by": "exact",
            "pair_probability": 1.0,
            "scored_by": "exact",
        }
    ]
    assert (pairs["is_duplicate"] == (pairs["probability"] >= 0.5)).all()


def test_deduplicated_keeps_representatives_and_single_documents(result: MiningResult) -> None:
    kept = result.deduplicated()
    heads = set(result.clusters.loc[result.clusters["is_representative"], "doc_id"])
    assert kept["id"].tolist() == [i for i in FRAME["id"] if i in heads | {"c1", "e1"}]
    assert kept.columns.tolist() == ["doc_id", "text", "id", "question", "score", "date"]
    assert len(kept) + result.removed_table.num_rows == len(FRAME)


def test_duplicates_of(result: MiningResult) -> None:
    found = result.duplicates_of("a2")
    assert found["doc_id"].tolist() == ["a1", "a3"]
    assert found["probability"].tolist() == [1.0, result.explain("a2", "a3").probability]
    assert result.duplicates_of("c1").empty
    assert result.duplicates_of("e1").empty
    with pytest.raises(InputError, match=r"^there is no document with the id 'zz'$"):
        result.duplicates_of("zz")


def test_explain_a_scored_pair(result: MiningResult, miner: Miner) -> None:
    found = result.explain("b1", "b2")
    assert (found.left_id, found.right_id) == ("b1", "b2")
    assert found.right_text == "What is the fastest way to lose weight?"
    assert (found.same_cluster, found.decided_by) == (True, "cross-encoder")
    [probability] = miner.score_pairs([(found.left_text, found.right_text)])
    assert found.probability == pytest.approx(probability, abs=1e-6)
    assert found.path == (("b1", "b2", found.probability),)
    assert str(found).splitlines()[2:] == [
        "in one cluster",
        f"decided by cross-encoder: cosine {found.cosine:.3f}, probability {found.probability:.3f}",
        f"  b1 - b2: probability {found.probability:.3f}",
    ]


def test_explain_exact_duplicates(result: MiningResult) -> None:
    found = result.explain("a1", "a2")
    assert (found.same_cluster, found.decided_by, found.cosine, found.probability, found.path) == (
        True,
        "exact",
        1.0,
        1.0,
        (),
    )


def test_explain_different_clusters_never_scored(result: MiningResult) -> None:
    found = result.explain("a1", "b1")
    assert (found.same_cluster, found.cosine, found.probability, found.path) == (False, None, None, ())
    assert str(found).splitlines()[2:] == [
        "in different clusters",
        "never scored: the bi-encoder did not propose the pair",
    ]


@pytest.mark.parametrize(("left", "right", "same"), [("e1", "a1", False), ("e1", "e1", True)])
def test_explain_an_empty_text(result: MiningResult, left: str, right: str, same: bool) -> None:
    found = result.explain(left, right)
    assert (found.same_cluster, found.probability, found.path) == (same, None, ())
    assert str(found).splitlines()[-1] == "never scored: an empty text is compared with nothing"


def test_explain_an_unknown_id(result: MiningResult) -> None:
    with pytest.raises(InputError, match=r"^there is no document with the id '17'$"):
        result.explain("a1", 17)


def test_explain_leads_through_a_third_document(chain: MiningResult) -> None:
    scored = {
        frozenset((left, right)): probability
        for left, right, probability in zip(
            chain.pairs["left_id"], chain.pairs["right_id"], chain.pairs["probability"], strict=True
        )
    }
    longer = 0
    for group in members(chain):
        for left, right in combinations(sorted(group), 2):
            found = chain.explain(left, right)
            assert found.same_cluster
            assert (found.path[0][0], found.path[-1][1]) == (left, right)
            assert all(scored[frozenset((a, b))] == p for a, b, p in found.path)
            assert all(step[1] == after[0] for step, after in zip(found.path, found.path[1:], strict=False))
            # No path is worse than the pair itself.
            assert min(p for *_, p in found.path) >= scored.get(frozenset((left, right)), 0)
            longer += len(found.path) > 1
    assert longer > 0


def test_explain_agrees_with_the_clusters_table(chain: MiningResult) -> None:
    frame = chain.clusters
    heads = frame[frame["is_representative"]].set_index("cluster_id")["doc_id"]
    others = frame[~frame["is_representative"]]
    found = [chain.explain(i, heads[c]) for i, c in zip(others["doc_id"], others["cluster_id"], strict=True)]
    assert [explanation.probability for explanation in found] == others["probability"].tolist()
    # Some were no candidates, and scored for the table only.
    assert None in [explanation.cosine for explanation in found]
    probability = next(e.probability for e in found if e.cosine is None)
    assert f"\ndecided by cross-encoder: probability {probability:.3f}\n" in "\n".join(map(str, found))


def test_rethreshold_up_down_and_back(result: MiningResult) -> None:
    [weakest] = result.pairs["probability"].nsmallest(1)
    higher = result.rethreshold(float(weakest) + 0.01)
    assert members(higher) == [{"a1", "a2"}, *shell.MEMBERS[1:]]
    assert higher.settings.rerank.threshold == pytest.approx(weakest + 0.01)
    assert higher.manifest["settings"]["rerank"]["threshold"] == higher.settings.rerank.threshold
    assert (higher.manifest["counts"]["clusters"], higher.manifest["counts"]["accepted_pairs"]) == (3, 2)
    assert higher.rethreshold(0.5).clusters_table.equals(result.clusters_table)
    assert result.rethreshold(0.5).pairs_table.equals(result.pairs_table)
    assert result.manifest["counts"]["clusters"] == 3


def test_rethreshold_down_equals_mining_there(miner: Miner, result: MiningResult) -> None:
    found = changed(miner, threshold=0.9).mine(FRAME)
    assert members(found) == [{"a1", "a2"}, *shell.MEMBERS[1:]]
    assert found.rethreshold(0.5).clusters_table.equals(result.clusters_table)


def test_rethreshold_out_of_range(result: MiningResult) -> None:
    with pytest.raises(SettingsError, match=r"^setting rerank\.threshold: should be less than or equal to 1"):
        result.rethreshold(1.1)


@pytest.mark.parametrize("which", ["result", "chain"])
def test_save_and_load(which: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    saved: MiningResult = request.getfixturevalue(which)
    saved.save(tmp_path / "run")
    loaded = MiningResult.load(tmp_path / "run")
    for name in ("clusters_table", "pairs_table", "deduplicated_table", "removed_table"):
        assert getattr(loaded, name).equals(getattr(saved, name)), name
    assert loaded.settings == saved.settings
    assert loaded.manifest == saved.manifest
    np.testing.assert_array_equal(loaded.row_of, saved.row_of)
    assert replace(loaded.corpus, files=saved.corpus.files, counts=saved.corpus.counts) == saved.corpus
    for threshold in (0.2, 0.6, 0.9):
        assert loaded.rethreshold(threshold).clusters_table.equals(
            saved.rethreshold(threshold).clusters_table
        )
    ids = saved.corpus.documents["doc_id"].to_pylist()
    for left, right in combinations(ids, 2):
        assert loaded.explain(left, right) == saved.explain(left, right)


def test_a_run_can_be_mined_again(miner: Miner, result: MiningResult, tmp_path: Path) -> None:
    result.save(tmp_path / "first")
    again = miner.mine(tmp_path / "first" / "removed.parquet")
    assert members(again) == [{"a2", "a3"}]
    again.save(tmp_path / "second")
    assert MiningResult.load(tmp_path / "second").deduplicated_table.equals(again.deduplicated_table)
    removed = pd.read_parquet(tmp_path / "second" / "removed.parquet")
    assert removed[["dupmine_position_original", "dupmine_position"]].to_numpy().tolist() == [[2, 1]]


def test_a_folder_below_home(result: MiningResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    result.save("~/run")
    assert MiningResult.load("~/run").clusters_table.equals(result.clusters_table)
    with pytest.raises(InputError, match=f"^{tmp_path / 'none'} is not a run of dupmine"):
        MiningResult.load("~/none")


def test_repr(result: MiningResult) -> None:
    assert repr(result) == ("MiningResult(9 documents, 3 clusters, 4 documents that could go, threshold 0.5)")


def test_the_index_of_a_frame_comes_back(half: Miner, tmp_path: Path) -> None:
    frame = FRAME.drop(columns="id").set_index(pd.Index([float(i) for i in range(10, 19)]))
    result = half.mine(frame)
    joined = result.clusters.join(frame, rsuffix="_of_frame")
    assert joined["question"].tolist() == result.clusters["text"].tolist()
    assert [repr(label) for label in joined.index] == result.clusters["doc_id"].tolist()
    assert frame.index[result.clusters["dupmine_position"]].tolist() == joined.index.tolist()
    assert result.deduplicated().index.tolist() == [
        label for label in frame.index if label not in set(frame.index[result._is_removed])
    ]
    assert set(result.duplicates_of(10.0)["doc_id"]) == {"11.0", "12.0"}
    assert result.explain(10.0, 11.0).decided_by == "exact"
    by_position = half.mine(frame.reset_index(drop=True)).clusters
    assert by_position.index.tolist() == by_position["dupmine_position"].tolist()


def test_clusters_as_csv_and_excel(result: MiningResult, tmp_path: Path) -> None:
    result.to_csv(tmp_path / "clusters.csv")
    columns = ["cluster_id", "doc_id", "text", "is_representative", "cluster_size"]
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "clusters.csv")[columns], result.clusters[columns])
    result.to_excel(tmp_path / "clusters.xlsx")
    sheets = pd.read_excel(tmp_path / "clusters.xlsx", sheet_name=None)
    assert list(sheets) == ["clusters", "pairs"]
    pd.testing.assert_frame_equal(sheets["clusters"][columns], result.clusters[columns])
    assert len(sheets["pairs"]) == len(result.pairs)
    with pytest.raises(OutputError, match="cannot be written"):
        result.to_csv(tmp_path / "missing" / "clusters.csv")
