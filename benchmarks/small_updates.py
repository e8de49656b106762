"""Update a store many times with a few documents: what one update costs after 10, 100 and 1,000.

    python benchmarks/small_updates.py [--documents 20000] [--updates 1000] [--size 10] [--out FILE]

The questions are those of `synthetic.py`. CPU seconds are of this process, so that other work on the machine
changes them little. At the end the store must have found what a run over all documents finds.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

import dupmine
from dupmine import Store
from dupmine.benchmarks import machine, synthetic
from dupmine.benchmarks.nightly import compare
from dupmine.store.commits import latest_commit
from dupmine.store.layout import commit_file

LAST = 10  # updates whose median is given
SHOWN = (10, 100, 1000)

Figures = dict[str, Any]


def main() -> None:
    """Run the benchmark and write its figures."""
    root = Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--documents", type=int, default=20_000, help="in the store before the updates")
    parser.add_argument("--updates", type=int, default=1000)
    parser.add_argument("--size", type=int, default=10, help="new documents of an update")
    parser.add_argument("--work", type=Path, default=root.parent / "out" / "small-updates")
    parser.add_argument("--out", type=Path, default=root / "results" / "small-updates.json")
    arguments = parser.parse_args()
    shutil.rmtree(arguments.work, ignore_errors=True)
    figures = {"machine": machine.describe(), **measure(arguments)}
    print(json.dumps(figures, indent=1))
    arguments.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def measure(arguments: argparse.Namespace) -> Figures:
    """Fill a store, update it, and compare it with a run over all documents."""
    total = arguments.documents + arguments.updates * arguments.size
    synthetic.write(arguments.work, texts=total, seed=0, share=synthetic.DUPLICATE_SHARE)
    questions = pd.read_csv(arguments.work / "questions.csv", dtype=str)[:total]
    store = Store.create(arguments.work / "store", progress=False)
    store.update(questions[: arguments.documents])
    updates = list(update(store, questions[arguments.documents :], arguments.size))
    shown = [number for number in SHOWN if number <= len(updates)]
    return {
        "documents_before": arguments.documents,
        "new_documents_per_update": arguments.size,
        "before": sizes_of(store) if not updates else updates[0] | {"updates": 1},
        "after": [typical(updates[max(0, number - LAST) : number]) | {"updates": number} for number in shown],
        "equal": compare(store.clusters(), dupmine.mine(questions, progress=False).clusters),
        "damaged_files": len(store.verify()),
    }


def update(store: Store, questions: pd.DataFrame, size: int) -> Iterator[Figures]:
    """Add the questions, a few at a time; yield the figures of each update."""
    for start in range(0, len(questions), size):
        cpu, wall = time.process_time(), time.perf_counter()
        store.update(questions[start : start + size])
        seconds = {
            "cpu_seconds": time.process_time() - cpu,
            "wall_seconds": time.perf_counter() - wall,
        }
        yield seconds | sizes_of(store)


def sizes_of(store: Store) -> Figures:
    """Return how many files the newest commit lists, and its size."""
    commit = latest_commit(store.path)
    return {
        "segments": len(commit.segments),
        "files_of_segments": sum(name.startswith("segments/") for name in commit.files),
        "files": len(commit.files),
        "commit_bytes": (store.path / commit_file(commit.generation)).stat().st_size,
        "store_bytes": sum(file.bytes for file in commit.files.values()),
    }


def typical(updates: list[Figures]) -> Figures:
    """Return the median of some updates' figures."""
    return {name: round(statistics.median(each[name] for each in updates), 3) for name in updates[0]}


if __name__ == "__main__":
    main()
