"""Write the metrics of a run for Prometheus, in a file for node_exporter's textfile collector."""

from __future__ import annotations

import errno
import logging
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import OutputError, SettingsError, needs_extra

if TYPE_CHECKING:
    from ..results.links import LinkResult
    from ..results.result import MiningResult
    from ..store.history import UpdateReport

log = logging.getLogger(__name__)

PREFIX = "dupmine_"
SECONDS = "stage_seconds"
# In the order of the file. All except those of the last run describe the last success.
GAUGES = {
    "documents": "Documents in the corpus",
    "new_documents": "Documents the run added",
    "edited_documents": "Documents whose text or columns the run replaced",
    "deleted_documents": "Documents the run deleted",
    "pairs": "Scored pairs of texts",
    "clusters": "Clusters of two or more documents",
    "generation": "Generation of the store",
    SECONDS: "Seconds of each stage of the run",
    "last_success_timestamp_seconds": "When a run last succeeded, 0 if never",
    "last_run_timestamp_seconds": "When the last run ended",
    "last_run_success": "Whether the last run succeeded",
    "last_run_exit_code": "Exit code of the last run",
}

# (name of the gauge, stage or "") -> value
Values = dict[tuple[str, str], float]
Report = Callable[[Mapping[str, float], Mapping[str, float]], None]


@contextmanager
def metrics_of_run(path: Path | None, labels: Sequence[str] | None = None) -> Iterator[Report]:
    """Yield a function that takes a run's gauges and its seconds by stage; on leaving, write the file.

    After a failure the file says so and keeps the values of the last success. Without a path no file is
    written.

    Raises:
        OutputError: `path` cannot be written, or holds something else.
        SettingsError: a label is not valid, or the package for metrics is not installed.
    """
    if path is None:
        yield lambda _gauges, _seconds: None
        return
    with needs_extra("--metrics", "nightly"):
        import prometheus_client  # noqa: F401 - missing packages are reported before the run
    names = _parse_labels(labels or ())
    path = path.resolve()  # a link stays, and its target is replaced
    _check(path)
    values: Values = {}

    def report(gauges: Mapping[str, float], seconds: Mapping[str, float]) -> None:
        values.update({(name, ""): value for name, value in gauges.items()})
        values.update({(SECONDS, stage): value for stage, value in seconds.items()})

    try:
        yield report
    except BaseException as error:
        never: Values = {("last_success_timestamp_seconds", ""): 0}
        _write(path, never | _read(path) | _last_run(_exit_code(error)), names)
        raise
    last_run = _last_run(0)
    last_success = {("last_success_timestamp_seconds", ""): last_run["last_run_timestamp_seconds", ""]}
    _write(path, values | last_run | last_success, names)


def gauges_of_result(result: MiningResult) -> dict[str, float]:
    """Return the gauges of a run of `mine`, in which every document is new."""
    counts = result.manifest["counts"]
    return {
        "documents": counts["documents"],
        "new_documents": counts["documents"],
        "pairs": len(result.scored_pairs),
        "clusters": counts["clusters"],
    }


def gauges_of_links(result: LinkResult) -> dict[str, float]:
    """Return the gauges of a run of `link`, whose documents are the new ones."""
    counts = result.manifest["counts"]
    return {"documents": counts["documents"], "pairs": counts["candidates"]}


def gauges_of_update(report: UpdateReport) -> dict[str, float]:
    """Return the gauges of a store after an update."""
    counts = report.counts
    gauges: dict[str, float] = {name: counts.get(name, 0) for name in ("documents", "pairs", "clusters")}
    gauges |= {f"{kind}_documents": counts.get(kind, 0) for kind in ("new", "edited", "deleted")}
    return gauges | {"generation": report.generation}


def _exit_code(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return 130
    code = error.code if isinstance(error, SystemExit) else getattr(error, "exit_code", 1)
    return code if isinstance(code, int) else 1


def _last_run(code: int) -> Values:
    return {
        ("last_run_timestamp_seconds", ""): time.time(),
        ("last_run_success", ""): float(code == 0),
        ("last_run_exit_code", ""): code,
    }


def _parse_labels(texts: Sequence[str]) -> dict[str, str]:
    labels = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not re.fullmatch(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*", name) or name == "stage":
            raise SettingsError(
                f"--metrics-label {text!r}: expected NAME=VALUE, as store=questions, "
                "with a name of letters, digits and _ that is not stage"
            )
        labels[name] = value
    return labels


def _check(path: Path) -> None:
    """Check before a run that the file can be written after it."""
    from ..disk.folder import require_outside_store

    require_outside_store(path)
    try:
        if path.is_dir():
            raise OutputError(f"--metrics {path} is a folder: name a file in it, as {path / 'dupmine.prom'}")
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name[:80]}."):
            pass
        problem = _problem(path)
    except OSError as error:
        raise OutputError(
            f"--metrics {path} cannot be written ({error.strerror}): its folder must exist and be writable"
        ) from None
    if problem:
        raise OutputError(f"--metrics {path} {problem}")


def _problem(path: Path) -> str | None:
    """Return why a file must not be replaced, None if it may be."""
    if not path.exists():
        return None
    if not path.is_file():
        return "is not a regular file: name another"
    if path.stat().st_size > 0 and not _read(path):
        return "holds more than the metrics of dupmine: name another file, or remove it"
    return None


def _read(path: Path) -> Values:
    """Return what an earlier run wrote; nothing if there is no such file or anything else is in it."""
    from prometheus_client.parser import text_string_to_metric_families

    values: Values = {}
    if not path.is_file():
        return values
    try:
        for family in text_string_to_metric_families(path.read_text(encoding="utf-8")):
            for name in {family.name, *(sample.name for sample in family.samples)}:
                if not name.startswith(PREFIX) or name.removeprefix(PREFIX) not in GAUGES:
                    return {}
            for sample in family.samples:
                name = sample.name.removeprefix(PREFIX)
                values[name, sample.labels.get("stage", "")] = sample.value
    except (OSError, ValueError):
        return {}
    return values


def _write(path: Path, values: Values, labels: Mapping[str, str]) -> None:
    """Replace the file. The run is over, so an error here is only logged."""
    from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

    registry = CollectorRegistry()
    for name, meaning in GAUGES.items():
        by_stage = {stage: value for (key, stage), value in values.items() if key == name}
        if not by_stage:
            continue
        names = [*labels, *(["stage"] if name == SECONDS else [])]
        gauge = Gauge(PREFIX + name, meaning, names, registry=registry)
        for stage, value in by_stage.items():
            all_labels = [*labels.values(), *([stage] if name == SECONDS else [])]
            (gauge.labels(*all_labels) if names else gauge).set(value)
    try:
        if problem := _problem(path):
            raise OSError(errno.EINVAL, f"it {problem}")
        write_to_textfile(str(path), registry)
    except OSError as error:
        log.warning("the metrics were not written to %s: %s", path, error.strerror)
