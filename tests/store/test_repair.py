"""Damage to any committed file: found and named, refused if the file is needed, and repaired."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from dupmine import CorruptStoreError, Store
from dupmine.store.layout import commit_file, copy_of
from dupmine.store.maintenance import Damage

from ..helpers.stores import POOL, Maker, commit_of, committed, members, membership, numbered, table
from ..helpers.tiny_models import TinyModels

TONIGHT = numbered(["How do I play Guitar", *POOL[7:50:6]], 50) | {"4": ("How do I read French", 2)}
COMMIT, SEGMENT, STATE, UNSEEN, CHANGES = (
    "generations/00000003.json",
    "segments/00000002",
    "states/00000003.parquet",
    "states/00000003.unseen.parquet",
    "changes/00000003.parquet",  # of all generations: those before have merged
)
DOCUMENTS = f"{SEGMENT}/documents.parquet"
# kind -> a file of it; all the files of a store are of these kinds
KINDS = {
    "commit": COMMIT,
    "copy of a commit": copy_of(COMMIT),
    "documents": DOCUMENTS,
    "copy of documents": copy_of(DOCUMENTS),
    "texts": f"{SEGMENT}/texts.parquet",
    "embeddings": f"{SEGMENT}/embeddings.npy",
    "pairs": f"{SEGMENT}/pairs.parquet",
    "state": STATE,
    "copy of a state": copy_of(STATE),
    "unseen": UNSEEN,
    "copy of unseen": copy_of(UNSEEN),
    "changes": CHANGES,
    "copy of changes": copy_of(CHANGES),
}
OPENS = {
    "commit",
    "copy of a commit",
    "changes",
    "copy of changes",
}  # a store can be used without one of them


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip(path: Path, place: int | None = None) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if place is None else place] ^= 4
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], None]] = {"deleted": Path.unlink, "truncated": truncate, "flipped": flip}


@pytest.fixture(scope="module")
def maker(tiny: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> Maker:
    models = {"bi_encoder": tiny["static"], "cross_encoder": tiny["sigmoid"]}
    return Maker.of(tmp_path_factory.mktemp("store") / "blank", floor=0.65, threshold=0.6, **models)


@pytest.fixture(scope="module")
def whole(maker: Maker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generations 1 to 3 of a store: documents, more and edited ones, some deleted."""
    store = maker.store(tmp_path_factory.mktemp("whole") / "store", numbered(POOL[::2]))
    store.update(table(numbered(POOL[1:20:3], 30) | {"2": ("how can you read math", 1)}))
    store.delete(["5", "6", "33"])
    return store.path


@pytest.fixture
def store(maker: Maker, whole: Path, tmp_path: Path) -> Store:
    return maker.open(shutil.copytree(whole, tmp_path / "store"))


def same_from_now_on(maker: Maker, repaired: Path, whole: Path, folder: Path) -> None:
    """Check that a store and an undamaged one have the same clusters, now and after an update."""
    one, other = maker.open(repaired), maker.open(shutil.copytree(whole, folder / "twin"))
    for _ in range(2):
        assert membership(one) == membership(other)
        assert one.clusters_table.equals(other.clusters_table)
        assert commit_of(one).next_cluster_id == commit_of(other).next_cluster_id
        assert one.update(table(TONIGHT)).events == other.update(table(TONIGHT)).events


def test_the_kinds_are_all_there_are(store: Store) -> None:
    def kind(name: str) -> str:
        folder, _, file = name.partition("/")
        return f"{folder}/{''.join(c for c in file if not c.isdecimal()).lstrip('/')}"

    assert {kind(name) for name in committed(store.path)} == {kind(name) for name in KINDS.values()}
    assert store.verify() == []
    assert store.verify(repair=True) == []


def test_a_writer_makes_a_missing_copy_of_a_commit(store: Store) -> None:
    """This is not damage: a reader may look between the two files of a commit."""
    copy = store.path / copy_of(commit_file(3))
    content = copy.read_bytes()
    copy.unlink()
    assert store.verify() == []
    assert not store.update(table({"2": ("how can you read math", 1)})).changed
    assert copy.read_bytes() == content


@pytest.mark.parametrize(
    ("kind", "how"),
    [(kind, how) for kind in KINDS for how in DAMAGES if (kind, how) != ("copy of a commit", "deleted")],
)
def test_damage_is_named_and_repaired(
    kind: str, how: str, store: Store, whole: Path, maker: Maker, tmp_path: Path
) -> None:
    file = KINDS[kind]
    DAMAGES[how](store.path / file)
    found = store.verify()
    assert [(damage.file, damage.repaired) for damage in found] == [(file, False)]
    if kind not in OPENS:
        with pytest.raises(CorruptStoreError, match=f"{file} is damaged .*verify --repair"):
            maker.open(store.path).update(table(TONIGHT))
    assert [(damage.file, damage.repaired) for damage in store.verify(repair=True)] == [(file, True)]
    assert store.verify() == []
    same_from_now_on(maker, store.path, whole, tmp_path)


