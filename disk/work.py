"""Finished shards of a run or an update, kept when it is interrupted."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from ..errors import OutputError
from .files import remove_leftovers, write_atomically
from .json_text import parse_json

log = logging.getLogger(__name__)

WORK = ".work"  # the folder of shards in the folder of a run or a store
_BASIS = "basis.json"
_SUFFIX = ".shard"
_SCRATCH = ".scratch"
_SUM = 32  # bytes of the SHA-256 after each array
_BLOCK = 1 << 20
_SHOWN = 3
_MISSING = "missing"


class Work:
    """A folder of shards: arrays that are computed once and reused after an interrupt.

    `found` counts shards that existed, `made` those that were computed. Each shard is a file in numpy's
    format, followed by its SHA-256.
    """

    def __init__(self, folder: Path, prefix: str = "") -> None:
        """Open an existing folder; the caller holds its lock. The names of all shards start with `prefix`."""
        self.folder = folder
        self._prefix = prefix
        self._counts = {"found": 0, "made": 0}
        remove_leftovers(folder, owns_shard)

    @property
    def found(self) -> int:
        """Number of shards that existed."""
        return self._counts["found"]

    @property
    def made(self) -> int:
        """Number of shards that were computed."""
        return self._counts["made"]

    def array(self, name: str, make: Callable[[], npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """Return the array of a shard, memory-mapped; compute and write it if it is missing or damaged."""
        path = self.folder / f"{self._prefix}{name}{_SUFFIX}"
        if path.exists():
            if _is_intact(path):
                self._counts["found"] += 1
                return _mapped(path)
            log.warning("%s is damaged: it is computed again", path)
        array = make()
        write_atomically(path, lambda file: _write(file, array))
        self._counts["made"] += 1
        return _mapped(path)

    def scratch(self, name: str) -> Path:
        """Return the path of a file that only the current process uses."""
        return self.folder / f"{self._prefix}{name}{_SCRATCH}"

    def part(self, name: str) -> Work:
        """Return the shards of a part of the run, in the same folder."""
        return Work(self.folder, f"{name}-")

    def facts(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return a shard that is a JSON object; see `array`."""
        text = self.array(name, lambda: np.frombuffer(json.dumps(make()).encode(), np.uint8))
        facts: dict[str, Any] = json.loads(text.tobytes())
        return facts

    def size(self) -> int:
        """Return the total size of the finished shards in bytes."""
        return sum(path.stat().st_size for path in self._shards())

    def require(self, basis: Mapping[str, str]) -> None:
        """Record what the shards are made from, or check that existing ones are made from the same.

        Raises:
            OutputError: they are not; the message names the first differences.
        """
        before = self._basis()
        if before is None or not self.size():
            if self.size():
                log.warning("%s: it is not known what the shards were made from: discarded", self.folder)
            self.clear()
            text = json.dumps(basis, indent=2) + "\n"
            write_atomically(self._basis_path, lambda file: file.write(text.encode()))
            return
        names = [name for name in {**before, **basis} if before.get(name) != basis.get(name)]
        if names:
            shown = [
                f"{n} was {before.get(n, _MISSING)}, is {basis.get(n, _MISSING)}" for n in names[:_SHOWN]
            ]
            shown += [f"{len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
            raise OutputError(
                f"{self.folder} holds an interrupted run that was started differently ({'; '.join(shown)}): "
                "repeat it as it was started, or discard it with --restart"
            )
        log.info("%s: %d finished shards exist", self.folder, len(list(self._shards())))

    def clear(self) -> None:
        """Discard all shards."""
        for path in self._shards():
            path.unlink()
        self._basis_path.unlink(missing_ok=True)

    @property
    def _basis_path(self) -> Path:
        return self.folder / f"{self._prefix}{_BASIS}"

    def _shards(self) -> Iterable[Path]:
        return self.folder.glob(f"{self._prefix}*{_SUFFIX}")

    def _basis(self) -> dict[str, str] | None:
        try:
            basis = parse_json(self._basis_path.read_bytes())
        except (OSError, ValueError):
            return None
        return basis if isinstance(basis, dict) else None


def owns_shard(name: str) -> bool:
    """Return whether a file in a work folder is a shard, or belongs to the shards."""
    return re.fullmatch(rf"([\w]+-)?{_BASIS}|[\w-]+({_SUFFIX}|{_SCRATCH})", name) is not None


def shard_name(kind: str, *parts: npt.NDArray[Any] | bytes) -> str:
    """Return a shard name that contains a hash of its inputs, so that other inputs have another name."""
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "little"))
        total.update(part if isinstance(part, bytes) else part.tobytes())
    return f"{kind}-{total.hexdigest()[:32]}"


class _Hashed:
    """Pass bytes on to a file and compute their SHA-256."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sum = hashlib.sha256()

    def write(self, content: bytes) -> int:
        self.sum.update(content)
        return self._file.write(content)


def _write(file: BinaryIO, array: npt.NDArray[Any]) -> None:
    hashed = _Hashed(file)
    np.save(hashed, array, allow_pickle=False)
    file.write(hashed.sum.digest())


def _is_intact(path: Path) -> bool:
    left, total = path.stat().st_size - _SUM, hashlib.sha256()
    with path.open("rb") as file:
        while left > 0 and (block := file.read(min(left, _BLOCK))):
            total.update(block)
            left -= len(block)
        return file.read() == total.digest()


def _mapped(path: Path) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array.view(np.ndarray)
