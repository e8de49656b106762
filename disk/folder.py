"""A folder of results: written beside its final name, and renamed once everything is on disk."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import OutputError
from .files import make_folder, output_errors, sync_folder, write_atomically


def check_target(folder: Path, files: Collection[str], *, overwrite: bool) -> None:
    """Check that a folder can be written: it is new or empty or, to overwrite, holds nothing but `files`.

    Raises:
        OutputError: it cannot.
    """
    with output_errors(folder):
        if not folder.exists():
            return
        if not folder.is_dir():
            raise OutputError(f"{folder} exists and is no folder; give another --out")
        present = {path.name for path in folder.iterdir()}
    if present and not overwrite:
        raise OutputError(f"{folder} exists and is not empty; give --overwrite or another --out")
    if strange := present - set(files):
        raise OutputError(
            f"{folder} holds {min(strange)}, which this command does not write, so it is not overwritten; "
            "give another --out"
        )


@contextmanager
def replacing(folder: Path, files: Collection[str], *, overwrite: bool) -> Iterator[Path]:
    """Yield where to write `files`; on leaving, it takes the place of `folder` by a rename.

    After an error `folder` is as it was.

    Raises:
        OutputError: as `check_target`, or no write access.
        SpaceError: no space left.
    """
    folder = folder.expanduser().absolute()
    check_target(folder, files, overwrite=overwrite)
    staging = folder.with_name(f".{folder.name}.partial-{secrets.token_hex(4)}")
    missing = [path for path in folder.parents if not path.exists()]
    try:
        with output_errors(folder):
            make_folder(staging)
            yield staging
            _publish(staging, folder)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        for path in missing:
            with suppress(OSError):
                path.rmdir()
        raise


def _publish(staging: Path, folder: Path) -> None:
    old = folder.with_name(staging.name.replace(".partial-", ".old-"))
    if folder.exists():
        folder.rename(old)
    try:
        staging.rename(folder)
    except BaseException:
        if old.exists():
            old.rename(folder)
        raise
    sync_folder(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object as indented JSON."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table as zstd Parquet."""
    write_atomically(path, lambda file: pq.write_table(table, file, compression="zstd"))


MANIFEST = "manifest.json"


TABLES = ("clusters", "pairs", "deduplicated", "removed")


_FILES = (MANIFEST, *(f"{name}.parquet" for name in TABLES))


def is_run(folder: Path) -> bool:
    """Return whether a folder holds all files of a run."""
    return all((folder / name).is_file() for name in _FILES)
