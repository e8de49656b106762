"""A function in a process of its own, a fork of this one, that dies of SIGKILL when it is told to."""

from __future__ import annotations

import json
import mmap
import os
import select
import signal
import struct
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .disk_calls import seen_calls


@dataclass(slots=True)
class Clip:
    """The last call of a process that dies, in memory that outlives it: how many calls, and its path."""

    memory: mmap.mmap = field(default_factory=lambda: mmap.mmap(-1, 4096))

    def note(self, count: int, call: str) -> None:
        """Note the call that is about to be made."""
        content = call.encode()[-4000:]
        self.memory[:8] = struct.pack("ii", count, len(content))
        self.memory[8 : 8 + len(content)] = content

    def read(self) -> tuple[int, str]:
        """Return the number of calls and the last."""
        count, size = struct.unpack("ii", self.memory[:8])
        return count, self.memory[8 : 8 + size].decode()


@dataclass(frozen=True, slots=True)
class Death:
    """When to die: before the n-th call that changes the disk, or after some seconds; or never."""

    call: int | None = None
    seconds: float | None = None


NEVER = Death()


@dataclass(frozen=True, slots=True)
class End:
    """How a process ended: `result` is what its function returned, `killed` means that it was."""

    killed: bool
    result: Any
    calls: int
    last: str
    seconds: float


def in_process(function: Callable[[], Any], folder: Path, death: Death) -> End:
    """Run a function in a fork of this process, which dies as told; return how that ended."""
    clip, started = Clip(), time.monotonic()
    clip.note(0, "")
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _live(function, folder, death, clip, writer)
    os.close(writer)
    if death.seconds is not None and not select.select([reader], [], [], death.seconds)[0]:
        os.kill(pid, signal.SIGKILL)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    killed = os.WIFSIGNALED(status)
    result = None if killed and not said else json.loads(said)
    return End(killed and not said, result, *clip.read(), time.monotonic() - started)


def _live(function: Callable[[], Any], folder: Path, death: Death, clip: Clip, writer: int) -> None:
    """Be the forked process, to its end."""
    count = 0

    def see(call: str, path: str) -> None:
        nonlocal count
        count += 1
        clip.note(count, f"{call} {path}")
        if count == death.call:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        with seen_calls(folder, see):
            said = function()
    except BaseException:
        said = {"error": traceback.format_exc()}
    os.write(writer, json.dumps(said).encode())
    os._exit(0)
