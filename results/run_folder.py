"""The folder of a run: written, replaced and read as a whole."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..disk.files import output_errors, require_local
from ..disk.folder import (
    MANIFEST,
    RUN_FILES,
    TABLES,
    remove_empty,
    require_outside_store,
    write_json,
    write_table,
)
from ..disk.interrupts import committing
from ..disk.json_text import parse_json
from ..disk.lock import lock
from ..disk.work import WORK, Work, owns_shard
from ..disk.workplace import RESULT, Workplace
from ..errors import InputError, OutputError
from ..schema import CLUSTERS, LINKS, PAIRS

log = logging.getLogger(__name__)

_SCHEMAS = {"clusters": CLUSTERS, "pairs": PAIRS, "links": LINKS}
_KEYS = ("settings", "columns", "counts", "seconds")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where a run works: `staging` replaces its folder at the end; `work` is kept after an interrupt."""

    staging: Path
    work: Work


@contextmanager
def open_run(
    folder: Path, *, overwrite: bool = False, files: Collection[str] = RUN_FILES
) -> Iterator[RunFolder]:
    """Yield where to write a run, as its only writer; on leaving, that folder replaces `folder` by a rename.

    After an error or an interrupt `folder` is unchanged except for the finished shards in `.work`. If there
    are none, the folders that were made are removed. What killed processes left is restored or removed.
    `files` are all that the run may write, by their relative paths.

    Raises:
        LockError: another process writes there.
        OutputError: `folder` exists and may not be overwritten, or is not a run of dupmine; no write access.
        SpaceError: no space left.
    """
    with output_errors(folder):
        folder = _resolve(folder)
        place = Workplace(folder, WORK, files.__contains__, partial(_owns_work, files))
        place.put_back()
        _check_target(place, overwrite=overwrite)
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        with output_errors(folder):
            (folder / WORK).mkdir(parents=True, exist_ok=True)
            with lock(folder / WORK), _kept_work(place) as work, place.claimed() as staging:
                yield RunFolder(staging, work)
                _check_target(place, overwrite=overwrite)
                with committing():
                    place.publish()
    finally:
        remove_empty(missing)


def _owns_work(files: Collection[str], path: str) -> bool:
    return owns_shard(path) or path in {f"{RESULT}/{name}" for name in files}


@contextmanager
def _kept_work(place: Workplace) -> Iterator[Work]:
    """Yield the shards of a run; after an error they are kept if any is finished."""
    work = Work(place.folder / place.work)
    try:
        yield work
    except BaseException:
        if not work.size():
            place.discard_work()
        elif work.found or work.made:
            advice = "run the same command again to continue"
            log.warning("%s: finished work is kept in %s; %s", place.folder, place.work, advice)
        raise


def _resolve(folder: Path) -> Path:
    require_local(folder)
    try:
        resolved = folder.expanduser().resolve()
        str(resolved).encode()
    except (RuntimeError, UnicodeEncodeError) as error:  # no such home folder, a loop of links; no UTF-8
        raise OutputError(f"{str(folder)!r} cannot be written: {error}; give another --out") from None
    return resolved


def _check_target(place: Workplace, *, overwrite: bool) -> None:
    folder = place.folder
    require_outside_store(folder)
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutputError(f"{folder} exists and is not a folder; give another --out")
    if os.path.ismount(folder):
        raise OutputError(
            f"{folder} is a mount point, which cannot be replaced by a rename; give a folder inside it"
        )
    if folder == Path.cwd():
        raise OutputError(
            f"{folder} is the current folder, which cannot be replaced by a rename; give a folder inside it"
        )
    place.check()
    present = {path.name for path in folder.iterdir()} - {WORK}
    if not present:
        return
    if not overwrite:
        raise OutputError(f"{folder} exists and is not empty; give --overwrite or another --out")
    unknown = {name for name in present if not place.owns(name)}
    if unknown or not (folder / MANIFEST).is_file():
        raise OutputError(
            f"{folder} is not only a run of dupmine (it holds {min(unknown, default='no manifest.json')}), "
            "so it is not overwritten; give another --out"
        )


def write_run(staging: Path, tables: Mapping[str, pa.Table], manifest: Mapping[str, Any]) -> None:
    """Write the tables as zstd Parquet and the manifest into a folder from `open_run`."""
    for name, table in tables.items():
        try:
            write_table(staging / f"{name}.parquet", table)
        except pa.ArrowNotImplementedError as error:
            raise OutputError(f"{name}.parquet: {error}; convert or drop that column") from error
    write_json(staging / MANIFEST, manifest)


def read_run(
    folder: Path, names: Collection[str] = TABLES, *, command: str = "mine"
) -> tuple[dict[str, pa.Table], dict[str, Any]]:
    """Return the tables and the manifest of a run of a command, which writes tables of these names.

    Raises:
        InputError: the folder is not a run, or a file is missing or broken.
    """
    folder = folder.expanduser()
    files = (MANIFEST, *(f"{name}.parquet" for name in names))
    missing = [name for name in files if not (folder / name).is_file()]
    if missing:
        program = "dupmine" if command == "mine" else f"dupmine {command}"
        raise InputError(f"{folder} is not a run of {program}: {missing[0]} is missing")
    try:
        manifest = parse_json((folder / MANIFEST).read_text(encoding="utf-8"))
        tables = {name: pq.read_table(folder / f"{name}.parquet") for name in names}
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: a file of the run is broken: {str(error).splitlines()[0]}") from None
    for name in (name for name in names if name in _SCHEMAS):
        if tables[name].schema != _SCHEMAS[name]:
            difference = _difference(tables[name], _SCHEMAS[name])
            raise InputError(f"{folder}: {name}.parquet {difference}; {command} again")
    if not isinstance(manifest, dict) or not set(_KEYS) <= set(manifest):
        raise InputError(f"{folder}: {MANIFEST} is not a manifest of dupmine; {command} again")
    return tables, manifest


def _difference(table: pa.Table, schema: pa.Schema) -> str:
    """Tell how a table differs from what this version writes."""
    lacking = [name for name in schema.names if name not in table.column_names]
    if lacking:
        return f"has no column {lacking[0]}: another version of dupmine wrote it"
    return "does not have the columns that this version of dupmine writes"
