"""Where the models run: device, number format and threads."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from ..errors import SettingsError
from ..settings import ComputeSettings
from .threads import is_forked, set_threads

# glibc's M_TRIM_THRESHOLD and M_MMAP_THRESHOLD, in bytes: how much freed memory it keeps, in what blocks.
_MALLOPT = ((-1, 512 << 20), (-3, 32 << 20))

_BATCH_TOKENS = 4096
_GPU_FACTOR = 16

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True)
class DeviceConfig:
    """A device, the number format of the models on it, the tokens per batch, and whether models may run code.

    `int8` says which models are converted to int8: none, those that agree with fp32 in it, or all. The others
    have `dtype`. Attention in an int8 model has `attention_dtype`.
    """

    device: torch.device
    dtype: torch.dtype
    batch_tokens: int
    trust_remote_code: bool = False
    int8: Literal["never", "auto", "always"] = "never"
    attention_dtype: torch.dtype = torch.float32
    process: int = field(default_factory=os.getpid)

    @property
    def batch_factor(self) -> int:
        """How many times larger batches and shards are than on a CPU."""
        return _batch_factor(self.device)

    def require_same_process(self) -> None:
        """Raise `SettingsError` in a fork of the process that uses a GPU, where its driver does not work."""
        if self.device.type != "cpu" and os.getpid() != self.process:
            raise SettingsError(_explain_fork(self.device))

    @property
    def loading_dtype(self) -> torch.dtype:
        """The number format that a model is loaded in: fp32 where it may become int8."""
        return self.dtype if self.int8 == "never" else torch.float32


def resolve_device(settings: ComputeSettings) -> DeviceConfig:
    """Choose the device and number format, and set the number of CPU threads.

    Raises:
        SettingsError: the device is not available, or does not support the precision.
    """
    set_threads(settings.threads)
    device = _choose_device(settings.device)
    on_cpu, precision = device.type == "cpu", settings.precision
    if on_cpu:
        _keep_freed_memory()
    if precision == "fp16" and on_cpu:
        raise SettingsError("setting compute.precision: fp16 needs a GPU; on a CPU use auto, fp32 or bf16")
    int8: Literal["never", "auto", "always"] = "never"
    if precision in {"auto", "int8"} and multiplies_int8(device):
        int8 = "auto" if precision == "auto" else "always"
    elif precision == "int8":
        raise SettingsError(
            f"setting compute.precision: int8 needs VNNI instructions, which device {device} does not have; "
            "use auto or fp32"
        )
    return DeviceConfig(
        device,
        _fastest_dtype(device) if precision == "auto" else _DTYPES.get(precision, torch.float32),
        settings.batch_tokens or _BATCH_TOKENS * _batch_factor(device),
        settings.trust_remote_code,
        int8,
        _fastest_dtype(device) if on_cpu else torch.float32,
    )


def _explain_fork(device: object) -> str:
    return (
        f"{device} cannot be used in a forked process once its parent has used it: start the process with "
        'multiprocessing.get_context("spawn"), or load the models in the child only'
    )


def _batch_factor(device: torch.device) -> int:
    return _GPU_FACTOR if device.type == "cuda" else 1


def multiplies_int8(device: torch.device) -> bool:
    """Whether a device is a CPU that multiplies bytes faster than floats, in a torch that supports it."""
    vnni = _capabilities().get("avx512_vnni") or _capabilities().get("avx_vnni")
    return device.type == "cpu" and bool(vnni) and hasattr(torch.ops.onednn, "qlinear_prepack")


def _keep_freed_memory() -> None:
    """Make glibc keep the memory that a batch frees for the next one.

    By default it returns the memory to the system at once, and each batch pays for every page again: up to a
    seventh of a model's time. MALLOC_TRIM_THRESHOLD_ in the environment overrides this.
    """
    if os.name != "posix" or "MALLOC_TRIM_THRESHOLD_" in os.environ:
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        for option in _MALLOPT:
            libc.mallopt(*option)


def _choose_device(name: str) -> torch.device:
    if is_forked() and torch.cuda._is_in_bad_fork() and name != "cpu":
        raise SettingsError(_explain_fork("cuda" if name == "auto" else name))
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SettingsError(
            f"setting compute.device: {name}, but torch finds {torch.cuda.device_count()} CUDA devices"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise SettingsError("setting compute.device: mps, but torch finds no such device")
    return device


def _fastest_dtype(device: torch.device) -> torch.dtype:
    """Return bf16 where the hardware is faster in it; emulated bf16 is several times slower than fp32."""
    if device.type == "cuda":
        major, _ = torch.cuda.get_device_capability(device)
        return torch.bfloat16 if major >= 8 else torch.float16
    if device.type == "cpu":
        # Intel's chips without AMX have bf16 instructions, but multiply no faster with them.
        fast = _capabilities().get("amx_bf16") or (
            _capabilities().get("avx512_bf16") and "Intel" not in str(_capabilities().get("cpu_name"))
        )
        return torch.bfloat16 if fast else torch.float32
    return torch.float32


def _capabilities() -> dict[str, Any]:
    """Return what torch reports of the processor; older versions of torch report nothing."""
    return dict(torch.cpu.get_capabilities()) if hasattr(torch.cpu, "get_capabilities") else {}
