"""Every call that changes the disk below a folder, seen before it is made: to count, fail or die there."""

from __future__ import annotations

import builtins
import io
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

Seen = Callable[[str, str], None]  # the call's name and path; what it raises, the call raises

_BY_PATH = ("mkdir", "rmdir", "unlink", "remove", "rename", "replace")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


_REAL = {name: getattr(os, name) for name in (*_BY_PATH, "open", "fsync")}
_REAL_OPEN = builtins.open


class _File(io.FileIO):
    """A file whose writes are seen when they are half done, so that one that dies there is torn."""

    def __init__(self, path: str, mode: str, seen: Seen) -> None:
        super().__init__(path, mode)
        self._seen = seen

    def write(self, content: Any, /) -> int:
        view = memoryview(content).cast("B")
        half = len(view) // 2
        done = super().write(view[:half])
        self._seen("write", str(self.name))
        return done + super().write(view[half:])


@contextmanager
def seen_calls(folder: Path, seen: Seen, *, sync: bool = True) -> Iterator[None]:
    """Show `seen` every opening for writing, write, fsync, rename, mkdir and unlink at or below `folder`.

    Without `sync` nothing is brought to the disk, which takes most of the time of small files.
    """
    calls = _Calls(str(folder), seen, sync)
    with ExitStack() as stack:
        for name in _BY_PATH:
            stack.enter_context(patch.object(os, name, calls.by_path(name)))
        stack.enter_context(patch.object(os, "open", calls.open_descriptor))
        stack.enter_context(patch.object(os, "fsync", calls.fsync))
        stack.enter_context(patch.object(builtins, "open", calls.open_file))
        stack.enter_context(patch.object(io, "open", calls.open_file))
        yield


@dataclass(frozen=True, slots=True)
class _Calls:
    """What stands in for the calls of the system."""

    folder: str
    seen: Seen
    sync: bool

    def inside(self, path: Any) -> bool:
        named = isinstance(path, str | os.PathLike)
        return named and os.path.abspath(path).startswith(self.folder)  # noqa: PTH100 - a call per call

    def by_path(self, name: str) -> Callable[..., Any]:
        def call(path: Any, *rest: Any, **options: Any) -> Any:
            if options.get("dir_fd") is not None or self.inside(path):
                self.seen(name, os.fspath(path))
            return _REAL[name](path, *rest, **options)

        return call

    def open_file(self, path: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
        if not (set(mode) & set("wxa+")) or not self.inside(path):
            return _REAL_OPEN(path, mode, *rest, **options)
        self.seen("open", os.fspath(path))
        raw = _File(os.fspath(path), mode.replace("b", ""), self.seen)
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding="utf-8")

    def open_descriptor(self, path: Any, flags: int, *rest: Any, **options: Any) -> int:
        if flags & _WRITING and self.inside(path):
            self.seen("open", os.fspath(path))
        return int(_REAL["open"](path, flags, *rest, **options))

    def fsync(self, file: Any) -> None:
        path = os.readlink(f"/proc/self/fd/{file}")  # noqa: PTH115 - no path, but what a descriptor names
        if self.inside(path):
            self.seen("fsync", path)
        if self.sync:
            _REAL["fsync"](file)
