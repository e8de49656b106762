"""Commits that are not what their name says: of another generation, of another store, of another history."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dupmine import CorruptStoreError, Store
from dupmine.errors import SettingsError
from dupmine.store.commits import _with_checksum, generations
from dupmine.store.layout import commit_file, copy_of

from ..helpers.stores import POOL, Maker, committed, membership, numbered, table
from ..helpers.tiny_models import TinyModels

FIRST, SECOND, THIRD = numbered(POOL[::2]), numbered(POOL[1:20:3], 30), numbered(POOL[5:9], 60)


@pytest.fixture(scope="module")
def maker(tiny: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> Maker:
    models = {"bi_encoder": tiny["static"], "cross_encoder": tiny["sigmoid"]}
    return Maker.of(tmp_path_factory.mktemp("store") / "blank", floor=0.65, threshold=0.6, **models)


@pytest.fixture(scope="module")
def filled(maker: Maker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generations 0 to 2 of a store."""
    store = maker.store(tmp_path_factory.mktemp("filled") / "store", FIRST)
    store.update(table(SECOND))
    return store.path


@pytest.fixture
def store(maker: Maker, filled: Path, tmp_path: Path) -> Store:
    return maker.open(shutil.copytree(filled, tmp_path / "store"))


def replace_commit(store: Store, generation: int, source: Path, *, copy: bool = False) -> None:
    """Replace a commit, or commit and copy, by another file."""
    names = [commit_file(generation), copy_of(commit_file(generation))]
    for name in names if copy else names[:1]:
        shutil.copyfile(source, store.path / name)


def test_the_copy_wins_over_a_commit_of_another_generation(store: Store, maker: Maker) -> None:
    before = membership(store)
    replace_commit(store, 2, store.path / commit_file(0))
    [damage] = store.verify()
    assert (damage.file, damage.problem) == (commit_file(2), "it is the commit of generation 0")
    opened = maker.open(store.path)
    assert (opened.generation, membership(opened)) == (2, before)
    assert opened.update(table(THIRD)).generation == 3
    assert opened.status()["documents"] == len(FIRST | SECOND | THIRD)
    assert [damage.repaired for damage in opened.verify(repair=True)] == [True]
    assert opened.verify() == []


def test_a_commit_and_a_copy_of_another_generation_are_refused(store: Store) -> None:
    replace_commit(store, 2, store.path / commit_file(0), copy=True)
    before = committed(store.path)
    with pytest.raises(
        CorruptStoreError, match=r"00000002\.json is damaged \(it is the commit of generation 0"
    ):
        store.update(table(THIRD))
    assert committed(store.path) == before
    assert {damage.file for damage in store.verify()} == {commit_file(2), copy_of(commit_file(2))}


def test_a_stray_commit_of_a_later_generation_hides_no_update(store: Store) -> None:
    shutil.copyfile(store.path / commit_file(1), store.path / commit_file(9))
    before = committed(store.path)
    with pytest.raises(
        CorruptStoreError, match=r"00000009\.json is damaged \(it is the commit of generation 1"
    ):
        store.update(table(THIRD))
    assert committed(store.path) == before


@pytest.fixture
def other(maker: Maker, tmp_path: Path) -> Store:
    """Another store with as many generations."""
    other = maker.store(tmp_path / "other", FIRST)
    other.update(table(THIRD))
    return other


def test_of_a_commit_and_its_copy_the_one_wins_that_follows_the_generation_before(
    store: Store, other: Store, maker: Maker, tmp_path: Path
) -> None:
    """The histories part at generation 1, so that commit 3 of one follows commit 2 of that one only."""
    for each in (store, other):
        each.delete(["1"])
    replace_commit(store, 3, other.path / commit_file(3))
    [damage] = store.verify()
    assert (damage.file, damage.problem) == (commit_file(3), "it does not follow generation 2")
    assert maker.open(store.path).status()["documents"] == len(FIRST | SECOND) - 1
    assert [damage.repaired for damage in store.verify(repair=True)] == [True]
    assert store.verify() == []


def test_a_commit_of_another_history_is_refused(store: Store, other: Store) -> None:
    for each in (store, other):
        each.delete(["1"])
    replace_commit(store, 3, other.path / commit_file(3), copy=True)
    before = committed(store.path)
    with pytest.raises(
        CorruptStoreError, match=r"00000003\.json is damaged \(it does not follow generation 2"
    ):
        store.update(table(THIRD))
    assert committed(store.path) == before


def test_a_commit_that_differs_from_its_copy_is_refused_where_nothing_decides(
    maker: Maker, tmp_path: Path
) -> None:
    one, two = (
        maker.open(shutil.copytree(maker.blank, tmp_path / name), keep_generations=1) for name in "ab"
    )
    one.update(table(FIRST))
    two.update(table(SECOND))
    assert generations(one.path) == [1]
    replace_commit(one, 1, two.path / commit_file(1))
    with pytest.raises(CorruptStoreError, match=r"1\.json is damaged \(it differs from its copy"):
        one.clusters()
    assert {damage.file for damage in one.verify()} == {commit_file(1), copy_of(commit_file(1))}


