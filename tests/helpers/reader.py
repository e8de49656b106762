"""Read a store in processes until standard input ends: `python -m tests.helpers.reader`."""

from __future__ import annotations

import hashlib
import json
import os
import select
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

import dupmine.store.query_index  # noqa: F401 - all that readers import, so that the forks need not
from dupmine.store.store import Store

from .planted import plant

TEXTS = plant(36)[0][4:7]  # of documents that a writer deletes
_FACTS = ["generation", "operation", "documents", "unique_texts", "pairs", "clusters", "segments", "bytes"]

READINGS: dict[str, Callable[[Store], Any]] = {
    "clusters": lambda store: fingerprint(store.clusters()),
    "changes": lambda store: fingerprint(store.changes()),
    "status": lambda store: fingerprint(pd.DataFrame([store.status()])[_FACTS]),
    "query": lambda store: fingerprint(store.query(TEXTS, 5)),
    "verify": lambda store: str(store.verify()),
}


def fingerprint(frame: pd.DataFrame) -> str:
    """Return a checksum of a frame, whole."""
    return hashlib.sha256(frame.to_csv(index=False).encode()).hexdigest()


def read(folder: Path, names: list[str]) -> dict[str, Any]:
    """Open the store and read it, over and over; return how often, what was seen, and what failed."""
    seen: dict[str, set[str]] = {name: set() for name in names}
    errors, count, models = list[str](), 0, None
    while not select.select([sys.stdin], [], [], 0)[0]:
        for name in names:
            try:
                store = Store.open(folder, progress=False)
                if models is not None:
                    store.__dict__["models"] = models
                seen[name].add(READINGS[name](store))
                models = store.__dict__.get("models", models)
            except Exception:
                errors.append(f"{name}: {traceback.format_exc()}")
        count += 1
        if count == 1:
            os.write(1, b"ready\n")  # at once, so that no other reader's word comes between
    return {
        "reads": count,
        "seen": {name: sorted(found) for name, found in seen.items()},
        "errors": errors[:3],
    }


def main() -> None:
    """Fork the readers of a STORE, so many, of these NAMES in `READINGS`; each ends with a line of JSON."""
    folder, readers = Path(sys.argv[1]), int(sys.argv[2])
    names = sys.argv[3:]
    children = []
    for _ in range(readers):
        if child := os.fork():
            children.append(child)
            continue
        os.write(1, (json.dumps(read(folder, names)) + "\n").encode())
        os._exit(0)
    for child in children:
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
