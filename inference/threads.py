"""CPU threads of torch, which FAISS follows: as many as a setting says during a call, one in a fork."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_loaded_in = os.getpid()


def is_forked() -> bool:
    """Return whether this process is a fork of the one that loaded torch."""
    return os.getpid() != _loaded_in


def set_threads(threads: int | None) -> None:
    """Let torch use so many threads; None leaves their number as it is.

    A forked process keeps one: OpenMP's threads do not exist in it, and work for them would wait for ever.
    """
    if threads is not None:
        torch.set_num_threads(1 if is_forked() else threads)


@contextmanager
def using_threads(threads: int | None) -> Iterator[None]:
    """Use so many threads inside, and afterwards as many as before."""
    before = torch.get_num_threads()
    set_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))