@pytest.mark.parametrize("how", DAMAGES)
def test_reading_damaged_changes_names_the_file(how: str, store: Store) -> None:
    DAMAGES[how](store.path / CHANGES)
    with pytest.raises(CorruptStoreError, match=f"{CHANGES} is damaged"):
        store.changes()
    assert store.clusters()["doc_id"].is_unique  # which needs no changes


def lost(generation: int, last: int) -> Damage:
    problem = (
        f"generation {generation} cannot be repaired and is dropped: the store is at generation {last}; "
        "run the updates since then again"
    )
    return Damage(commit_file(generation), problem, "lost")


def test_a_lost_state_takes_the_store_back(store: Store) -> None:
    flip(store.path / STATE)
    truncate(store.path / copy_of(STATE))
    found = store.verify(repair=True)
    assert [(damage.file, damage.outcome) for damage in found[:2]] == [
        (copy_of(STATE), "lost"),
        (STATE, "lost"),
    ]
    assert found[2:] == [lost(3, 2)]
    assert (store.generation, store.verify()) == (2, [])


def test_lost_documents_take_the_store_back_behind_them(store: Store, maker: Maker, tmp_path: Path) -> None:
    flip(store.path / DOCUMENTS)
    flip(store.path / copy_of(DOCUMENTS))
    found = store.verify(repair=True)
    assert [damage.outcome for damage in found[:2]] == ["lost", "lost"]
    assert found[2:] == [lost(3, 2), lost(2, 1)]
    assert (store.generation, store.verify()) == (1, [])
    assert membership(store) == membership(maker.store(tmp_path / "twin", numbered(POOL[::2])))
    assert store.update(table(TONIGHT)).generation == 2


def test_documents_that_every_generation_needs_end_the_repair_and_nothing_is_removed(store: Store) -> None:
    oldest = "segments/00000001/documents.parquet"
    flip(store.path / oldest)
    flip(store.path / copy_of(oldest))
    before = committed(store.path)
    with pytest.raises(CorruptStoreError, match="no generation is intact: restore a backup"):
        store.verify(repair=True)
    assert committed(store.path) == before


@pytest.mark.parametrize("name", ["states/00000002.parquet", "generations/00000002.json"])
def test_an_earlier_generation_that_is_lost_is_dropped(name: str, store: Store, whole: Path) -> None:
    flip(store.path / name)
    flip(store.path / copy_of(name))
    found = store.verify(repair=True)
    assert [(damage.file, damage.outcome) for damage in found] == [
        (copy_of(name), "dropped"),
        (name, "dropped"),
    ]
    assert store.verify() == []
    assert store.status()["kept_generations"] == [1, 3]
    assert committed(store.path)[COMMIT] == committed(whole)[COMMIT]


def test_a_file_that_only_earlier_generations_need_is_dropped_with_them(store: Store) -> None:
    before = members(store)
    store.compact()
    flip(store.path / KINDS["pairs"])
    assert [damage.outcome for damage in store.verify(repair=True)] == ["dropped"]
    assert store.verify() == []
    assert members(store) == before


@pytest.mark.parametrize("other", ["documents", "state", "pairs"])
def test_a_commit_and_another_file_are_repaired_together(
    other: str, store: Store, whole: Path, maker: Maker, tmp_path: Path
) -> None:
    flip(store.path / COMMIT)
    truncate(store.path / KINDS[other])
    store.verify(repair=True)
    assert store.verify() == []
    same_from_now_on(maker, store.path, whole, tmp_path)


def test_a_lost_last_commit_takes_the_store_back(store: Store) -> None:
    flip(store.path / COMMIT)
    flip(store.path / copy_of(COMMIT))
    found = store.verify(repair=True)
    assert [damage.file for damage in found] == [copy_of(COMMIT), COMMIT, COMMIT]
    assert [damage.outcome for damage in found] == ["lost"] * 3
    assert found[2] == lost(3, 2)
    assert (store.generation, store.verify()) == (2, [])


def test_a_hundred_flipped_bytes_are_found(store: Store) -> None:
    random, sizes = Random(0), {name: len(content) for name, content in committed(store.path).items()}
    for name in random.choices(list(sizes), weights=list(sizes.values()), k=100):
        place = random.randrange(sizes[name])
        flip(store.path / name, place)
        assert [damage.file for damage in store.verify()] == [name], (name, place)
        flip(store.path / name, place)
    assert store.verify() == []


@pytest.mark.parametrize("generation", [1, 2, 3])
def test_a_commit_that_is_gone_is_missed(generation: int, store: Store) -> None:
    (store.path / commit_file(generation)).unlink()
    assert [damage.file for damage in store.verify()] == [commit_file(generation)]
    assert store.generation == 3
