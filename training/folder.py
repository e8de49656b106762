"""The folder of a training: checkpoints while it runs, and at its end the complete model."""

from __future__ import annotations

import logging
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ..disk.files import make_folder, output_errors, require_local
from ..disk.folder import check_target, remove_empty, write_json
from ..disk.json_text import parse_json
from ..disk.lock import lock
from ..disk.workplace import RESULT, Workplace
from ..errors import OutputError, SettingsError
from ..inference.model_files import FITTED
from .plan import describe_changes, prolong

log = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"
RECORD = "training.json"
_PLAN = "plan.json"
_STATES = ("optimizer.pt", "scheduler.pt", "rng_state.pth")  # all are zip files


@dataclass(frozen=True, slots=True)
class Target:
    """The folder of a trained model and what it may hold before; `command` started the training."""

    folder: Path
    resume: bool = False
    restart: bool = False
    overwrite: bool = False
    command: str = "dupmine.training"


@dataclass(frozen=True, slots=True)
class TrainingFolder:
    """Where a training writes; `staging` replaces its folder at the end."""

    staging: Path
    checkpoints: Path

    def last_checkpoint(self) -> Path | None:
        """Return the last complete checkpoint."""
        complete = filter(is_complete, self.checkpoints.glob("checkpoint-*"))
        return max(complete, key=step_number, default=None)

    def require_basis(self, basis: Mapping[str, str]) -> None:
        """Check that the checkpoints depend on the same as this training, and record what that is.

        Checkpoints that a killed process left incomplete are removed.

        Raises:
            SettingsError: they do not; the message names the first differences.
        """
        last, before = self.last_checkpoint(), _read(self.checkpoints / _PLAN) or {}
        if last is not None:
            if not before:
                log.warning("%s has no %s: assumed to be of this training", self.checkpoints, _PLAN)
            elif changes := describe_changes(prolong(before, basis, step_number(last)), basis):
                raise SettingsError(
                    f"{self.checkpoints} holds a training with other settings ({changes}): resume it with "
                    "the same ones, or discard it with --restart"
                )
        write_json(self.checkpoints / _PLAN, basis)
        for path in self.checkpoints.glob("checkpoint-*"):
            if not is_complete(path):
                log.warning("%s is incomplete: removed", path)
                shutil.rmtree(path)


@contextmanager
def open_training(target: Target) -> Iterator[TrainingFolder]:
    """Yield where to train, as its only writer; on leaving, `staging` replaces the target's folder.

    After an error or an interrupt the folder is unchanged except for the checkpoints.

    Raises:
        LockError: another process trains there.
        OutputError: the folder holds a finished training that may not be overwritten, an interrupted one
            without `resume` or `restart`, or other files; no write access.
    """
    folder = target.folder
    require_local(folder)
    with output_errors(folder):
        folder = folder.expanduser().resolve()
        owned = _owned_names(folder)
        place = Workplace(folder, CHECKPOINTS, lambda path: path.split("/")[0] in owned, _owns_work)
        place.put_back()
        place.check()
        _check_target(folder, overwrite=target.overwrite)
        checkpoints = folder / CHECKPOINTS
        if not (target.resume or target.restart) and any(map(is_complete, checkpoints.glob("checkpoint-*"))):
            raise OutputError(
                f"{folder} holds an interrupted training: continue it with --resume, or discard it with "
                "--restart"
            )
        missing = [] if folder.exists() else [folder]
        make_folder(checkpoints)
    try:
        with output_errors(folder), lock(checkpoints), place.claimed() as staging:
            if not target.resume:
                for old in checkpoints.glob("checkpoint-*"):
                    shutil.rmtree(old)
                (checkpoints / _PLAN).unlink(missing_ok=True)
            yield TrainingFolder(staging, checkpoints)
            place.publish()
    except BaseException:
        if any(checkpoints.glob("checkpoint-*")):
            log.warning("%s: the checkpoints are kept; continue with --resume", folder)
        else:
            place.discard_work()
            remove_empty(missing)
        raise


def is_complete(checkpoint: Path) -> bool:
    """Whether a checkpoint was written completely; the trainer writes its state last."""
    state = _read(checkpoint / "trainer_state.json")
    if state is None or state.get("global_step") != step_number(checkpoint):
        return False
    weights = list(checkpoint.rglob("*.safetensors"))
    try:
        for path in weights:
            with safe_open(path, "np"):
                pass
    except (OSError, SafetensorError):
        return False
    return bool(weights) and all(zipfile.is_zipfile(checkpoint / name) for name in _STATES)


def step_number(checkpoint: Path) -> int:
    """Return the step in a checkpoint's name, -1 where there is none."""
    digits = checkpoint.name.rpartition("-")[2]
    return int(digits) if digits.isdecimal() else -1


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _check_target(folder: Path, *, overwrite: bool) -> None:
    is_finished = _read(folder / RECORD) is not None
    if is_finished and not overwrite:
        raise OutputError(f"{folder} holds a finished training; give --overwrite or another --out")
    check_target(folder, {CHECKPOINTS, *(_owned_names(folder) if is_finished else ())}, overwrite=True)


def _owned_names(folder: Path) -> set[str]:
    """Return the names in the folder of a finished training that training and calibration write."""
    record = _read(folder / RECORD) or {}
    return {RECORD, *FITTED, *record.get("files", ())}


def _owns_work(path: str) -> bool:
    return path == _PLAN or re.match(rf"(checkpoint-[0-9]+|eval|{RESULT})(/|$)", path) is not None
