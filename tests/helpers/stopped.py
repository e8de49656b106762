"""Run the command line in small shards, with a signal at its n-th step on the disk (see `test_resume`)."""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path
from typing import Any

from dupmine.cli import main
from dupmine.rerank import scorer
from dupmine.retrieval import encoder

STEPS = {"open", "os.mkdir", "os.remove", "os.rename", "os.rmdir"}


def run(*args: str, folder: Path, screen: Path, step: int, signum: int) -> None:
    """Run `dupmine` with `args`, print to the file `screen`, get the signal at a step below `folder`."""
    encoder.SHARD, scorer.SHARD = 32, 64
    numbers = itertools.count(1)

    def count(event: str, details: tuple[Any, ...]) -> None:
        if event in STEPS and str(details[0]).startswith(str(folder)) and next(numbers) == step:
            os.kill(os.getpid(), signum)

    sys.argv = ["dupmine", *args]
    sys.addaudithook(count)
    with screen.open("w") as sys.stdout:
        sys.stderr = sys.stdout
        try:
            main()
        finally:
            print(f"{next(numbers) - 1} steps")


if __name__ == "__main__":
    run(*globals()["args"], **globals()["options"])
