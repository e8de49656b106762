"""Devices and number formats: those chosen, and those that are not available."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

from dupmine.errors import SettingsError
from dupmine.inference.device import resolve_device
from dupmine.settings import ComputeSettings


@pytest.fixture
def _threads_restored() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("device", ["cuda:99"] + ["cuda"] * (not torch.cuda.is_available()))
def test_a_gpu_that_is_not_there(device: str) -> None:
    with pytest.raises(SettingsError) as caught:
        resolve_device(ComputeSettings(device=device))
    there = torch.cuda.device_count()
    assert str(caught.value) == (f"setting compute.device: {device}, but torch finds {there} CUDA devices")


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="there is one")
def test_no_mps() -> None:
    with pytest.raises(
        SettingsError, match=r"^setting compute\.device: mps, but torch finds no such device$"
    ):
        resolve_device(ComputeSettings(device="mps"))


def test_fp16_needs_a_gpu() -> None:
    with pytest.raises(SettingsError) as caught:
        resolve_device(ComputeSettings(device="cpu", precision="fp16"))
    problem = "fp16 needs a GPU; on a CPU use auto, fp32 or bf16"
    assert str(caught.value) == f"setting compute.precision: {problem}"


@pytest.mark.usefixtures("_threads_restored")
def test_the_settings_are_applied() -> None:
    config = resolve_device(ComputeSettings(device="cpu", precision="bf16", batch_tokens=128, threads=3))
    assert config.device == torch.device("cpu")
    assert config.dtype == torch.bfloat16
    assert config.batch_tokens == 128
    assert resolve_device(ComputeSettings(device="cpu")).batch_tokens == 4096
    assert torch.get_num_threads() == 3


def vnni() -> bool:
    cpu = torch.cpu.get_capabilities()
    return bool(cpu.get("avx512_vnni") or cpu.get("avx_vnni"))


def on(monkeypatch: pytest.MonkeyPatch, **capabilities: object) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)


CPU = ComputeSettings(device="cpu")


def test_auto_uses_int8_where_the_cpu_has_instructions_for_it() -> None:
    assert resolve_device(CPU).int8 == ("auto" if vnni() else "never")


@pytest.mark.parametrize("instruction", ["avx512_vnni", "avx_vnni"])
def test_auto_on_a_cpu_with_vnni(monkeypatch: pytest.MonkeyPatch, instruction: str) -> None:
    on(monkeypatch, **{instruction: True})
    config = resolve_device(CPU)
    assert (config.int8, config.dtype) == ("auto", torch.float32)
    assert resolve_device(ComputeSettings(device="cpu", precision="int8")).int8 == "always"
    assert resolve_device(ComputeSettings(device="cpu", precision="fp32")).int8 == "never"


@pytest.mark.parametrize(
    ("capabilities", "dtype"),
    [
        ({}, torch.float32),
        ({"avx512_bf16": True, "cpu_name": "Intel Xeon"}, torch.float32),
        ({"avx512_bf16": True, "cpu_name": "AMD EPYC 9R14"}, torch.bfloat16),
        ({"amx_bf16": True, "cpu_name": "Intel Xeon"}, torch.bfloat16),
    ],
)
def test_auto_uses_bf16_without_vnni_where_that_is_faster(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, object], dtype: torch.dtype
) -> None:
    on(monkeypatch, **capabilities)
    config = resolve_device(CPU)
    assert (config.int8, config.dtype) == ("never", dtype)


def test_int8_needs_vnni(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, avx2=True)
    with pytest.raises(SettingsError) as caught:
        resolve_device(ComputeSettings(device="cpu", precision="int8"))
    assert str(caught.value) == (
        "setting compute.precision: int8 needs VNNI instructions, which device cpu does not have; "
        "use auto or fp32"
    )


def test_a_torch_that_reports_no_capabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    config = resolve_device(CPU)
    assert (config.int8, config.dtype) == ("never", torch.float32)


_FAULTS = """
import resource, torch
from dupmine.inference.device import resolve_device
from dupmine.settings import ComputeSettings
resolve_device(ComputeSettings(device="cpu", threads=1))
for i in range(40):
    if i == 10:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.empty(20 << 20, dtype=torch.uint8).fill_(1) for _ in range(3)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_memory_freed_by_a_batch_is_kept_for_the_next() -> None:
    def faults(**environment: str) -> int:
        called = [sys.executable, "-c", _FAULTS]
        ended = subprocess.run(
            called, env=os.environ | environment, capture_output=True, text=True, check=True
        )
        return int(ended.stdout)

    kept, returned = faults(), faults(MALLOC_TRIM_THRESHOLD_="131072")
    assert kept < 1_000
    assert returned > 100_000
