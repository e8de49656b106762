"""Other settings and models, earlier generations, fewer segments: what is reused, and what is recomputed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from dupmine import InputError, Store
from dupmine.store.changes import replay
from dupmine.store.commits import read_commit

from ..helpers.stores import (
    POOL,
    Maker,
    committed,
    logged,
    members,
    membership,
    numbered,
    require_equal,
    table,
    tables,
)
from ..helpers.tiny_models import TinyModels

DOCUMENTS = numbered([*POOL[::2], POOL[4].upper(), "", POOL[8]])
BASE: dict[str, Any] = {
    "floor": 0.8,
    "threshold": 0.5,
    "agreement": 0.25,
    "unknown": 0.2,
    "keep_generations": 2,
}


@pytest.fixture(scope="module")
def maker(tiny: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> Maker:
    models = {"bi_encoder": tiny["static"], "cross_encoder": tiny["sigmoid"]}
    return Maker.of(tmp_path_factory.mktemp("store") / "blank", **BASE, **models)


@pytest.fixture(scope="module")
def filled(maker: Maker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return maker.store(tmp_path_factory.mktemp("filled") / "store", DOCUMENTS).path


@pytest.fixture
def store(maker: Maker, filled: Path, tmp_path: Path) -> Store:
    return maker.open(shutil.copytree(filled, tmp_path / "store"))


# What changes -> texts that are embedded, pairs that are scored; "all", or None where some may be.
CHANGED: dict[str, tuple[dict[str, Any], int | str, int | str | None]] = {
    "nothing": ({}, 0, 0),
    "a lower threshold": ({"threshold": 0.4}, 0, None),
    "a higher threshold": ({"threshold": 0.6}, 0, 0),
    "a lower floor": ({"floor": 0.6}, 0, None),
    "a higher floor": ({"floor": 0.9}, 0, 0),
    "keep": ({"keep": "score:desc"}, 0, 0),
    "method": ({"method": "components"}, 0, None),
    "singletons": ({"singletons": True}, 0, 0),
    "max_tokens": ({"max_tokens": 4}, "all", "all"),
    "the cross-encoder": ({"cross_encoder": "regression"}, 0, "all"),
    "both orders": ({"symmetric": True}, 0, "all"),
    "the head": ({"head": "score", "score_max": 5.0}, 0, "all"),
    "the bi-encoder": ({"bi_encoder": "bi-encoder"}, "all", None),
}


@pytest.mark.parametrize("case", CHANGED)
def test_a_rebuilt_store_is_one_run_with_the_new_settings(
    case: str, store: Store, maker: Maker, tiny: TinyModels, tmp_path: Path
) -> None:
    changed, embedded, scored = CHANGED[case]
    named: dict[str, Any] = {
        key: tiny[value] if key.endswith("encoder") else value for key, value in changed.items()
    }
    models = {"bi_encoder": tiny["static"], "cross_encoder": tiny["sigmoid"]}
    fresh = Maker.of(tmp_path / "blank", **BASE | models | named)
    report = store.rebuild(**named)
    every = {"texts_embedded": report.counts["unique_texts"], "pairs_scored": report.counts["pairs"]}
    assert report.counts["texts_embedded"] == (every["texts_embedded"] if embedded == "all" else embedded)
    if scored is None:
        assert report.counts["pairs_scored"] < every["pairs_scored"]
    elif scored == "all":
        assert report.counts["pairs_scored"] >= every["pairs_scored"] > 50
    else:
        assert report.counts["pairs_scored"] == scored
    require_equal(tables(store.export(tmp_path / "run")), tables(fresh.mine(DOCUMENTS)))
    assert replay(logged(store)).to_pylist() == membership(store)
    more = DOCUMENTS | numbered(POOL[1::9], 40)
    fresh.open(store.path).update(table(more))
    require_equal(tables(store.export(tmp_path / "more")), tables(fresh.mine(more)))


def test_a_rebuild_back_gives_the_same_clusters_and_ids(store: Store) -> None:
    before = members(store)
    events = store.rebuild(threshold=0.9).events
    assert members(store) != before
    store.rebuild(threshold=0.5)
    now = members(store)
    assert set(now.values()) == set(before.values())
    assert "dissolved" in events
    assert store.status()["settings"]["rerank"]["threshold"] == 0.5


def test_rolling_back_behind_a_rebuild_brings_the_settings_back(store: Store, maker: Maker) -> None:
    before = membership(store)
    store.rebuild(threshold=0.75)
    report = store.rollback(1)
    assert (report.generation, membership(store)) == (3, before)
    assert store.settings.rerank.threshold == 0.5
    assert maker.open(store.path, threshold=0.5).generation == 3
    assert replay(logged(store)).to_pylist() == before


def test_a_rebuild_that_fails_leaves_the_store_and_its_settings(store: Store, tmp_path: Path) -> None:
    before = committed(store.path)
    with pytest.raises(ValueError, match="nowhere"):
        store.rebuild(threshold=0.9, cross_encoder=str(tmp_path / "nowhere"))
    assert committed(store.path) == before
    assert store.settings.rerank.threshold == 0.5
    assert not store.update(table(DOCUMENTS)).changed


@pytest.mark.parametrize("act", ["delete", "compact", "update"])
def test_a_store_opened_before_another_rebuilt_it_goes_on_with_its_settings(
    act: str, store: Store, maker: Maker, tmp_path: Path
) -> None:
    assert maker.open(store.path).rebuild(threshold=0.75, keep="first").changed
    left = {doc_id: document for doc_id, document in DOCUMENTS.items() if doc_id != "3"}
    if act == "delete":
        store.delete(["3"])
    elif act == "compact":
        store.compact()
    else:
        store.update(table(numbered([POOL[3]], 60)))
        left = DOCUMENTS | numbered([POOL[3]], 60)
    fresh = maker.miner.settings.changed({"threshold": 0.75, "keep": "first"})
    expected = type(maker.miner)(fresh, progress=False).mine(table(left if act != "compact" else DOCUMENTS))
    require_equal(tables(store.export(tmp_path / "run")), tables(expected))


def test_an_answer_is_judged_by_the_threshold_that_holds_now(store: Store, maker: Maker) -> None:
    maker.open(store.path).rebuild(threshold=0.75)
    answers = store.query(POOL[0], top=50)
    assert (answers["is_duplicate"] == (answers["probability"] >= 0.75)).all()
    assert answers["probability"].between(0.5, 0.75).any()


def test_compacting_makes_a_store_smaller_and_changes_nothing(store: Store, tmp_path: Path) -> None:
    store.update(table(numbered(POOL[1:20:2], 100)))
    store.delete([str(i) for i in range(100, 110)])
    clusters, before = store.clusters_table, store.status()
    exported = tables(store.export(tmp_path / "before"))
    report = store.compact()
    after = store.status()
    assert (report.events, report.counts["texts_embedded"], report.counts["pairs_scored"]) == ({}, 0, 0)
    assert (before["segments"], after["segments"]) == (2, 1)
    assert after["bytes"] < before["bytes"]
    assert store.clusters_table.equals(clusters)
    require_equal(tables(store.export(tmp_path / "after")), exported)
    assert (len(store.snapshot.state), store.snapshot.n_documents) == (len(DOCUMENTS), len(DOCUMENTS))
    assert store.snapshot.n_texts == after["unique_texts"]
    on_disk = sum(map(len, committed(store.path).values()))
    store.rollback(store.generation)  # the generations before the compaction and their files are removed
    assert sum(map(len, committed(store.path).values())) < on_disk
    assert [path.name for path in (store.path / "segments").iterdir()] == ["00000004"]


def test_only_the_last_generations_are_kept_and_they_are_whole(store: Store) -> None:
    seen = {1: membership(store)}
    for number in range(2, 6):
        store.update(table(numbered([POOL[2 * number - 1]], 50 + number)))
        seen[number] = membership(store)
    files = committed(store.path)
    assert {name for name in files if name.startswith("generations")} == {
        f"generations/{number:08}{copy}.json" for number in (4, 5) for copy in ("", ".copy")
    }
    listed = {name for number in (4, 5) for name in read_commit(store.path, number).files}
    assert files.keys() == {name for name in files if name.startswith("generations")} | listed
    assert store.verify() == []
    with pytest.raises(InputError, match=r"generation 3 is not kept \(kept are 4, 5\): name one of these"):
        store.rollback(3)
    assert store.status()["kept_generations"] == [4, 5]
    store.rollback(4)
    assert membership(store) == seen[4]
    assert replay(logged(store)).to_pylist() == seen[4]


def test_a_document_deleted_and_rolled_back_is_there_as_before(store: Store) -> None:
    before = store.clusters_table
    first = min(members(store))
    store.delete(sorted(members(store)[first]))
    assert first not in members(store)
    report = store.rollback(1)
    assert report.events["created"] >= 1
    assert store.clusters_table.equals(before)


def test_an_empty_store_can_be_compacted_and_exported(store: Store, tmp_path: Path) -> None:
    store.rebuild(keep="score:desc")
    store.delete(list(DOCUMENTS))
    assert store.compact().counts["documents"] == 0
    assert len(store.export(tmp_path / "run").clusters) == 0
    store.update(table(DOCUMENTS))
    assert store.status()["documents"] == len(DOCUMENTS)
