"""A store that is opened on a machine with other instructions than the one it was made on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from dupmine import SettingsError, Store
from dupmine.inference.device import multiplies_int8, resolve_device
from dupmine.settings import ComputeSettings

from ..helpers.stores import numbered, table
from ..helpers.tiny_models import TinyModels

HALVES = resolve_device(ComputeSettings(device="cpu")).attention_dtype == torch.bfloat16
HERE = "int8+bf16" if HALVES else "int8"
FIRST, THEN = numbered(["How do I learn Python?", "How can you learn Python?"]), numbered(["Why?"], 2)

pytestmark = pytest.mark.skipif(not multiplies_int8(torch.device("cpu")), reason="no VNNI here")


def create(path: Path, tiny: TinyModels) -> Store:
    models: dict[str, Any] = {"bi_encoder": tiny["bi-encoder"], "cross_encoder": tiny["sigmoid"]}
    store = Store.create(path, progress=False, compute={"device": "cpu"}, threshold=0.5, **models)
    store.update(table(FIRST))
    return store


def precisions(store: Store) -> list[Any]:
    described = store.models.describe()["models"]
    return [described[model]["precision"] for model in ("bi_encoder", "cross_encoder")]


def without_vnni(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(torch.cpu, "get_capabilities", lambda: {})


def test_what_was_made_in_fp32_goes_on_in_fp32(tiny: TinyModels, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        without_vnni(patch)
        assert precisions(create(tmp_path / "store", tiny)) == ["fp32", "fp32"]
    opened = Store.open(tmp_path / "store", progress=False)
    assert opened.update(table(THEN)).counts["documents"] == 3
    assert precisions(opened) == ["fp32", "fp32"]
    assert opened.settings.compute.precision == "auto"


def test_a_store_is_brought_to_int8_by_a_rebuild(tiny: TinyModels, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        without_vnni(patch)
        create(tmp_path / "store", tiny)
    opened = Store.open(tmp_path / "store", progress=False)
    assert opened.rebuild(precision="int8").counts["texts_embedded"] == 2
    assert precisions(opened) == [HERE, HERE]
    assert precisions(Store.open(tmp_path / "store", progress=False)) == [HERE, HERE]


def test_what_was_made_in_int8_needs_it(tiny: TinyModels, tmp_path: Path) -> None:
    assert precisions(create(tmp_path / "store", tiny)) == [HERE, HERE]
    with pytest.MonkeyPatch.context() as patch:
        without_vnni(patch)
        opened = Store.open(tmp_path / "store", progress=False)
        with pytest.raises(SettingsError) as caught:
            opened.update(table(THEN))
    assert str(caught.value) == (
        f"{tmp_path / 'store'}: the bi-encoder computes in fp32 here, and the store was made in {HERE}: use "
        f"such a machine, or recompute with `dupmine store rebuild {tmp_path / 'store'} --set "
        "compute.precision=fp32`"
    )
    assert Store.open(tmp_path / "store", progress=False).update(table(THEN)).changed


@pytest.mark.skipif(not HALVES, reason="bf16 is not fast here")
def test_attention_in_another_precision_is_another_machine(tiny: TinyModels, tmp_path: Path) -> None:
    create(tmp_path / "store", tiny)
    able = dict(torch.cpu.get_capabilities()) | {"avx512_bf16": False, "amx_bf16": False}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cpu, "get_capabilities", lambda: able)
        opened = Store.open(tmp_path / "store", progress=False)
        with pytest.raises(SettingsError, match=r"in int8 here, .* made in int8\+bf16: .*precision=int8`"):
            opened.update(table(THEN))
        opened.rebuild(precision="int8")
        assert opened.update(table(THEN)).changed
