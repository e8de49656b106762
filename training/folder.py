"""A training's folder: checkpoints while it runs, and at its end the model, whole or not at all."""

from __future__ import annotations

import json
import logging
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ..disk.files import make_folder, output_errors, write_atomically
from ..disk.folder import publish, put_back, remove_stale, staging_folder
from ..disk.lock import lock
from ..errors import OutputError, SettingsError
from ..inference.model_files import FITTED

log = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"
RECORD = "training.json"
_PLAN = "plan.json"
_STATES = ("optimizer.pt", "scheduler.pt", "rng_state.pth")  # zip files, all of them
_SHOWN = 3
_NOTHING = "not there"


@dataclass(frozen=True, slots=True)
class TrainingFolder:
    """Where a training works: `staging` takes the place of its folder at the end."""

    staging: Path
    checkpoints: Path

    def last(self) -> Path | None:
        """Return the last whole checkpoint."""
        return max(filter(is_whole, self.checkpoints.glob("checkpoint-*")), key=step_of, default=None)

    def sweep(self) -> None:
        """Remove the checkpoints that a killed process left half-written."""
        for path in self.checkpoints.glob("checkpoint-*"):
            if not is_whole(path):
                log.warning("%s is half-written: removed", path)
                shutil.rmtree(path)

    def planned(self) -> dict[str, str]:
        """Return what the checkpoints follow from, empty where that is not known."""
        return {name: str(value) for name, value in (_read(self.checkpoints / _PLAN) or {}).items()}

    def require(self, before: Mapping[str, str], basis: Mapping[str, str]) -> None:
        """Check that the checkpoints follow from the same as this training, and note what that is.

        Raises:
            SettingsError: they do not; the message names the first differences.
        """
        names = [name for name in {**before, **basis} if before.get(name) != basis.get(name)]
        if before and names:
            shown = [
                f"{n} was {before.get(n, _NOTHING)}, is {basis.get(n, _NOTHING)}" for n in names[:_SHOWN]
            ]
            shown += [f"{len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
            raise SettingsError(
                f"{self.checkpoints} holds a training that began otherwise ({'; '.join(shown)}): resume it "
                "as it began, or discard it with --restart"
            )
        if not before and self.last() is not None:
            log.warning("%s has no %s: taken for this training's", self.checkpoints, _PLAN)
        text = json.dumps(basis, indent=2) + "\n"
        write_atomically(self.checkpoints / _PLAN, lambda file: file.write(text.encode()))


@contextmanager
def open_training(
    folder: Path, *, resume: bool = False, restart: bool = False, overwrite: bool = False
) -> Iterator[TrainingFolder]:
    """Yield where to train, as its only writer; on leaving, `staging` takes the place of `folder`.

    After an error or an interrupt `folder` is as it was, but for the checkpoints.

    Raises:
        LockError: another process trains there.
        OutputError: `folder` holds a finished training that is not to be overwritten, an interrupted one
            without `resume` or `restart`, or something else; no write access.
    """
    with output_errors(folder):
        folder = folder.expanduser().resolve()
        put_back(folder, CHECKPOINTS)
        _check(folder, overwrite=overwrite)
        checkpoints = folder / CHECKPOINTS
        if not (resume or restart) and any(map(is_whole, checkpoints.glob("checkpoint-*"))):
            raise OutputError(
                f"{folder} holds an interrupted training: continue it with --resume, or discard it with "
                "--restart"
            )
        made = not folder.exists()
        make_folder(checkpoints)
    try:
        with output_errors(folder), lock(checkpoints):
            remove_stale(folder)
            if not resume:
                for old in checkpoints.glob("checkpoint-*"):
                    shutil.rmtree(old)
                (checkpoints / _PLAN).unlink(missing_ok=True)
            with staging_folder(folder) as staging:
                yield TrainingFolder(staging, checkpoints)
                publish(staging, folder)
    except BaseException:
        _tidy(checkpoints, made=made)
        raise


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end: the trainer writes its state last."""
    state = _read(checkpoint / "trainer_state.json")
    if state is None or state.get("global_step") != step_of(checkpoint):
        return False
    weights = list(checkpoint.rglob("*.safetensors"))
    try:
        for path in weights:
            with safe_open(path, "np"):
                pass
    except (OSError, SafetensorError):
        return False
    return bool(weights) and all(zipfile.is_zipfile(checkpoint / name) for name in _STATES)


def step_of(checkpoint: Path) -> int:
    """Return the step that a checkpoint's name says, -1 where it says none."""
    digits = checkpoint.name.rpartition("-")[2]
    return int(digits) if digits.isdecimal() else -1


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _check(folder: Path, *, overwrite: bool) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutputError(f"{folder} exists and is not a folder; give another --out")
    present = {path.name for path in folder.iterdir()} - {CHECKPOINTS}
    record = _read(folder / RECORD)
    if present and record is None:
        raise OutputError(
            f"{folder} holds {min(present)} and no training of dupmine, so it is not written to; "
            "give another --out"
        )
    if record is not None and not overwrite:
        raise OutputError(f"{folder} holds a finished training; give --overwrite or another --out")
    strange = present - set(record.get("files", ()) if record else ()) - {RECORD} - FITTED
    if strange:
        raise OutputError(
            f"{folder} holds {min(strange)}, which is not of its training, so it is not overwritten; "
            "give another --out"
        )


def _tidy(checkpoints: Path, *, made: bool) -> None:
    """Remove what was made for a training that came to no checkpoint."""
    if any(checkpoints.glob("checkpoint-*")):
        log.warning("%s: its checkpoints are kept; go on with --resume", checkpoints.parent)
        return
    shutil.rmtree(checkpoints, ignore_errors=True)
    if made:
        with suppress(OSError):
            checkpoints.parent.rmdir()
