"""Where the models run: device, number format and threads."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from typing import Any, Literal

import faiss
import torch

from ..errors import SettingsError
from ..settings import ComputeSettings

# mallopt's numbers for glibc, and bytes: what is freed is kept up to so much, blocks up to so large.
_KEPT, _BLOCKS = (-1, 512 << 20), (-3, 32 << 20)

_BATCH_TOKENS = 4096
_GPU_FACTOR = 16

_PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True)
class DeviceConfig:
    """A device, the number format of the models on it, the tokens per batch; whether models may run code.

    `int8` says whether a model is brought to int8: never, where that does for it (`dtype` is what the others
    have), or always, and `attention` what its attention is in then.
    """

    device: torch.device
    dtype: torch.dtype
    batch_tokens: int
    trust_remote_code: bool = False
    int8: Literal["never", "auto", "always"] = "never"
    attention: torch.dtype = torch.float32

    @property
    def batch_factor(self) -> int:
        """How many times as much as a CPU the device is given at a time, in batches and shards."""
        return _batch_factor(self.device)

    @property
    def loading_dtype(self) -> torch.dtype:
        """The number format that a model is loaded in; fp32 where it may become int8."""
        return self.dtype if self.int8 == "never" else torch.float32


def resolve_device(settings: ComputeSettings) -> DeviceConfig:
    """Choose the device and number format, and set the number of CPU threads.

    Raises:
        SettingsError: the asked-for device is not there, or does not compute in the asked-for precision.
    """
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
        faiss.omp_set_num_threads(settings.threads)  # it comes with a thread pool of its own
    device = _choose_device(settings.device)
    if device.type == "cpu":
        _keep_freed_memory()
    asked = settings.precision
    if asked == "fp16" and device.type == "cpu":
        raise SettingsError("setting compute.precision: fp16 needs a GPU; on a CPU take auto, fp32 or bf16")
    if asked == "int8" and not multiplies_int8(device):
        raise SettingsError(
            "setting compute.precision: int8 needs a CPU with VNNI, and "
            f"{device} here is none; take auto or fp32"
        )
    dtype = _PRECISIONS.get(asked) or (torch.float32 if asked == "int8" else _fastest_dtype(device))
    auto: Literal["never", "auto"] = "auto" if asked == "auto" and multiplies_int8(device) else "never"
    return DeviceConfig(
        device,
        dtype,
        settings.batch_tokens or _BATCH_TOKENS * _batch_factor(device),
        settings.trust_remote_code,
        "always" if asked == "int8" else auto,
        _fastest_dtype(device) if device.type == "cpu" else torch.float32,
    )


def _batch_factor(device: torch.device) -> int:
    return _GPU_FACTOR if device.type == "cuda" else 1


def multiplies_int8(device: torch.device) -> bool:
    """Whether a device is a CPU that is faster with bytes than with floats, and torch knows how."""
    vnni = _capabilities().get("avx512_vnni") or _capabilities().get("avx_vnni")
    return device.type == "cpu" and bool(vnni) and hasattr(torch.ops.onednn, "qlinear_prepack")


def _keep_freed_memory() -> None:
    """Have glibc keep what a batch frees for the next one.

    By default it goes back to the system at once, and every batch pays for getting it again, page by page:
    up to a seventh of a model's time. Who set MALLOC_TRIM_THRESHOLD_ has it their way.
    """
    if os.name != "posix" or "MALLOC_TRIM_THRESHOLD_" in os.environ:
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        for option in (_KEPT, _BLOCKS):
            libc.mallopt(*option)


def _choose_device(name: str) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SettingsError(
            f"setting compute.device: {name}, but torch sees {torch.cuda.device_count()} CUDA devices here"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise SettingsError("setting compute.device: mps asked for, but torch sees none on this machine")
    return device


def _fastest_dtype(device: torch.device) -> torch.dtype:
    """Return bf16 where the hardware is faster in it; emulated, it is several times slower than fp32."""
    if device.type == "cuda":
        major, _ = torch.cuda.get_device_capability(device)
        return torch.bfloat16 if major >= 8 else torch.float16
    if device.type == "cpu":
        # Intel's chips without AMX have the instruction, but no more products a second by it.
        fast = _capabilities().get("amx_bf16") or (
            _capabilities().get("avx512_bf16") and "Intel" not in str(_capabilities().get("cpu_name"))
        )
        return torch.bfloat16 if fast else torch.float32
    return torch.float32


def _capabilities() -> dict[str, Any]:
    """Return what torch knows of the processor, nothing where torch is too old to tell."""
    return dict(torch.cpu.get_capabilities()) if hasattr(torch.cpu, "get_capabilities") else {}
