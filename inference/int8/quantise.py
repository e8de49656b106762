"""A loaded model in int8: ranges measured on sample texts and cached, and a comparison with fp32."""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
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
from ..cache import read_cache_entry, write_cache_entry
from ..device import DeviceConfig
from ..layout import Ids
from ..locate import first_line
from ..threads import using_threads
from ..token_model import TokenModel, input_batches
from ..tokens import tokenise
from .layers import quantise_layers
from .linear import Range

log = logging.getLogger(__name__)

INT8 = "int8"
VERSION = 1  # of a cache entry: the ranges, and how the layers use them

_MIN_AGREEMENT = {1: 0.99, 2: 0.98}  # with fp32, by texts per input
_SAMPLE = Path(__file__).parents[2] / "examples" / "handwritten.csv"
_BATCH_TOKENS = 1024
_RANGE_BITS = 6  # so few that machines which round differently get the same ranges


class _UnsuitableError(Exception):
    """A model that cannot run in int8, and why."""


def apply_precision(name: str, model: TokenModel, sha256: str, device: DeviceConfig) -> str:
    """Convert a model to int8 where that is configured and possible; return the precision it has then.

    In `int8+bf16` attention is in bf16, in `int8` in fp32.

    Raises:
        SettingsError: the settings demand int8, and the model cannot run in it.
    """
    if device.int8 != "never":
        try:
            _convert(name, model, sha256, device.attention_dtype)
            model.needs_filling = False
            return INT8 if device.attention_dtype == torch.float32 else f"{INT8}+bf16"
        except _UnsuitableError as reason:
            if device.int8 == "always":
                raise SettingsError(
                    f"setting compute.precision: model {name} cannot run in int8: {reason}; use auto or fp32"
                ) from None
            log.info("model %s does not run in int8: %s", name, reason)
            model.load(device.dtype)
    return _name(device.dtype)


def is_int8(precision: str) -> bool:
    """Whether a precision that `apply_precision` returned is int8, with attention in fp32 or bf16."""
    return precision.startswith(INT8)


def _name(dtype: torch.dtype) -> str:
    return {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}[str(dtype).removeprefix("torch.")]


def _convert(name: str, model: TokenModel, sha256: str, attention_dtype: torch.dtype) -> None:
    if model.tokenizer is None:
        raise _UnsuitableError("it reads texts instead of token ids")
    key = f"int8/{sha256[:32]}-{model.texts_per_input}-{_name(attention_dtype)}-v{VERSION}.json"
    entry = read_cache_entry(key)
    if entry is None:
        log.info("model %s: measuring the ranges of its activations for int8", name)
        ranges, agreement = _measure(model, model.tokenizer, attention_dtype)
        write_cache_entry(key, {"ranges": ranges, "agreement": agreement})
    else:
        ranges, agreement = entry["ranges"], entry["agreement"]
    lowest = _MIN_AGREEMENT[model.texts_per_input]
    if not agreement >= lowest:  # also where it is nan
        raise _UnsuitableError(f"its agreement with fp32 on sample texts is {agreement:.3f}, below {lowest}")
    if entry is not None:
        quantise_layers(model.module, ranges, attention_dtype)


def _measure(
    model: TokenModel, tokenizer: Tokenizer, attention_dtype: torch.dtype
) -> tuple[dict[str, Range], float]:
    """Convert a model; return the range of each linear layer's input, and the agreement of int8 with fp32.

    The agreement is the mean cosine of vectors, or the lowest correlation of a classifier's outputs.
    """
    inputs = list(_sample_inputs(model, tokenizer))
    with using_threads(1), _record_ranges(model.module) as ranges:  # several round differently
        before = np.concatenate([model.run(*batch) for batch in inputs])
    if not ranges:
        raise _UnsuitableError("it has no linear layer over tokens")
    try:
        quantise_layers(model.module, ranges, attention_dtype)
        after = np.concatenate([model.run(*batch) for batch in inputs])
    except Exception as error:  # of any kind, where an architecture needs its linear layers
        raise _UnsuitableError(
            f"{type(model.module).__name__} does not support it: {first_line(error)}"
        ) from error
    return ranges, _agreement(before, after, vectors=model.texts_per_input == 1)


@contextmanager
def _record_ranges(module: nn.Module) -> Iterator[dict[str, Range]]:
    """Fill in, by name, the range of each linear layer's input over tokens; widen the ranges at the end."""
    ranges: dict[str, Range] = {}

    def recorder(name: str) -> Any:
        def record(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            if inputs[0].ndim > 2:
                low, high = ranges.get(name, (0.0, 0.0))
                ranges[name] = min(low, float(inputs[0].min())), max(high, float(inputs[0].max()))

        return record

    layers = [(name, layer) for name, layer in module.named_modules() if type(layer) is nn.Linear]
    hooks = [layer.register_forward_pre_hook(recorder(name)) for name, layer in layers]
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
    rounded = math.ceil(abs(part) * 2**_RANGE_BITS)
    return math.copysign(math.ldexp(rounded, exponent - _RANGE_BITS), value)


def _sample_inputs(model: TokenModel, tokenizer: Tokenizer) -> Iterator[tuple[Ids, Ids]]:
    """Yield batches of the sample: each text, or each with the next one."""
    texts = sample_texts()
    tokens = tokenise(texts, tokenizer, max_tokens=model.max_length, progress=SILENT)
    row = np.arange(len(texts))
    rows = (row, np.roll(row, -1))[: model.texts_per_input]
    return input_batches(model, tokens, rows, _BATCH_TOKENS)


@cache
def sample_texts() -> list[str]:
    """Return hand-written questions of the sample corpus, similar ones side by side, and a few long texts."""
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
