"""The manifest of a run: settings, versions, models, inputs, counts and seconds."""

from __future__ import annotations

import logging
import platform
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ..schema import Corpus
from ..settings import MiningSettings

log = logging.getLogger(__name__)

_LIBRARIES = (
    "dupmine",
    "torch",
    "transformers",
    "sentence-transformers",
    "faiss-cpu",
    "faiss-gpu",
    "numpy",
    "pyarrow",
)


class RunRecord:
    """The manifest of a running run."""

    def __init__(
        self, settings: MiningSettings, corpus: Corpus, seconds: Mapping[str, float] | None = None
    ) -> None:
        """Start the record of a run over `corpus`; `seconds` are those of stages before it."""
        self.manifest: dict[str, Any] = {
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": {"python": platform.python_version(), **versions(_LIBRARIES)},
            "settings": settings.model_dump(),
            "inputs": [asdict(file) for file in corpus.files],
            "columns": {"text": corpus.text_column, "id": corpus.id_column},
            "models": {},
            "counts": {"documents": corpus.documents.num_rows, **corpus.counts},
            "seconds": dict(seconds or {}),
        }

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage."""
        with timed(self.manifest["seconds"], name):
            yield

    def count(self, **counts: int) -> None:
        """Add counts."""
        self.manifest["counts"].update(counts)
        log.info("%s", ", ".join(f"{name} {value:,}" for name, value in counts.items()))

    def describe(self, **facts: Any) -> None:
        """Add facts, such as the kind of the index."""
        self.manifest.update(facts)


@contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Record the seconds that a stage takes in `seconds`."""
    started = time.perf_counter()
    yield
    seconds[name] = round(time.perf_counter() - started, 3)
    log.info("%s: %.1f s", name, seconds[name])


def peak_memory() -> float | None:
    """Return the peak memory of this process in GiB; None if the system does not report it."""
    try:
        import resource
    except ImportError:
        return None
    unit = 2**30 if sys.platform == "darwin" else 2**20
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 2)


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of those packages that are installed."""
    installed = {}
    for package in packages:
        with suppress(PackageNotFoundError):
            installed[package] = version(package)
    return installed
