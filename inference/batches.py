"""Batches of one length each: no padding, no attention mask."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import cache, partial

import numpy as np
import numpy.typing as npt
import torch

Batch = npt.NDArray[np.int64]
Schedule = Callable[[Iterable[Batch], Callable[[Batch], None]], Iterator[int]]

# Matrix libraries take other kernels, with other roundings, for few rows and for a remainder of rows. With
# MKL and layers up to 1024 wide these are the sizes from which a row's result is the same to the bit.
_ROWS = 16
_TOKENS = 768

_MOST_ROWS = 65_520  # some of CUDA's attention kernels take no 65,536
_AHEAD = 4  # batches that a GPU is given at a time
_CPU = torch.device("cpu")


def length_batches(lengths: npt.NDArray[np.int64], batch_tokens: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield positions in batches of equal length, longest first, at most `batch_tokens` tokens each.

    A batch holds at least one position.
    """
    order = np.lexsort((np.arange(len(lengths)), -lengths))
    ordered = lengths[order]
    edges = np.flatnonzero(np.diff(ordered)) + 1
    for start, end in zip([0, *edges], [*edges, len(order)], strict=True):
        size = _most_rows(int(ordered[start]), batch_tokens) if end else 1
        for first in range(start, end, size):
            yield order[first : min(first + size, end)]


def filled(batch: npt.NDArray[np.int64], length: int, batch_tokens: int) -> npt.NDArray[np.int64]:
    """Repeat the last position of a small batch, so that no result depends on what else is in the batch.

    A text alone and a text among thousands then have the same vector to the bit, at least on a CPU.
    """
    rows = max(-(-len(batch) // _ROWS) * _ROWS, -(-_TOKENS // (max(length, 1) * _ROWS)) * _ROWS)
    missing = min(rows, _most_rows(length, batch_tokens)) - len(batch)
    return np.concatenate([batch, np.repeat(batch[-1:], max(missing, 0))])


def scheduled(device: torch.device, *, int8: bool) -> Schedule:
    """Return how the batches of a model in torch are run on a device: several at a time, or one by one."""
    if device.type == "cuda":
        return partial(in_parallel, device=device)
    return in_parallel if int8 else one_by_one


def in_parallel(
    batches: Iterable[Batch], run: Callable[[Batch], None], device: torch.device = _CPU
) -> Iterator[int]:
    """Run each batch in one thread, as many at a time as torch has threads; yield sizes as they are done.

    Threads that share one batch wait for each other after each step; those with a batch each do not. A GPU
    has a few batches in its queues, so that it computes while the next ones are put together.
    """
    before = torch.get_num_threads()
    on_gpu = device.type == "cuda"
    queues = _queues(device) if on_gpu else [None] * before
    if len(queues) == 1:
        yield from one_by_one(batches, run)
        return
    loaded = torch.cuda.current_stream(device) if on_gpu else None
    begin = partial(_begin_thread, iter(queues), loaded)
    with _no_plans() if on_gpu else nullcontext(), ThreadPoolExecutor(len(queues), initializer=begin) as pool:
        done = [(len(batch), pool.submit(run, batch)) for batch in batches]
        try:
            for size, result in done:
                result.result()
                yield size
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(before)  # torch takes over the last number that any thread set


def _begin_thread(queues: Iterator[torch.cuda.Stream | None], loaded: torch.cuda.Stream | None) -> None:
    """Let a thread compute by itself: on a CPU in one core, on a GPU in a queue of its own.

    That queue begins when what is in `loaded`, such as the copying of weights, is done.
    """
    torch.set_num_threads(1)
    queue = next(queues)
    if queue is not None and loaded is not None:
        queue.wait_stream(loaded)
        torch.cuda.set_stream(queue)


@contextmanager
def _no_plans() -> Iterator[None]:
    """Have attention go without cuDNN, which makes a plan for each shape anew in each thread.

    A batch's shape is that of few others, so plans would take longer than what they are for.
    """
    before = torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)


@cache  # freed memory belongs to a queue, and new ones would ask for more
def _queues(device: torch.device) -> list[torch.cuda.Stream | None]:
    return [torch.cuda.Stream(device) for _ in range(_AHEAD)]  # type: ignore[no-untyped-call]


def one_by_one(batches: Iterable[Batch], run: Callable[[Batch], None]) -> Iterator[int]:
    """Run batch after batch; yield their sizes."""
    for batch in batches:
        run(batch)
        yield len(batch)


def _most_rows(length: int, batch_tokens: int) -> int:
    rows = min(batch_tokens // max(length, 1), _MOST_ROWS)
    return max(rows // _ROWS * _ROWS or rows, 1)
