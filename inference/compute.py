"""Where the models run: device, number format and threads."""

from __future__ import annotations

from dataclasses import dataclass

import faiss
import torch

from ..errors import SettingsError
from ..settings import ComputeSettings

_PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True)
class Compute:
    """A device, the number format of the models on it, the tokens per batch; whether models may run code."""

    device: torch.device
    dtype: torch.dtype
    batch_tokens: int
    trust_remote_code: bool = False


def resolve_compute(settings: ComputeSettings) -> Compute:
    """Choose the device and number format, and set the number of CPU threads.

    Raises:
        SettingsError: the asked-for device is not there, or fp16 is asked for on a CPU.
    """
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
        faiss.omp_set_num_threads(settings.threads)  # it comes with a thread pool of its own
    device = _resolve_device(settings.device)
    if settings.precision == "fp16" and device.type == "cpu":
        raise SettingsError("setting compute.precision: fp16 needs a GPU; on a CPU take auto, fp32 or bf16")
    dtype = _fastest_dtype(device) if settings.precision == "auto" else _PRECISIONS[settings.precision]
    return Compute(device, dtype, settings.batch_tokens, settings.trust_remote_code)


def _resolve_device(name: str) -> torch.device:
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
    """Return bf16 where the hardware multiplies in it; emulated, it is several times slower than fp32."""
    if device.type == "cuda":
        major, _ = torch.cuda.get_device_capability(device)
        return torch.bfloat16 if major >= 8 else torch.float16
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        return (
            torch.bfloat16
            if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
            else torch.float32
        )
    return torch.float32
