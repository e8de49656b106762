"""What a store refuses, in which words, and that nothing is changed then."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from safetensors.numpy import load_file, save_file

from dupmine import InputError, Miner, ModelError, OutputError, SettingsError, Store

from ..helpers.stores import POOL, Maker, committed, numbered, table
from ..helpers.tiny_models import TinyModels

DOCUMENTS = numbered(POOL[:40:2])
TONIGHT = numbered(POOL[1:20:3], 30)


@pytest.fixture(scope="module")
def maker(tiny: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> Maker:
    models = {"bi_encoder": tiny["static"], "cross_encoder": tiny["sigmoid"]}
    loose = {"floor": 0.9, "threshold": 0.45, "agreement": 0.25, "unknown": 0.2}
    return Maker.of(tmp_path_factory.mktemp("store") / "blank", **loose, **models)


@pytest.fixture(scope="module")
def filled(maker: Maker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return maker.store(tmp_path_factory.mktemp("filled") / "store", DOCUMENTS).path


@pytest.fixture
def store(maker: Maker, filled: Path, tmp_path: Path) -> Store:
    return maker.open(shutil.copytree(filled, tmp_path / "store"))


def refused(expected: str, error: pytest.ExceptionInfo[Any]) -> None:
    assert str(error.value) == expected
    assert error.value.exit_code == 2


def test_documents_without_an_id_column_are_refused(store: Store) -> None:
    with pytest.raises(InputError) as error:
        store.update(pd.DataFrame({"text": ["a", "b"]}))
    refused(
        "the documents have no id column, which later updates need to recognise them: "
        "name one with id_column (setting corpus.id_column)",
        error,
    )


def test_one_id_twice_in_an_update_is_refused(store: Store) -> None:
    with pytest.raises(InputError) as error:
        store.update(pd.DataFrame({"id": ["1", "1"], "text": ["a", "b"]}))
    refused(
        "the id 1 (column id) occurs twice: row 0 (counted from 0) and row 1 (counted from 0): "
        "ids must be unique: correct it or name another column with id_column",
        error,
    )
    assert store.generation == 1


def test_an_unknown_id_is_refused_and_nothing_deleted(store: Store) -> None:
    before = committed(store.path)
    with pytest.raises(InputError) as error:
        store.delete(["1", "x", "y", "x", "z", "w"])
    refused("the store has no document with the id 'x', 'y', 'z' and 1 more: nothing was deleted", error)
    assert committed(store.path) == before
    assert store.delete([1, "1", 2]).counts["deleted"] == 2


def test_a_string_is_one_id(store: Store) -> None:
    assert store.delete("11").counts["deleted"] == 1
    assert "1" in store.snapshot.documents["doc_id"].to_pylist()


def test_a_column_of_another_type_is_refused(store: Store) -> None:
    with pytest.raises(InputError) as error:
        store.update(table(TONIGHT).set_column(2, "score", pa.array(["x"] * len(TONIGHT))))
    refused(
        "a column has another type than in the store "
        "(Unable to merge: Field score has incompatible types: int64 vs string): convert it",
        error,
    )


def test_other_settings_than_the_store_has_are_refused(store: Store, maker: Maker) -> None:
    with pytest.raises(SettingsError) as error:
        maker.open(store.path, threshold=0.9)
    refused(
        f"setting rerank.threshold: {store.path} was made with 0.45, not 0.9: leave it out, or change "
        f"it for all documents with `dupmine store rebuild {store.path} --set rerank.threshold=0.9`",
        error,
    )
    assert maker.open(store.path, threads=2, keep_generations=9, text_column="title").generation == 1


def test_other_model_files_are_refused(store: Store, tiny: TinyModels, tmp_path: Path) -> None:
    model = Path(tiny.broken("sigmoid", tmp_path / "model", {}))
    made = Store.create(
        tmp_path / "made", progress=False, bi_encoder=tiny["static"], cross_encoder=str(model)
    )
    was = made.models.scorer.sha256[:12]
    made.update(table(DOCUMENTS))
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\x00\x00\x80\x3e")
    opened = Store.open(made.path, progress=False)
    for act in (lambda: opened.update(table(TONIGHT)), lambda: opened.query("a")):
        with pytest.raises(SettingsError) as error:
            act()
        refused(
            f"{made.path}: the cross-encoder is not the one the store was made with (fingerprint "
            f"{opened.models.scorer.sha256[:12]} instead of {was}): restore that one, or "
            f"recompute with `dupmine store rebuild {made.path}`",
            error,
        )
    assert opened.generation == 1
    assert opened.rebuild().counts["texts_embedded"] == 0
    assert Store.open(made.path, progress=False).update(table(TONIGHT)).changed


@pytest.mark.parametrize(
    ("kind", "tensor", "message"),
    [
        (
            "cross_encoder",
            "classifier.bias",
            r"gives no number \(NaN\) for [\d,]+ of [\d,]+ pairs: take",
        ),
        ("bi_encoder", "embeddings.LayerNorm.bias", r"gives vectors that are not numbers \(NaN or"),
    ],
)
def test_a_model_that_gives_no_numbers_is_refused(
    kind: str, tensor: str, message: str, tiny: TinyModels, tmp_path: Path
) -> None:
    names = {"cross_encoder": "sigmoid", "bi_encoder": "bi-encoder"}
    model = Path(tiny.broken(names[kind], tmp_path / "model", {}))
    [weights] = model.rglob("model.safetensors")
    tensors = load_file(weights)
    assert tensor in tensors
    save_file(tensors | {tensor: np.full_like(tensors[tensor], np.nan)}, weights, {"format": "pt"})
    models = {name: tiny[folder] for name, folder in names.items()} | {kind: str(model)}
    settings: dict[str, Any] = {**models, "precision": "fp32", "floor": -1.0}
    store = Store.create(tmp_path / "made", progress=False, **settings)
    before = committed(store.path)
    with pytest.raises(ModelError, match=message):
        store.update(table(DOCUMENTS))
    assert committed(store.path) == before
    with pytest.raises(ModelError, match=message):
        Miner(progress=False, **settings).mine(table(DOCUMENTS))


def test_folders_that_are_no_store_or_not_empty_are_refused(
    store: Store, maker: Maker, tmp_path: Path
) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "notes.txt").write_text("mine")
    for folder in (full, tmp_path / "nowhere"):
        with pytest.raises(InputError) as error:
            Store.open(folder)
        refused(f"{folder} is not a store of dupmine: make one with `dupmine store init {folder}`", error)
    with pytest.raises(OutputError) as taken:
        Store.create(full, maker.miner.settings, progress=False)
    refused(f"{full} is not empty (it holds notes.txt): give another folder", taken)
    with pytest.raises(OutputError) as made:
        Store.create(store.path, maker.miner.settings, progress=False)
    refused(f"{store.path} is already a store: `dupmine store update` adds to it", made)
    assert (full / "notes.txt").read_text() == "mine"
