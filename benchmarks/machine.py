"""The machine the figures hold for: its name, and what its matrix products reach.

    python benchmarks/machine.py

The products have the shapes of MiniLM's largest layer, so a stage's share of the limit is what an engine
without any cost beside its matrix products would reach.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

CPU = torch.device("cpu")
TOKENS, WIDTH, INNER = 4096, 384, 1536
SECONDS = 1.0  # per number format


def describe(device: torch.device = CPU) -> dict[str, Any]:
    """Return the machine's processor, cores and system, and the GPU if that is the device."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if "model name" in line] if info.exists() else []
    gpu = {"gpu": torch.cuda.get_device_name(device)} if device.type == "cuda" else {}
    return {
        "processor": names[0].split(":")[1].strip() if names else platform.processor(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        **gpu,
    }


def matmul_limits(seconds: float = SECONDS) -> dict[str, float]:
    """Return the G(FL)OP/s of fp32, bf16 and int8 products on the CPU, the best of those `seconds`."""
    torch.manual_seed(0)
    inputs, weights = torch.randn(TOKENS, WIDTH), torch.randn(INNER, WIDTH)
    bf16 = inputs.bfloat16(), weights.bfloat16()
    int8 = torch.randint(-127, 127, (TOKENS, WIDTH), dtype=torch.int8)
    kernel = torch.randint(-127, 127, (WIDTH, INNER), dtype=torch.int8)
    products: dict[str, Callable[[], torch.Tensor]] = {
        "fp32": lambda: torch.nn.functional.linear(inputs, weights),
        "bf16": lambda: torch.nn.functional.linear(*bf16),
        "int8": lambda: torch._int_mm(int8, kernel),
    }
    with torch.inference_mode():
        work = 2 * TOKENS * WIDTH * INNER / 1e9
        return {name: round(work / _least(product, seconds), 1) for name, product in products.items()}


def bf16_peak(device: torch.device, size: int = 8192, seconds: float = SECONDS) -> float:
    """Return the GFLOP/s of the product of two square matrices in bf16 on a device, the best of `seconds`."""
    torch.manual_seed(0)
    a, b = (torch.randn(size, size, dtype=torch.bfloat16, device=device) for _ in range(2))

    def product() -> None:
        torch.mm(a, b)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    with torch.inference_mode():
        return round(2 * size**3 / 1e9 / _least(product, seconds), 1)


def transformer_gflop(tokens: float, lengths_squared: float, config: dict[str, Any]) -> float:
    """Return the GFLOP of an encoder's matrix products.

    `tokens` is the sum of the inputs' lengths, `lengths_squared` that of their squares: each token costs
    the four projections of attention and both layers of the feed-forward net, each pair of tokens of one
    input the products of attention.
    """
    width, inner = config["hidden_size"], config["intermediate_size"]
    per_token, per_token_pair = 2 * (4 * width**2 + 2 * width * inner), 4 * width
    return float(config["num_hidden_layers"] * (per_token * tokens + per_token_pair * lengths_squared) / 1e9)


def _least(product: Callable[[], object], seconds: float) -> float:
    """Return the seconds of the fastest of the products that `seconds` have room for."""
    product()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = time.perf_counter()
        product()
        best = min(best, time.perf_counter() - started)
    return best


if __name__ == "__main__":
    print(json.dumps({"machine": describe(), "gflop_per_second": matmul_limits()}, indent=2))
