"""Benchmarked processes: what one costs, and dupmine run as a user would."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# dupmine's stages, by the stage of a plain pipeline that does the same
STAGES = {
    "read": ("read", "collapse"),
    "load": ("load",),
    "embed": ("tokenise", "embed"),
    "search": ("retrieve",),
    "score": ("rerank", "audit", "decide"),
    "cluster": ("cluster", "tables"),
}


@dataclass(frozen=True, slots=True)
class Cost:
    """What a process took: seconds on the wall, of all cores together, and its peak of memory in GiB."""

    seconds: float
    cpu_seconds: float
    peak_memory_gib: float


def run(command: Sequence[str | Path]) -> Cost:
    """Run a command to its end.

    Raises:
        CalledProcessError: it failed.
    """
    started = time.perf_counter()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    unit = 2**30 if sys.platform == "darwin" else 2**20
    return Cost(
        round(time.perf_counter() - started, 3),
        round(used.ru_utime + used.ru_stime, 3),
        round(used.ru_maxrss / unit, 2),
    )


def mine(corpus: Path, out: Path, options: Sequence[str | Path] = ()) -> tuple[dict[str, Any], Cost]:
    """Mine a file from nothing in a process of its own; return the manifest and what the process cost."""
    for left in (out, *out.parent.glob(f".{out.name}*")):
        shutil.rmtree(left, ignore_errors=True)
    cost = run([sys.executable, "-m", "dupmine", "mine", corpus, "--out", out, *options])
    manifest: dict[str, Any] = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    return manifest, cost


def by_stage(seconds: dict[str, float]) -> dict[str, float]:
    """Sum the seconds of a manifest by the stages of a plain pipeline."""
    return {stage: round(sum(seconds.get(part, 0.0) for part in parts), 3) for stage, parts in STAGES.items()}
