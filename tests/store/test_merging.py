"""Segments that merge by themselves: few files after many updates, and the store of a full run."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dupmine import Store
from dupmine.store.changes import read_log, replay
from dupmine.store.merging import changes_in, count_kept, size_of

from ..helpers.stores import (
    POOL,
    Maker,
    commit_of,
    logged,
    membership,
    numbered,
    require_equal,
    table,
    tables,
    unnumbered,
)
from ..helpers.tiny_models import TinyModels


@pytest.fixture(scope="module")
def maker(tiny: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> Maker:
    models = {"bi_encoder": tiny["static"], "cross_encoder": tiny["sigmoid"]}
    return Maker.of(tmp_path_factory.mktemp("store") / "blank", floor=0.65, threshold=0.6, **models)


@given(st.lists(st.integers(1, 1000), max_size=200))
def test_a_segment_is_larger_than_all_later_ones_together(added: list[int]) -> None:
    sizes: list[int] = []
    for size in added:
        kept = count_kept(sizes, size)
        sizes = [*sizes[:kept], sum(sizes[kept:]) + size]
    assert sum(sizes) == sum(added)
    assert all(size > sum(sizes[i + 1 :]) for i, size in enumerate(sizes))
    assert len(sizes) <= math.log2(sum(sizes) + 1) + 1


def segment_files(store: Store) -> int:
    return sum(name.startswith("segments/") for name in commit_of(store).files)


def test_many_small_updates_have_few_segments_and_the_clusters_of_a_full_run(
    maker: Maker, tmp_path: Path
) -> None:
    documents = numbered(POOL)
    names = list(documents)
    store = maker.store(tmp_path / "store", {name: documents[name] for name in names[:20]})
    for start in range(20, len(names), 2):
        store.update(table({name: documents[name] for name in names[start : start + 2]}))
        store.delete([names[start - 20]])  # and it comes again with another text
        documents[names[start - 20]] = (f"{documents[names[start - 20]][0]} now", 1)
        store.update(table({names[start - 20]: documents[names[start - 20]]}))
    sizes = list(map(size_of, commit_of(store).segments))
    assert len(sizes) <= math.log2(sum(sizes)) + 1
    assert all(size > sum(sizes[i + 1 :]) for i, size in enumerate(sizes))
    assert segment_files(store) == 5 * len(sizes)
    assert store.verify() == []
    kept = {name.split("/")[1] for name in commit_of(store).files if name.startswith("segments/")}
    assert kept <= {path.name for path in (store.path / "segments").iterdir()}
    live = store.snapshot.documents["doc_id"].to_pylist()
    expected = tables(maker.mine({name: documents[name] for name in live}))
    require_equal({"clusters": unnumbered(store.clusters_table)}, {"clusters": expected["clusters"]})
    assert replay(logged(store)).to_pylist() == membership(store)
    assert len(changes_in(commit_of(store))) <= math.log2(store.generation) + 1
    assert store.changes()["generation"].is_monotonic_increasing
    assert replay(read_log(store.path)).to_pylist() == membership(store)


def test_the_status_says_when_compaction_helps(maker: Maker, tmp_path: Path) -> None:
    store = maker.store(tmp_path / "store", numbered(POOL[:20]))
    assert store.status()["compact_frees"] == 0
    store.delete([str(number) for number in range(10)])
    assert store.status()["compact_frees"] == 0.5
    store.compact()
    assert store.status()["compact_frees"] == 0
