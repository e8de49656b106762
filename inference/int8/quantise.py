"""A loaded model in int8: ranges from sample texts, kept in the user's cache, and a comparison with fp32."""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn

from ...errors import SettingsError
from ...progress import SILENT
from ...schema import Floats
from ..cache import keep_cached, read_cached
from ..device import DeviceConfig
from ..layout import Ids
from ..locate import first_line
from ..token_model import TokenModel, input_batches
from ..tokens import tokenise
from .layers import fold_ranges
from .linear import Range

log = logging.getLogger(__name__)

INT8 = "int8"
VERSION = 1  # of what is cached: ranges and how the layers use them

_LEAST = {1: 0.99, 2: 0.98}  # agreement with fp32, by texts per input
_SAMPLE = Path(__file__).parents[2] / "examples" / "handwritten.csv"
_BATCH_TOKENS = 1024
_DIGITS = 6  # binary ones of a range: what rounds differently on another machine has the same range


class _UnfitError(Exception):
    """A model that cannot be had in int8, and why."""


@dataclass(frozen=True, slots=True)
class _Measured:
    """The range of what enters each linear layer, by its name, and the agreement of int8 with fp32.

    The agreement is the mean cosine of vectors, the correlation of a classifier's outputs.
    """

    ranges: dict[str, Range]
    agreement: float


def settle_precision(name: str, model: TokenModel, sha256: str, compute: DeviceConfig) -> str:
    """Bring a model to int8, if wanted and possible; return the precision it has now.

    In `int8+bf16` attention is in bf16, in `int8` in fp32.

    Raises:
        SettingsError: int8 is asked for by name, and does not do for this model.
    """
    if compute.int8 != "never":
        try:
            _to_int8(name, model, sha256, compute.attention)
            model.needs_filling = False
            return INT8 if compute.attention == torch.float32 else f"{INT8}+bf16"
        except _UnfitError as reason:
            if compute.int8 == "always":
                raise SettingsError(
                    f"setting compute.precision: int8 does not do for model {name}: {reason}; take auto "
                    "or fp32"
                ) from None
            log.info("model %s is not used in int8: %s", name, reason)
            model.load(compute.dtype)
    return _name(compute.dtype)


def is_int8(precision: str) -> bool:
    """Whether a precision that `settle_precision` returned is int8, whatever the attention is in."""
    return precision.startswith(INT8)


def _name(dtype: torch.dtype) -> str:
    return {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}[str(dtype).removeprefix("torch.")]


def _to_int8(name: str, model: TokenModel, sha256: str, attention: torch.dtype) -> None:
    if model.tokenizer is None:
        raise _UnfitError("it takes texts, not token ids")
    kind = f"{model.texts_per_input}-{_name(attention)}"
    key = f"int8/{sha256[:32]}-{kind}-v{VERSION}.json"
    kept = read_cached(key)
    if kept is None:
        log.info("model %s: measuring its ranges for int8", name)
        measured = _measure(model, model.tokenizer, attention)
        keep_cached(key, {"ranges": measured.ranges, "agreement": measured.agreement})
    else:
        measured = _Measured(kept["ranges"], kept["agreement"])
    least = _LEAST[model.texts_per_input]
    if not measured.agreement >= least:  # nan neither
        raise _UnfitError(f"on sample texts it agrees with fp32 by {measured.agreement:.3f}, not {least}")
    if kept is not None:
        fold_ranges(model.model, measured.ranges, attention)


def _measure(model: TokenModel, tokenizer: Tokenizer, attention: torch.dtype) -> _Measured:
    """Measure a model in fp32 and then, brought to int8, against that."""
    inputs = list(_inputs(model, tokenizer))
    with _one_thread(), _ranges_seen(model.model) as ranges:
        before = np.concatenate([model.run(*batch) for batch in inputs])
    if not ranges:
        raise _UnfitError("it has no linear layer over tokens")
    try:
        fold_ranges(model.model, ranges, attention)
        after = np.concatenate([model.run(*batch) for batch in inputs])
    except Exception as error:  # whatever an architecture does with what was a linear layer
        raise _UnfitError(f"{type(model.model).__name__} does not allow it: {first_line(error)}") from error
    return _Measured(ranges, _agreement(before, after, vectors=model.texts_per_input == 1))


@contextmanager
def _ranges_seen(model: nn.Module) -> Iterator[dict[str, Range]]:
    """Fill in, by name, the range of what enters each linear layer that sees tokens, inside of a `with`.

    When it ends the ranges are widened to few digits.
    """
    ranges: dict[str, Range] = {}

    def watch(name: str) -> Any:
        def see(_: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
            if given[0].ndim > 2:
                low, high = ranges.get(name, (0.0, 0.0))
                ranges[name] = min(low, float(given[0].min())), max(high, float(given[0].max()))

        return see

    named = [(name, layer) for name, layer in model.named_modules() if type(layer) is nn.Linear]
    hooks = [layer.register_forward_pre_hook(watch(name)) for name, layer in named]
    try:
        yield ranges
    finally:
        for hook in hooks:
            hook.remove()
    for name, (low, high) in ranges.items():
        ranges[name] = _widened(low), _widened(high)


def _widened(value: float) -> float:
    """Round a value away from 0."""
    part, exponent = math.frexp(value)
    return math.copysign(math.ldexp(math.ceil(abs(part) * 2**_DIGITS), exponent - _DIGITS), value)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute in one thread: more of them round otherwise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _inputs(model: TokenModel, tokenizer: Tokenizer) -> Iterator[tuple[Ids, Ids]]:
    """Yield batches of the sample: each text, or each with the next one."""
    texts = sample_texts()
    tokens = tokenise(texts, tokenizer, max_tokens=model.max_length, progress=SILENT)
    at = np.arange(len(texts))
    rows = (at, np.roll(at, -1))[: model.texts_per_input]
    return input_batches(model, tokens, rows, _BATCH_TOKENS)


@cache
def sample_texts() -> list[str]:
    """Return hand-written questions of the sample corpus, alike ones side by side, and a few long texts."""
    with _SAMPLE.open(encoding="utf-8", newline="") as file:
        questions = [row["question"] for row in csv.DictReader(file)][:240]
    long = [
        " ".join(questions[i : i + n])
        for i, n in zip(range(0, 240, 20), [2, 3, 5, 8, 12, 20] * 2, strict=True)
    ]
    return [*questions, *long]


def _agreement(before: Floats, after: Floats, *, vectors: bool) -> float:
    before, after = before.astype(np.float64), after.astype(np.float64)
    if vectors:
        lengths = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
        return float(np.mean((before * after).sum(axis=1) / lengths))
    return float(min(np.corrcoef(a, b)[0, 1] for a, b in zip(before.T, after.T, strict=True)))
