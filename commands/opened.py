"""A run or a store, opened as a result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError

if TYPE_CHECKING:
    from ..results.result import MiningResult

RunOrStore = Annotated[Path, typer.Argument(metavar="RUN|STORE", help="Folder of a run or of a store.")]


def open_result(folder: Path) -> MiningResult:
    """Load the result that a folder holds: a run's, or that of a store's last generation.

    Raises:
        InputError: it is neither a run nor a store, or a file of it is broken.
        CorruptStoreError: a file of the store is damaged.
    """
    from ..disk.folder import MANIFEST

    folder = folder.expanduser()
    if (folder / MANIFEST).is_file():
        from ..results.result import MiningResult

        return MiningResult.load(folder)
    if (folder / "generations").is_dir():
        from ..store.as_run import as_result
        from ..store.store import Store

        return as_result(Store.open(folder, progress=False).snapshot)
    raise InputError(
        f"{folder} is neither a run nor a store: make one with `dupmine mine FILES --out {folder}`"
    )
