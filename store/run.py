"""A run's folder: written beside its final name and renamed once everything is on disk."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import InputError, OutputError

MANIFEST = "manifest.json"
TABLES = ("clusters", "pairs", "deduplicated", "removed")


@contextmanager
def open_run(folder: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty folder to write a run into; on leaving, it takes the place of `folder`.

    It lies beside `folder`, so that the rename is atomic. After an error or an interrupt it is removed and
    `folder` is as it was.

    Raises:
        OutputError: `folder` exists and is not to be overwritten, or is no run of dupmine; no write access;
            no space left.

    """
    folder = folder.expanduser().absolute()
    _check_target(folder, overwrite=overwrite)
    staging = folder.parent / f".{folder.name}.partial-{os.getpid()}"
    try:
        with _output_errors(folder):
            staging.mkdir(parents=True)
        with _output_errors(folder):
            yield staging
            _sync(staging)
            _replace(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _check_target(folder: Path, *, overwrite: bool) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutputError(f"{folder} exists and is no folder; give another --out")
    if not any(folder.iterdir()):
        return
    if not overwrite:
        raise OutputError(f"{folder} exists and is not empty; give --overwrite or another --out")
    strange = {path.name for path in folder.iterdir()} - {MANIFEST, *(f"{name}.parquet" for name in TABLES)}
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
            reason = "the disk is full"
        elif error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            reason = "no write access"
        else:
            reason = error.strerror or str(error)
        raise OutputError(f"{folder} cannot be written: {reason}; nothing was changed there") from error


def _sync(folder: Path) -> None:
    for path in [*folder.iterdir(), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _replace(staging: Path, folder: Path) -> None:
    """Rename `staging` to `folder`; an old run steps aside first and is removed last."""
    old = folder.parent / f".{folder.name}.old-{os.getpid()}"
    if folder.exists():
        folder.rename(old)
    try:
        staging.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def write_run(staging: Path, tables: Mapping[str, pa.Table], manifest: Mapping[str, Any]) -> None:
    """Write the tables as zstd Parquet and the manifest into a folder from `open_run`."""
    for name, table in tables.items():
        pq.write_table(table, staging / f"{name}.parquet", compression="zstd")
    text = json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False)
    (staging / MANIFEST).write_text(text + "\n", encoding="utf-8")


def read_run(folder: Path) -> tuple[dict[str, pa.Table], dict[str, Any]]:
    """Return the tables and the manifest of a run.

    Raises:
        InputError: the folder is no run, or a file of it is missing or broken.

    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        tables = {name: pq.read_table(folder / f"{name}.parquet") for name in TABLES}
    except FileNotFoundError as error:
        raise InputError(f"{folder} is no run of dupmine: {Path(error.filename).name} is missing") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: a file of the run is broken: {str(error).splitlines()[0]}") from None
    return tables, manifest
