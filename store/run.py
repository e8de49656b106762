"""A run's folder: written beside its final name and renamed once everything is on disk."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import InputError, OutputError
from ..schema import CLUSTERS, PAIRS

MANIFEST = "manifest.json"
TABLES = ("clusters", "pairs", "deduplicated", "removed")
_FILES = (MANIFEST, *(f"{name}.parquet" for name in TABLES))
_SCHEMAS = {"clusters": CLUSTERS, "pairs": PAIRS}
_KEYS = ("settings", "columns", "counts", "seconds")


@contextmanager
def open_run(folder: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty folder to write a run into; on leaving, it takes the place of `folder`.

    It lies beside `folder`, so that the rename is atomic. After an error or an interrupt it and the parent
    folders made for it are removed, and `folder` is as it was.

    Raises:
        OutputError: `folder` exists and is not to be overwritten, or is no run of dupmine; no write access;
            no space left.
    """
    with _output_errors(folder):
        folder = _resolved(folder)
        _check_target(folder, overwrite=overwrite)
        missing = [parent for parent in folder.parents if not parent.exists()]
    tag = secrets.token_hex(4)
    staging, old = (folder.with_name(f".{folder.name}.{role}-{tag}") for role in ("partial", "old"))
    try:
        with _output_errors(folder):
            staging.mkdir(parents=True)
            yield staging
            _sync(staging)
            _check_target(folder, overwrite=overwrite)
            _replace(staging, folder, old)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        for parent in missing:
            with suppress(OSError):
                parent.rmdir()


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
    if not any(folder.iterdir()):
        return
    if not overwrite:
        raise OutputError(f"{folder} exists and is not empty; give --overwrite or another --out")
    strange = {path.name for path in folder.iterdir()} - set(_FILES)
    if strange or not (folder / MANIFEST).is_file():
        raise OutputError(
            f"{folder} is not only a run of dupmine (it holds {min(strange, default='no manifest.json')}), "
            "so it is not overwritten; give another --out"
        )


@contextmanager
def _output_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            reason = "the disk is full; free some space"
        elif error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            reason = "no write access; change it"
        else:
            reason = f"{error.strerror or error}; mend that"
        raise OutputError(
            f"{folder} cannot be written: {reason} or give another --out (nothing was changed)"
        ) from error


def _sync(folder: Path) -> None:
    for path in [*folder.iterdir(), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _replace(staging: Path, folder: Path, old: Path) -> None:
    """Rename `staging` to `folder`; an old run steps aside to `old` first and is removed last."""
    try:
        if folder.exists():
            folder.rename(old)
        staging.rename(folder)
    finally:
        if old.exists() and not folder.exists():
            old.rename(folder)
        shutil.rmtree(old, ignore_errors=True)


def write_run(staging: Path, tables: Mapping[str, pa.Table], manifest: Mapping[str, Any]) -> None:
    """Write the tables as zstd Parquet and the manifest into a folder from `open_run`."""
    for name, table in tables.items():
        try:
            pq.write_table(table, staging / f"{name}.parquet", compression="zstd")
        except pa.ArrowNotImplementedError as error:
            raise OutputError(f"{name}.parquet: {error}; convert or drop that column") from error
    text = json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False)
    (staging / MANIFEST).write_text(text + "\n", encoding="utf-8")


def is_run(folder: Path) -> bool:
    """Return whether a folder holds all files of a run."""
    return all((folder / name).is_file() for name in _FILES)


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
    foreign = [f"{name}.parquet" for name, schema in _SCHEMAS.items() if tables[name].schema != schema]
    if not isinstance(manifest, dict) or not set(_KEYS) <= set(manifest):
        foreign.append(MANIFEST)
    if foreign:
        raise InputError(f"{folder}: {foreign[0]} is not as dupmine writes it; mine again")
    return tables, manifest
