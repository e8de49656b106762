"""Tell the files that dupmine writes from all others, and remove only the former."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path

from .files import final_name

Owns = Callable[[str], bool]  # whether dupmine writes a file or folder, given by its relative path


def find_unknown(folder: Path, owns: Owns) -> list[str]:
    """Return the relative paths of all in a folder that is not owned; links are never owned.

    Of an unknown folder only the folder is returned.
    """
    unknown: list[Path] = []
    for root, folders, files in os.walk(folder):
        paths = [Path(root, name) for name in (*folders, *files)]
        unknown += [path for path in paths if not _is_owned(path, folder, owns)]
        folders[:] = [name for name in folders if Path(root, name) not in unknown]
    return sorted(path.relative_to(folder).as_posix() for path in unknown)


def remove_owned(folder: Path, owns: Owns, keep: Collection[str] = ()) -> list[str]:
    """Remove what is owned in a folder, and the folder if nothing else is left; return what is left.

    The paths in `keep` stay, but not temporary files that should have become them. Links are neither
    followed nor removed. What cannot be removed stays.
    """
    if folder.is_symlink():
        return ["."]
    left = []
    for path in _walk(folder):
        if path.relative_to(folder).as_posix() in keep or not _is_owned(path, folder, owns):
            left.append(path.relative_to(folder).as_posix())
        else:
            with suppress(OSError):
                path.rmdir() if path.is_dir() else path.unlink()
    with suppress(OSError):
        folder.rmdir()
    return left


def _is_owned(path: Path, folder: Path, owns: Owns) -> bool:
    final = path.with_name(final_name(path.name))
    return not path.is_symlink() and owns(final.relative_to(folder).as_posix())


def _walk(folder: Path) -> Iterator[Path]:
    """Yield all files and folders in a folder, the content of a folder before it."""
    for root, folders, files in os.walk(folder, topdown=False):
        for name in (*files, *folders):
            yield Path(root, name)
