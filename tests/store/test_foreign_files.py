"""Files of others in a store: named, never removed or overwritten, and never followed out of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dupmine import CorruptStoreError, OutputError, Store
from dupmine.store.commits import _with_checksum
from dupmine.store.layout import commit_file, copy_of

from ..helpers.stores import POOL, Maker, committed, numbered, table
from ..helpers.tiny_models import TinyModels

FOLDERS = (
    "",
    "segments",
    "segments/00000001",
    "segments/00000009",
    "states",
    "changes",
    "generations",
    ".work",
)
NAMES = (
    "data.bin",
    "00000001 2.json",
    "00000001 (copy).json",
    "00000002.json.bak",
    "documents.parquet.bak",
    ".notes.tmp-01234567",
    "notes",
    "thesis.npy",
)


@pytest.fixture(scope="module")
def maker(tiny: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> Maker:
    models = {"bi_encoder": tiny["static"], "cross_encoder": tiny["sigmoid"]}
    return Maker.of(tmp_path_factory.mktemp("store") / "blank", floor=0.65, threshold=0.6, **models)


@pytest.fixture(scope="module")
def filled(maker: Maker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return maker.store(tmp_path_factory.mktemp("filled") / "store", numbered(POOL[:20:2])).path


@pytest.fixture
def store(maker: Maker, filled: Path, tmp_path: Path) -> Store:
    return maker.open(shutil.copytree(filled, tmp_path / "store"))


def write_everything(store: Store) -> None:
    """Have every kind of writer at work, so that whole generations and segments are removed."""
    store.update(table(numbered(POOL[1:9:2], 40)))
    store.delete(["2"])
    store.compact()
    store.rebuild(threshold=0.61)
    store.rollback(store.generation)
    store.verify(repair=True)


@settings(max_examples=15, suppress_health_check=list(HealthCheck), deadline=None)
@given(planted=st.sets(st.tuples(st.sampled_from(FOLDERS), st.sampled_from(NAMES)), min_size=1, max_size=6))
def test_no_file_of_others_vanishes(
    planted: set[tuple[str, str]], maker: Maker, filled: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = maker.open(shutil.copytree(filled, tmp_path_factory.mktemp("any") / "store"))
    names = sorted(str(Path(folder, name)) for folder, name in planted)
    for name in names:
        (store.path / name).parent.mkdir(parents=True, exist_ok=True)
        (store.path / name).write_text(f"mine: {name}")
    assert store.unknown_files() == names
    write_everything(store)
    assert [(store.path / name).read_text() for name in names] == [f"mine: {name}" for name in names]
    assert store.verify() == []
    assert store.unknown_files() == names


@pytest.mark.parametrize(
    "folder", ["segments/other-project", "states/other", "changes/link", "segments/00000009"]
)
def test_links_are_not_followed(folder: str, store: Store, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for name in ("data.bin", "00000001.parquet", "documents.parquet", "basis.json", "a.shard"):
        (other / name).write_text("mine")
    (store.path / folder).symlink_to(other)
    store.delete(["2"])
    store.compact()
    store.rollback(store.generation)
    assert sorted(path.name for path in other.iterdir()) == [
        "00000001.parquet",
        "a.shard",
        "basis.json",
        "data.bin",
        "documents.parquet",
    ]
    assert store.unknown_files() == [folder]


def test_a_linked_work_folder_is_refused(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a.shard").write_text("mine")
    (store.path / ".work").symlink_to(tmp_path)
    with pytest.raises(OutputError, match=r"\.work is a link, so it is not written to: remove it"):
        store.compact()
    assert (tmp_path / "a.shard").read_text() == "mine"


def test_a_link_with_the_name_of_a_file_of_the_store_stays(store: Store, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("mine")
    link = store.path / "states" / "00000099.parquet"
    link.symlink_to(tmp_path / "data")
    store.compact()
    assert link.is_symlink()
    assert store.unknown_files() == ["states/00000099.parquet"]


def rewrite_commit(store: Store, change: dict[str, Any]) -> None:
    """Change a commit and its copy, with a checksum that fits."""
    for name in (commit_file(1), copy_of(commit_file(1))):
        path = store.path / name
        path.write_bytes(_with_checksum(json.loads(path.read_bytes()) | change))


@pytest.mark.parametrize(
    "name",
    [
        "../victim.txt",
        "segments/../../victim.txt",
        "segments/00000001/../../../victim.txt",
        "VICTIM",
        "segments/00000001/documents.parquet/x",
        "states\\00000001.parquet",
        "segments/١٢٣٤٥٦٧٨/texts.parquet",
        "",
    ],
)
def test_a_commit_that_lists_a_file_outside_the_store_is_refused(
    name: str, store: Store, tmp_path: Path
) -> None:
    victim = tmp_path / "victim.txt"
    victim.write_text("mine")
    victim.with_name("victim.copy.txt").write_text("evil")
    name = name.replace("VICTIM", str(victim))
    commit = json.loads((store.path / commit_file(1)).read_bytes())
    files = {
        name: {"bytes": 4, "sha256": "0" * 64},
        copy_of(name): commit["files"]["states/00000001.parquet"],
    }
    rewrite_commit(store, {"files": commit["files"] | files})
    before = committed(store.path)
    problem = r"00000001\.json is damaged \(it lists .*, which is not a file of a store\)"
    with pytest.raises(CorruptStoreError, match=problem):
        store.clusters()
    with pytest.raises(CorruptStoreError):
        store.update(table(numbered(POOL[1:9:2], 40)))
    assert committed(store.path) == before
    store.verify(repair=True)
    assert victim.read_text() == "mine"
    assert store.generation == 0


def test_repair_writes_through_no_link(store: Store, tmp_path: Path) -> None:
    """The folder of states is a link to another place, where a file of the same name is another's."""
    states = store.path / "states"
    other = tmp_path / "other"
    shutil.copytree(states, other)
    shutil.rmtree(states)
    states.symlink_to(other)
    (other / "00000001.parquet").write_text("mine")
    with pytest.raises(CorruptStoreError):
        store.verify(repair=True)
    assert (other / "00000001.parquet").read_text() == "mine"
