"""The finished shards of a run or an update that may be interrupted."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
import numpy.typing as npt

from ..errors import OutputError
from .files import remove_leftovers, write_atomically

log = logging.getLogger(__name__)

WORK = ".work"  # the folder of shards in a run's folder and in a store's
_BASIS = "basis.json"
_SUFFIX = ".npy"
_SUM = 32  # bytes of a SHA-256, behind each array
_BLOCK = 1 << 20
_SHOWN = 3
_NOTHING = "not there"


class Work:
    """A folder of shards: arrays that are made once, whatever interrupts the rest.

    `found` shards were there, `made` ones were not. Each is an `.npy` file with the SHA-256 of it behind.
    """

    def __init__(self, folder: Path) -> None:
        """Open a folder, which exists and belongs to this process alone."""
        self.folder = folder
        self._prefix = ""
        self._counts = {"found": 0, "made": 0}
        remove_leftovers(folder)

    @property
    def found(self) -> int:
        """Shards that were there."""
        return self._counts["found"]

    @property
    def made(self) -> int:
        """Shards that were made."""
        return self._counts["made"]

    def apart(self, prefix: str) -> Self:
        """Return the same folder for shards whose names begin with a prefix: another model's."""
        view = copy(self)
        view._prefix = f"{prefix}-"
        return view

    def array(self, name: str, make: Callable[[], npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """Return the array of a shard, memory-mapped; it is made and written if it is not there, whole."""
        path = self.folder / f"{self._prefix}{name}{_SUFFIX}"
        if path.exists():
            if _is_whole(path):
                self._counts["found"] += 1
                return _mapped(path)
            log.warning("%s is damaged: it is made again", path)
        array = make()
        write_atomically(path, lambda file: _write(file, array))
        self._counts["made"] += 1
        return _mapped(path)

    def facts(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return the shard that is a JSON object; see `array`."""
        text = self.array(name, lambda: np.frombuffer(json.dumps(make()).encode(), np.uint8))
        facts: dict[str, Any] = json.loads(text.tobytes())
        return facts

    def size(self) -> int:
        """Return the bytes of the finished shards."""
        return sum(path.stat().st_size for path in self._shards())

    def require(self, basis: Mapping[str, str]) -> None:
        """Note what the shards are made from, or check that those that are there were made from the same.

        Raises:
            OutputError: they were not; the message names the first differences.
        """
        before = self._basis()
        if before is None or not self.size():
            if self.size():
                log.warning("%s: nobody knows what its shards were made from: discarded", self.folder)
            self.clear()
            text = json.dumps(basis, indent=2) + "\n"
            write_atomically(self.folder / _BASIS, lambda file: file.write(text.encode()))
            return
        names = [name for name in {**before, **basis} if before.get(name) != basis.get(name)]
        if names:
            shown = [
                f"{n} was {before.get(n, _NOTHING)}, is {basis.get(n, _NOTHING)}" for n in names[:_SHOWN]
            ]
            shown += [f"{len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
            raise OutputError(
                f"{self.folder} holds an interrupted run that began otherwise ({'; '.join(shown)}): "
                "repeat it as it began, or discard it with --restart"
            )
        log.info("%s: %d finished shards are there", self.folder, len(list(self._shards())))

    def clear(self) -> None:
        """Discard all shards."""
        for path in self._shards():
            path.unlink()
        (self.folder / _BASIS).unlink(missing_ok=True)

    def _shards(self) -> Iterable[Path]:
        return self.folder.glob(f"*{_SUFFIX}")

    def _basis(self) -> dict[str, str] | None:
        try:
            basis = json.loads((self.folder / _BASIS).read_bytes())
        except (OSError, ValueError):
            return None
        return basis if isinstance(basis, dict) else None


def shard_name(kind: str, *parts: npt.NDArray[Any] | bytes) -> str:
    """Name a shard by what it is made from, so that one made from anything else is never taken for it."""
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "little"))
        total.update(part if isinstance(part, bytes) else part.tobytes())
    return f"{kind}-{total.hexdigest()[:32]}"


class _Summed:
    """Pass bytes on to a file and sum them up."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sum = hashlib.sha256()

    def write(self, content: bytes) -> int:
        self.sum.update(content)
        return self._file.write(content)


def _write(file: BinaryIO, array: npt.NDArray[Any]) -> None:
    summed = _Summed(file)
    np.save(summed, array, allow_pickle=False)
    file.write(summed.sum.digest())


def _is_whole(path: Path) -> bool:
    left, total = path.stat().st_size - _SUM, hashlib.sha256()
    with path.open("rb") as file:
        while left > 0 and (block := file.read(min(left, _BLOCK))):
            total.update(block)
            left -= len(block)
        return file.read() == total.digest()


def _mapped(path: Path) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array.view(np.ndarray)
