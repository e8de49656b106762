"""A run's folder: written beside its final name and renamed once everything is on disk."""

from __future__ import annotations

import json
import logging
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..disk.files import output_errors, sync_folder, write_atomically
from ..disk.folder import _FILES, MANIFEST, TABLES
from ..disk.lock import lock
from ..disk.work import WORK, Work
from ..errors import InputError, OutputError
from ..schema import CLUSTERS, PAIRS

log = logging.getLogger(__name__)

_SCHEMAS = {"clusters": CLUSTERS, "pairs": PAIRS}
_KEYS = ("settings", "columns", "counts", "seconds")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where a run works: `staging` takes the place of its folder at the end; `work` outlives an interrupt."""

    staging: Path
    work: Work


@contextmanager
def open_run(folder: Path, *, overwrite: bool = False) -> Iterator[RunFolder]:
    """Yield where to write a run, as its only writer; on leaving, it takes the place of `folder` by a rename.

    After an error or an interrupt `folder` is as it was, but for the finished shards in `.work`; without
    any, the folders that were made are removed. What killed processes left is put back or removed.

    Raises:
        LockError: another process writes there.
        OutputError: `folder` exists and is not to be overwritten, or is no run of dupmine; no write access.
        SpaceError: no space left.
    """
    with output_errors(folder):
        folder = _resolved(folder)
        _put_back(folder)
        _check_target(folder, overwrite=overwrite)
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        with output_errors(folder):
            (folder / WORK).mkdir(parents=True, exist_ok=True)
            with lock(folder / WORK), _staged(folder) as run:
                yield run
                _check_target(folder, overwrite=overwrite)
                _publish(run.staging, folder)
    finally:
        for path in missing:
            with suppress(OSError):
                path.rmdir()


@contextmanager
def _staged(folder: Path) -> Iterator[RunFolder]:
    for stale in (*_beside(folder, "partial"), *_beside(folder, "old")):
        shutil.rmtree(stale, ignore_errors=True)
    run = RunFolder(folder.with_name(f".{folder.name}.partial-{secrets.token_hex(4)}"), Work(folder / WORK))
    try:
        run.staging.mkdir()
        yield run
    except BaseException:
        if not run.work.size():
            shutil.rmtree(run.work.folder, ignore_errors=True)
        elif run.work.found or run.work.made:
            log.warning(
                "%s: what is finished is kept in %s; run the same command again to continue", folder, WORK
            )
        raise
    finally:
        shutil.rmtree(run.staging, ignore_errors=True)


def _beside(folder: Path, role: str) -> list[Path]:
    return sorted(folder.parent.glob(f".{escape(folder.name)}.{role}-*"))


def _put_back(folder: Path) -> None:
    """Undo the first rename of `_publish` where the second never came."""
    olds = [] if folder.exists() else _beside(folder, "old")
    if olds:
        with lock(olds[0] / WORK):  # refused by a writer that is alive, and between the two
            pass
        olds[0].rename(folder)


def _resolved(folder: Path) -> Path:
    try:
        resolved = folder.expanduser().resolve()
        str(resolved).encode()
    except (RuntimeError, UnicodeEncodeError) as error:  # no such home folder, a loop of links; no UTF-8
        raise OutputError(f"{str(folder)!r} cannot be written: {error}; give another --out") from None
    return resolved


def _check_target(folder: Path, *, overwrite: bool) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutputError(f"{folder} exists and is no folder; give another --out")
    if os.path.ismount(folder):
        raise OutputError(f"{folder} is a mount point, which no rename replaces; give a folder inside it")
    if folder == Path.cwd():
        raise OutputError(
            f"{folder} is the current folder, which no rename replaces; give a folder inside it"
        )
    present = {path.name for path in folder.iterdir()} - {WORK}
    if not present:
        return
    if not overwrite:
        raise OutputError(f"{folder} exists and is not empty; give --overwrite or another --out")
    strange = present - set(_FILES)
    if strange or not (folder / MANIFEST).is_file():
        raise OutputError(
            f"{folder} is not only a run of dupmine (it holds {min(strange, default='no manifest.json')}), "
            "so it is not overwritten; give another --out"
        )


def _publish(staging: Path, folder: Path) -> None:
    """Rename `staging` to `folder`; what was there steps aside first, and last takes the name `staging`."""
    old = folder.with_name(staging.name.replace(".partial-", ".old-"))
    folder.rename(old)
    try:
        staging.rename(folder)
    except BaseException:
        old.rename(folder)
        raise
    try:
        sync_folder(folder.parent)
        old.rename(staging)
    except OSError as error:  # the run has its name: what is left is removed by the next
        log.warning("%s is written, but %s", folder, error)


def write_run(staging: Path, tables: Mapping[str, pa.Table], manifest: Mapping[str, Any]) -> None:
    """Write the tables as zstd Parquet and the manifest into a folder from `open_run`."""
    for name, table in tables.items():
        _write_table(staging / f"{name}.parquet", table)
    text = json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(staging / MANIFEST, lambda file: file.write(text.encode()))


def _write_table(path: Path, table: pa.Table) -> None:
    try:
        write_atomically(path, lambda file: pq.write_table(table, file, compression="zstd"))
    except pa.ArrowNotImplementedError as error:
        raise OutputError(f"{path.name}: {error}; convert or drop that column") from error


def read_run(folder: Path) -> tuple[dict[str, pa.Table], dict[str, Any]]:
    """Return the tables and the manifest of a run.

    Raises:
        InputError: the folder is no run, or a file of it is missing or broken.
    """
    folder = folder.expanduser()
    missing = [name for name in _FILES if not (folder / name).is_file()]
    if missing:
        raise InputError(f"{folder} is no run of dupmine: {missing[0]} is missing")
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        tables = {name: pq.read_table(folder / f"{name}.parquet") for name in TABLES}
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: a file of the run is broken: {str(error).splitlines()[0]}") from None
    for name, schema in _SCHEMAS.items():
        if tables[name].schema != schema:
            raise InputError(f"{folder}: {name}.parquet {_difference(tables[name], schema)}; mine again")
    if not isinstance(manifest, dict) or not set(_KEYS) <= set(manifest):
        raise InputError(f"{folder}: {MANIFEST} is not a manifest of dupmine; mine again")
    return tables, manifest


def _difference(table: pa.Table, schema: pa.Schema) -> str:
    """Tell how a table differs from what this version writes."""
    lacking = [name for name in schema.names if name not in table.column_names]
    if lacking:
        return f"has no column {lacking[0]}: another version of dupmine wrote it"
    return "does not have the columns that this version of dupmine writes"
