"""Devices and number formats that are not there."""

from __future__ import annotations

from collections.abc import Iterator

import faiss
import pytest
import torch

from dupmine.errors import SettingsError
from dupmine.inference.compute import resolve_compute
from dupmine.settings import ComputeSettings


@pytest.fixture
def _threads_restored() -> Iterator[None]:
    before = torch.get_num_threads(), faiss.omp_get_max_threads()
    yield
    torch.set_num_threads(before[0])
    faiss.omp_set_num_threads(before[1])


@pytest.mark.parametrize("device", ["cuda:99"] + ["cuda"] * (not torch.cuda.is_available()))
def test_a_gpu_that_is_not_there(device: str) -> None:
    with pytest.raises(SettingsError) as caught:
        resolve_compute(ComputeSettings(device=device))
    there = torch.cuda.device_count()
    assert str(caught.value) == (
        f"setting compute.device: {device}, but torch sees {there} CUDA devices here"
    )


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="there is one")
def test_no_mps() -> None:
    with pytest.raises(SettingsError, match=r"^setting compute\.device: mps asked for, but torch sees none"):
        resolve_compute(ComputeSettings(device="mps"))


def test_fp16_needs_a_gpu() -> None:
    with pytest.raises(SettingsError) as caught:
        resolve_compute(ComputeSettings(device="cpu", precision="fp16"))
    problem = "fp16 needs a GPU; on a CPU take auto, fp32 or bf16"
    assert str(caught.value) == f"setting compute.precision: {problem}"


@pytest.mark.usefixtures("_threads_restored")
def test_what_is_asked_for() -> None:
    compute = resolve_compute(ComputeSettings(device="cpu", precision="bf16", batch_tokens=128, threads=3))
    assert compute.device == torch.device("cpu")
    assert compute.dtype == torch.bfloat16
    assert compute.batch_tokens == 128
    assert (torch.get_num_threads(), faiss.omp_get_max_threads()) == (3, 3)


def test_auto_takes_bf16_where_the_cpu_multiplies_in_it() -> None:
    cpu = torch.cpu.get_capabilities()
    native = cpu.get("avx512_bf16") or cpu.get("amx_bf16")
    dtype = resolve_compute(ComputeSettings(device="cpu")).dtype
    assert dtype == (torch.bfloat16 if native else torch.float32)
