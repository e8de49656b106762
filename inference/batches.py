"""Batches of one length each, without padding or attention masks, and how they are run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import cache, partial

import numpy as np
import torch

from ..schema import Rows

Batch = Rows  # positions of inputs
Schedule = Callable[[Iterable[Batch], Callable[[Batch], None]], Iterator[int]]

# Matrix libraries use other kernels, with other rounding, for few rows and for a remainder of rows. With MKL
# and layers up to 1024 wide, the result of a row is the same to the bit from these sizes on.
_ROWS = 16
_TOKENS = 768

_MAX_ROWS = 65_520  # some attention kernels of CUDA do not support 65,536
_STREAMS = 4  # batches that a GPU has in its queues
_CPU = torch.device("cpu")


def length_batches(lengths: Rows, batch_tokens: int) -> Iterator[Batch]:
    """Yield positions in batches of equal length, longest first, at most `batch_tokens` tokens each.

    A batch holds at least one position.
    """
    order = np.lexsort((np.arange(len(lengths)), -lengths))
    ordered = lengths[order]
    edges = np.flatnonzero(np.diff(ordered)) + 1
    for start, end in zip([0, *edges], [*edges, len(order)], strict=True):
        size = _max_rows(int(ordered[start]), batch_tokens) if end else 1
        for first in range(start, end, size):
            yield order[first : min(first + size, end)]


def fill_batch(batch: Batch, length: int, batch_tokens: int) -> Batch:
    """Repeat the last position of a small batch, so that no result depends on the other inputs in the batch.

    A text alone and a text among thousands then have the same vector to the bit, at least on a CPU.
    """
    rows = max(-(-len(batch) // _ROWS) * _ROWS, -(-_TOKENS // (max(length, 1) * _ROWS)) * _ROWS)
    missing = min(rows, _max_rows(length, batch_tokens)) - len(batch)
    return np.concatenate([batch, np.repeat(batch[-1:], max(missing, 0))])


def _max_rows(length: int, batch_tokens: int) -> int:
    rows = min(batch_tokens // max(length, 1), _MAX_ROWS)
    return max(rows // _ROWS * _ROWS or rows, 1)


def choose_schedule(device: torch.device, *, int8: bool) -> Schedule:
    """Return how a device runs the batches of a model: several at a time, or one by one."""
    if device.type == "cuda":
        return partial(run_in_parallel, device=device)
    return run_in_parallel if int8 else run_one_by_one


def run_one_by_one(batches: Iterable[Batch], run: Callable[[Batch], None]) -> Iterator[int]:
    """Run batch after batch; yield their sizes."""
    for batch in batches:
        run(batch)
        yield len(batch)


def run_in_parallel(
    batches: Iterable[Batch], run: Callable[[Batch], None], device: torch.device = _CPU
) -> Iterator[int]:
    """Run each batch in one thread, as many at a time as torch has threads; yield the sizes of finished ones.

    Threads that share a batch wait for each other after each step; threads with a batch each do not. A GPU
    gets a few batches at a time, so that it computes while the next ones are assembled.
    """
    before = torch.get_num_threads()
    on_gpu = device.type == "cuda"
    streams = _streams(device) if on_gpu else [None] * before
    if len(streams) == 1:
        yield from run_one_by_one(batches, run)
        return
    loading = torch.cuda.current_stream(device) if on_gpu else None
    start = partial(_start_thread, iter(streams), loading)
    attention = _without_cudnn() if on_gpu else nullcontext()
    with attention, ThreadPoolExecutor(len(streams), initializer=start) as pool:
        futures = [(len(batch), pool.submit(run, batch)) for batch in batches]
        try:
            for size, future in futures:
                future.result()
                yield size
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(before)  # torch applies the last number that any thread set


def _start_thread(streams: Iterator[torch.cuda.Stream | None], loading: torch.cuda.Stream | None) -> None:
    """Give a thread one core of a CPU, or a stream of a GPU.

    The stream starts after the work in `loading`, such as the copying of weights.
    """
    torch.set_num_threads(1)
    stream = next(streams)
    if stream is not None and loading is not None:
        stream.wait_stream(loading)
        torch.cuda.set_stream(stream)


@contextmanager
def _without_cudnn() -> Iterator[None]:
    """Compute attention without cuDNN, which prepares a plan for each shape in each thread.

    Few batches share a shape, so the plans would take longer than the attention itself.
    """
    before = torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)


@cache  # freed memory belongs to a stream, and new streams would allocate more
def _streams(device: torch.device) -> list[torch.cuda.Stream | None]:
    return [torch.cuda.Stream(device) for _ in range(_STREAMS)]  # type: ignore[no-untyped-call]
