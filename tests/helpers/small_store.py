"""A small store and a small run with tiny models, and writers to interrupt."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dupmine import Miner
from dupmine.disk.folder import is_run
from dupmine.rerank import scorer
from dupmine.results.run_folder import read_run
from dupmine.retrieval import encoder
from dupmine.store.commits import generations
from dupmine.store.store import Store

from .planted import plant
from .reader import fingerprint

FIRST, ALL = 24, 36
DELETED = ["d1", "d5", "d8", "d13"]
_CHANGING = {"seconds", "created", "peak_memory_gib", "shards"}  # of a manifest, from run to run
_TRACES = (".tmp-", ".work", ".partial-", ".old-", ".stale-", "writer.json")


def make_shards_small() -> None:
    """Have few texts and pairs in a shard, so that a small corpus has several."""
    encoder.SHARD, scorer.SHARD = 4, 32


def documents(first: int = 0, last: int = ALL) -> pd.DataFrame:
    """Return some of the documents; unless they begin with the first, every seventh is edited."""
    texts, _ = plant(ALL)
    edited = [f"{text} now" if first and i % 7 == 0 else text for i, text in enumerate(texts)]
    return pd.DataFrame({"id": [f"d{i}" for i in range(ALL)], "text": edited})[first:last]


@dataclass(frozen=True, slots=True)
class Kit:
    """What writers need: tiny models in `folder`, files to mine beside them, a miner that loads them once."""

    folder: Path
    miner: Miner

    @classmethod
    def make(cls, folder: Path) -> Kit:
        """Take the tiny models in a folder; under these settings they find clusters of several texts."""
        settings: dict[str, Any] = {"threshold": 0.98, "floor": 0.9, "threads": 1}
        settings |= {"bi_encoder": str(folder / "bi-encoder"), "cross_encoder": str(folder / "sigmoid")}
        settings |= {"keep_generations": 2}
        for last in (FIRST, ALL):
            documents(0, last).to_csv(folder / f"documents-{last}.csv", index=False)
        return cls(folder, Miner(progress=False, **settings))

    def store(self, folder: Path) -> Store:
        """Open a store."""
        opened = Store.open(folder, progress=False)
        opened.__dict__["models"] = self.miner.models
        return opened

    def make_store(self, folder: Path) -> None:
        """Make a store of the first documents, some of them deleted again: three generations."""
        Store.create(folder, self.miner.settings, progress=False)
        self.store(folder).update(documents(0, FIRST))
        self.store(folder).delete(["d2", "d3"])

    def mine(self, folder: Path, last: int = ALL, *, overwrite: bool = False) -> None:
        """Mine some of the documents."""
        self.miner.mine_files([self.folder / f"documents-{last}.csv"], folder, overwrite=overwrite)


Act = Callable[[Kit, Path], object]


@dataclass(frozen=True, slots=True)
class Scene:
    """What a writer does to a folder, what is there before, and what to run if it died after its work."""

    act: Act
    before: Act
    tidy: Act
    state: Callable[[Path], str]


def state_of_store(folder: Path) -> str:
    """Check that a store is intact and return its generation and clusters."""
    if not generations(folder):
        return "nothing"
    opened = Store.open(folder, progress=False)
    assert opened.verify() == []
    last = opened.status()["generation"]
    assert opened.changes()["generation"].max() in {None, pd.NA, *range(last + 1)}
    return f"generation {last}, clusters {fingerprint(opened.clusters())}"


def state_of_run(folder: Path) -> str:
    """Return the state of a run, or of the one that was renamed for its successor."""
    aside = [] if folder.exists() else sorted(folder.parent.glob(f".{folder.name}.old-*"))
    for place in (folder, *aside):
        if is_run(place):
            tables, _ = read_run(place)
            return f"clusters {fingerprint(tables['clusters'].to_pandas())}"
    return "nothing"


def may_mount() -> bool:
    """Tell whether this user may mount a file system in a namespace of its own."""
    if shutil.which("unshare") is None:
        return False
    probe = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(probe, check=False, capture_output=True).returncode == 0


def files_in(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder but the lock; of a manifest what is the same for every run."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "lock")
    return {str(path.relative_to(folder)): _content(path) for path in paths}


def leftovers(folder: Path) -> set[str]:
    """Return what is in a folder only while a writer works, or after one died."""
    names = (str(path.relative_to(folder)) for path in folder.rglob("*"))
    return {name for name in names if any(trace in name for trace in _TRACES)}


def _content(path: Path) -> bytes:
    if path.name != "manifest.json":
        return path.read_bytes()
    manifest: dict[str, Any] = json.loads(path.read_bytes())
    return json.dumps({key: value for key, value in manifest.items() if key not in _CHANGING}).encode()


def _on_store(act: Act, before: Act = Kit.make_store) -> Scene:
    return Scene(act, before, lambda kit, store: kit.store(store).update(documents(0, 0)), state_of_store)


def _nothing(kit: Kit, folder: Path) -> None: ...


SCENES = {
    "init": _on_store(lambda kit, at: Store.create(at, kit.miner.settings, progress=False), _nothing),
    "update": _on_store(lambda kit, at: kit.store(at).update(documents(20))),
    "delete": _on_store(lambda kit, at: kit.store(at).delete(DELETED)),
    "compact": _on_store(lambda kit, at: kit.store(at).compact()),
    "rebuild": _on_store(lambda kit, at: kit.store(at).rebuild(threshold=0.97)),
    "rollback": _on_store(lambda kit, at: kit.store(at).rollback(1)),
    "mine": Scene(Kit.mine, _nothing, lambda kit, at: kit.mine(at, overwrite=True), state_of_run),
    "mine --overwrite": Scene(
        lambda kit, at: kit.mine(at, overwrite=True),
        lambda kit, at: kit.mine(at, FIRST),
        lambda kit, at: kit.mine(at, overwrite=True),
        state_of_run,
    ),
}
