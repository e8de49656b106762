"""Other thresholds: the same as `rethreshold`, in this process and in others, and kept beside the run."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from dupmine import Miner, MiningResult
from dupmine.report import thresholds
from dupmine.report.targets import target_thresholds
from dupmine.report.thresholds import ThresholdPoint, choose_thresholds, measure_thresholds
from dupmine.rerank.thresholds import choose_threshold

from ..helpers.results import make_result, removed


@pytest.fixture(scope="module", params=["guarded", "components"])
def result(request: pytest.FixtureRequest) -> MiningResult:
    return make_result(method=request.param)


def same(first: ThresholdPoint, second: ThresholdPoint) -> bool:
    names = ("threshold", "accepted_pairs", "clusters", "removed_documents", "largest_cluster")
    return all(getattr(first, name) == getattr(second, name) for name in names) and all(
        np.array_equal(getattr(first, name), getattr(second, name)) for name in ("removed", "representative")
    )


def test_points_are_what_rethreshold_finds(result: MiningResult) -> None:
    wanted = choose_thresholds(result, [0.612])
    assert len(wanted) >= 25
    assert {0.5, 0.612} <= set(wanted)
    for point in measure_thresholds(result, wanted):
        again = result.rethreshold(point.threshold)
        assert point.removed.tolist() == np.flatnonzero(removed(again)).tolist()
        heads = again.clusters[again.clusters["is_representative"]].set_index("cluster_id")["doc_id"]
        ids = again.corpus.documents["doc_id"].to_pylist()
        cluster_of = again.clusters.set_index("doc_id")["cluster_id"]
        for gone, stays in zip(point.removed[:20].tolist(), point.representative[:20].tolist(), strict=True):
            assert ids[stays] == heads[cluster_of[ids[gone]]]
        assert point.clusters == again.manifest["counts"]["clusters"]


def test_processes_find_the_same(result: MiningResult, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [0.2, 0.5, 0.8]
    here = measure_thresholds(result, wanted)
    monkeypatch.setattr(thresholds, "_FEW_PAIRS", 0)
    thresholds._remembered.cache_clear()
    there = measure_thresholds(result, wanted)
    assert all(map(same, here, there))


def test_they_are_kept_beside_the_run(
    result: MiningResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "run.thresholds.parquet"
    first = measure_thresholds(result, [0.3, 0.5], cache=cache)
    computed: list[float] = []

    def count(mined: MiningResult, wanted: list[float]) -> list[ThresholdPoint]:
        computed.extend(wanted)
        return [thresholds.measure_threshold(mined, threshold) for threshold in wanted]

    monkeypatch.setattr(thresholds, "_compute", count)
    assert all(map(same, first, measure_thresholds(result, [0.3, 0.5])))  # from memory
    assert computed == []
    monkeypatch.setattr(thresholds, "_remembered", lambda _run: {})  # as another process, from here on
    assert all(map(same, first, measure_thresholds(result, [0.3, 0.5], cache=cache)))
    assert computed == []
    measure_thresholds(result, [0.3, 0.7], cache=cache)
    assert computed == [0.7]
    other = result.rethreshold(0.6)  # another result: nothing of the file holds
    measure_thresholds(other, [0.3], cache=cache)
    assert computed == [0.7, 0.3]
    cache.write_bytes(b"broken")
    measure_thresholds(other, [0.3], cache=cache)
    assert computed == [0.7, 0.3, 0.3]


def test_a_folder_that_cannot_be_written_costs_only_time(
    result: MiningResult, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        [point] = measure_thresholds(result, [0.5], cache=tmp_path / "gone" / "run.thresholds.parquet")
    assert point.removed_documents == result.manifest["counts"]["removed_documents"]
    assert "the next report computes its thresholds again" in caplog.text


def test_target_precisions_of_the_model_are_among_them(miner: Miner) -> None:
    result = miner.mine(["Is Mars red?", "Why is Mars red?", "What makes Mars red?"])
    reached = target_thresholds(result)
    assert reached
    for target, threshold in reached.items():
        settings = miner.settings.rerank.model_copy(update={"target_precision": target})
        assert choose_threshold(settings, miner.models.decision) == (
            threshold,
            f"rerank.target_precision {target:g}",
        )
    result.manifest["models"]["cross_encoder"]["sha256"] = "another model"
    assert target_thresholds(result) == {}
