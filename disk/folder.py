"""Folders of results: written beside their final name, and renamed once everything is on disk."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import OutputError
from .files import make_folder, output_errors, require_local, sync_folder, write_atomically
from .owned import remove_owned

MANIFEST = "manifest.json"
TABLES = ("clusters", "pairs", "deduplicated", "removed")
RUN_FILES = (MANIFEST, *(f"{name}.parquet" for name in TABLES))
LINK_TABLES = ("links", "new", "known", "reference")
WITHIN = "within"  # in the folder of links: the run over the new documents
LINK_FILES = (MANIFEST, *(f"{name}.parquet" for name in LINK_TABLES))


def check_target(folder: Path, files: Collection[str], *, overwrite: bool) -> None:
    """Check that a folder can be written: it is new or empty, or holds only `files` and may be overwritten.

    Raises:
        OutputError: the folder cannot be written.
    """
    require_local(folder)
    with output_errors(folder):
        require_outside_store(folder)
        if not folder.exists():
            return
        if not folder.is_dir():
            raise OutputError(f"{folder} exists and is not a folder; give another --out")
        present = {path.name for path in folder.iterdir()}
    if present and not overwrite:
        advice = "give --overwrite or another --out" if files else "give another --out"
        raise OutputError(f"{folder} exists and is not empty; {advice}")
    if unknown := present - set(files):
        raise OutputError(
            f"{folder} holds {min(unknown)}, which this command does not write, so it is not overwritten; "
            "give another --out"
        )


def check_file(path: Path, *, overwrite: bool) -> None:
    """Check that a single file for a user can be written: it is new or may be overwritten.

    Raises:
        OutputError: it exists, or is inside a store.
    """
    require_outside_store(path)
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists: give --overwrite or another name")


@contextmanager
def replacing(folder: Path, files: Collection[str], *, overwrite: bool) -> Iterator[Path]:
    """Yield where to write `files`; on leaving, that folder replaces `folder` by a rename.

    After an error `folder` is unchanged.

    Raises:
        OutputError: as `check_target`, or no write access.
        SpaceError: no space left.
    """
    require_local(folder)
    folder = folder.expanduser().absolute()
    check_target(folder, files, overwrite=overwrite)
    missing = [path for path in folder.parents if not path.exists()]
    try:
        with output_errors(folder):
            make_folder(folder.parent)
            staging = folder.with_name(f".{folder.name}.partial-{secrets.token_hex(8)}")
            staging.mkdir()
            try:
                yield staging
                _publish(staging, folder, files)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
    except BaseException:
        remove_empty(missing)
        raise


def _publish(staging: Path, folder: Path, files: Collection[str]) -> None:
    """Rename `staging` to `folder`; what was there gets another name first, and is removed."""
    old = folder.with_name(f".{folder.name}.old-{secrets.token_hex(8)}")
    replaced = folder.exists()
    if replaced:
        folder.rename(old)
    try:
        staging.rename(folder)
    except BaseException:
        if replaced:
            old.rename(folder)
        raise
    sync_folder(folder.parent)
    if replaced:
        remove_owned(old, lambda path: path.split("/")[0] in files)


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove the folders that are empty, innermost first."""
    for path in folders:
        with suppress(OSError):
            path.rmdir()


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object as indented JSON."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table as zstd Parquet."""
    write_atomically(path, lambda file: pq.write_table(table, file, compression="zstd"))


def is_run(folder: Path) -> bool:
    """Return whether a folder holds all files of a run, or of links."""
    return any(all((folder / name).is_file() for name in files) for files in (RUN_FILES, LINK_FILES))


def is_store(folder: Path) -> bool:
    """Return whether a folder is a store: it holds commits."""
    return any((folder / "generations").glob("[0-9]*.json")) and (folder / "states").is_dir()


def require_outside_store(path: Path) -> None:
    """Check that a file or folder to write is not inside a store, whose folders hold nothing else.

    Raises:
        OutputError: it is.
    """
    for parent in path.resolve().parents:
        if is_store(parent):
            raise OutputError(f"{path} is inside the store {parent}: name another place")
