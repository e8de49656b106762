"""Signals that end the command line, and the commit after which they no longer do."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass(slots=True)
class _State:
    """Whether a commit is being made, whether the first one ends the command, and whether it was made."""

    committing: bool = False
    single: bool = False
    done: bool = False
    pending: int | None = None


_state = _State()


def install() -> None:
    """Let SIGINT, SIGTERM and SIGHUP end this process, each unless it is ignored, as under nohup."""
    _state.committing = _state.single = _state.done = False
    _state.pending = None
    for signum in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        if signal.getsignal(signum) != signal.SIG_IGN:
            signal.signal(signum, _handle)


def end_with_commit() -> None:
    """Say that this command makes one commit and has succeeded then: later signals are ignored."""
    _state.single = True


@contextmanager
def committing() -> Iterator[None]:
    """Delay signals while a result gets its name; after an error they are lost, as it ends the command."""
    _state.committing = True
    try:
        yield
    except BaseException:
        _state.committing, _state.pending = False, None
        raise
    _state.done = _state.single
    _state.committing = False
    signum, _state.pending = _state.pending, None
    if signum is not None:
        _handle(signum, None)


def _handle(signum: int, _frame: FrameType | None) -> None:
    if _state.done:
        return
    if _state.committing:
        _state.pending = signum
    elif signum == signal.SIGINT:
        raise KeyboardInterrupt
    else:
        sys.exit(128 + signum)