def change_commit(store: Store, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the values of the newest commit and its copy, with the checksum that belongs to them."""
    name = commit_file(store.generation)
    values = json.loads((store.path / name).read_bytes())
    change(values)
    for each in (name, copy_of(name)):
        (store.path / each).write_bytes(_with_checksum(values))


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "more": (lambda values: values.update(extra=1), "it has an unknown field, 'extra'"),
    "less": (lambda values: values.pop("counts"), "its field counts is wrong (Field required)"),
    "no format": (lambda values: values.pop("format") and values.pop("counts"), "its field counts is wrong"),
    "type": (lambda values: values.update(segments={}), "its field segments is wrong (Input should be"),
    "negative": (
        lambda values: values["segments"][0].update(texts=-1),
        "its field segments.0.texts is wrong",
    ),
    "file": (lambda values: values["files"].update(x={}), "its field files.x.bytes is wrong"),
    "models": (lambda values: values["models"].clear(), "its field models is wrong"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_commit_with_other_fields_is_damaged(case: str, store: Store) -> None:
    change, problem = CHANGES[case]
    change_commit(store, change)
    with pytest.raises(CorruptStoreError, match=rf"2\.json is damaged \({re.escape(problem)}") as caught:
        store.update(table(THIRD))
    assert "\n" not in str(caught.value)


def test_a_commit_with_a_setting_of_a_newer_version(store: Store, maker: Maker) -> None:
    change_commit(store, lambda values: values["settings"]["rerank"].update(speed="high"))
    expected = r"^another version of dupmine wrote the settings of the store \(unknown setting rerank.speed"
    with pytest.raises(SettingsError, match=expected):
        maker.open(store.path)


def test_a_commit_of_a_hundred_thousand_levels(store: Store) -> None:
    for each in (commit_file(2), copy_of(commit_file(2))):
        (store.path / each).write_bytes(b'{"a":' * 100_000)
    with pytest.raises(CorruptStoreError, match=r"2\.json is damaged \(it has too many levels\)"):
        store.clusters()


def first_segment(values: dict[str, Any], **changes: int) -> None:
    values["segments"][0].update(changes)


FIRST_TEXTS = "segments/00000001/texts.parquet"
MISFITS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "documents": (
        lambda values: first_segment(values, documents=7),
        f"it does not fit segments/00000001/documents.parquet: it has {len(FIRST)} rows instead of 7",
    ),
    "texts": (
        lambda values: first_segment(values, texts=1 << 40),
        f"it does not fit {FIRST_TEXTS}: it has {len(FIRST)} rows instead of 1,099,511,627,776",
    ),
    "pairs": (
        lambda values: first_segment(values, pairs=0),
        "it does not fit segments/00000001/pairs.parquet: it has ",
    ),
    "dim": (
        lambda values: values["models"]["bi_encoder"].update(dim=17),
        "it does not fit segments/00000001/embeddings.npy: it has float16 numbers of shape",
    ),
    "next cluster": (
        lambda values: values.update(next_cluster_id=1),
        "it does not fit states/00000002.parquet: its cluster_id goes from 0 to ",
    ),
    "fewer segments": (
        lambda values: values["segments"].pop(),
        "it lists segments/00000002/documents.copy.parquet, which is of another generation",
    ),
    "swapped segments": (
        lambda values: values["segments"].reverse(),
        "its segments are not in the order of their generations",
    ),
    "later segment": (
        lambda values: values["segments"][1].update(generation=3),
        "its segments are not in the order of their generations",
    ),
    "unlisted file": (lambda values: values["files"].pop(FIRST_TEXTS), f"it does not list {FIRST_TEXTS}"),
    "unlisted copy": (
        lambda values: values["files"].pop("changes/00000001.copy.parquet"),
        "it does not list changes/00000001.copy.parquet",
    ),
    "unlisted state": (
        lambda values: values["files"].pop("states/00000002.parquet"),
        "it does not list states/00000002.parquet",
    ),
    "later changes": (
        lambda values: values["files"].update(
            {
                name.replace("1", "9"): file
                for name, file in values["files"].items()
                if name.startswith("changes/00000001")
            }
        ),
        "it lists changes/00000009.parquet, which is of another generation",
    ),
    "huge count": (
        lambda values: values.update(next_cluster_id=10**30),
        "its field next_cluster_id is wrong",
    ),
    "no dimension": (
        lambda values: values["models"]["bi_encoder"].update(dim=-1),
        "its field models is wrong",
    ),
}


@pytest.mark.parametrize("case", MISFITS)
def test_a_commit_that_does_not_fit_its_files(case: str, store: Store, maker: Maker) -> None:
    """Its checksum is valid. It ended in tracebacks, or in other clusters."""
    change, problem = MISFITS[case]
    change_commit(store, change)
    before = committed(store.path)
    expected = rf"00000002\.json is damaged \({re.escape(problem)}"
    for read in (store.clusters, lambda: store.update(table(THIRD)), lambda: store.delete(["1"])):
        with pytest.raises(CorruptStoreError, match=expected) as caught:
            read()
        assert "\n" not in str(caught.value)
    assert committed(store.path) == before
    damage = {entry.file: entry.problem for entry in store.verify()}
    assert damage.keys() == {commit_file(2), copy_of(commit_file(2))}
    assert damage[commit_file(2)].startswith(problem)
    assert {entry.outcome for entry in Store.open_damaged(store.path).verify(repair=True)} == {"lost"}
    assert store.verify() == []
    assert maker.open(store.path).status()["documents"] == len(FIRST)
