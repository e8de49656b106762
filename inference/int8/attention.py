"""Attention between products in int8: from the bytes that enter a layer to those of what its heads see."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from .linear import Product, Steps, to_bytes

_LARGEST = 80.0  # of a score: its exponential and the sum of thousands of them are finite in bf16, and not 0
_BLOCK = 512  # tokens: what is computed of so many stays in a core's own cache


class Attention:
    """The heads of a layer, for inputs without padding."""

    def __init__(self, layer: Any, entry: Steps, seen: Steps, dtype: torch.dtype) -> None:
        """Take BERT's attention, how its input and its output are rounded, and what it computes in."""
        self._heads: int = layer.num_attention_heads
        self._seen, self._in_bf16 = seen, dtype == torch.bfloat16
        width = len(layer.query.weight)
        self._size = width // self._heads
        # In bf16 there is no room for the start of the steps beside a value, nor need for a scale of its own.
        of_query = self._size**0.5 if self._in_bf16 else 1.0
        start = 0.0 if self._in_bf16 else seen.start
        kind = torch.arange(3 * width) // width  # 0: query, 1: key, 2: value
        unit = torch.tensor([of_query, 1.0, seen.size])[kind]
        starts = torch.tensor([0.0, 0.0, start])[kind]
        layers = [layer.query, layer.key, layer.value]
        self._inputs = Product(layers, entry, unit=unit, start=starts, dtype=dtype)

    def __call__(self, rounded: torch.Tensor) -> torch.Tensor:
        """Return what each token sees, as bytes, for inputs `(n, length, width)`."""
        n, length, width = rounded.shape
        parts = self._inputs(rounded).view(n, length, 3, self._heads, self._size).permute(2, 0, 3, 1, 4)
        if not self._in_bf16:
            seen = scaled_dot_product_attention(*parts).transpose(1, 2)
            return to_bytes(seen.reshape(n, length, width))
        blocks = (part.split(max(_BLOCK // length, 1)) for part in parts)
        return torch.cat([self._in_halves(*block) for block in zip(*blocks, strict=True)])

    def _in_halves(self, *parts: torch.Tensor) -> torch.Tensor:
        """Attend by batched products: for heads as small as these they beat the fused kernel."""
        query, key, value = (part.reshape(-1, *part.shape[2:]) for part in parts)
        seen = _attend(query, key, value).add_(self._seen.start)
        return to_bytes(seen).view(-1, self._heads, *seen.shape[1:]).transpose(1, 2).flatten(2)


class FirstTokenAttention:
    """The heads of a layer that computes its first token alone, for inputs without padding.

    No token's key or value is computed. The product of a query and a key `K x` is that of `K' q` and `x`, but
    for what all tokens have in common; and what a head sees, the mean of `V x`, is `V` times the mean of `x`.
    """

    def __init__(self, layer: Any, entry: Steps, seen: Steps, dtype: torch.dtype) -> None:
        """Take BERT's attention, how its input and its output are rounded, and what it computes in."""
        self._heads: int = layer.num_attention_heads
        self._entry, self._dtype = entry, dtype
        width = len(layer.query.weight)
        self._size = width // self._heads
        self._query = Product([layer.query], entry, unit=self._size**0.5, dtype=dtype)
        key, value = (
            of.weight.detach().float().view(self._heads, self._size, -1) for of in (layer.key, layer.value)
        )
        self._key = (key * entry.size).to(dtype)
        self._value = (value * (entry.size / seen.size)).transpose(1, 2).to(dtype)
        self._start = layer.value.bias.detach().float() / seen.size + seen.start

    def __call__(self, rounded: torch.Tensor) -> torch.Tensor:
        """Return what the first token sees, `(n, 1, width)` bytes, for inputs `(n, length, width)`."""
        query = self._query(rounded[:, :1].contiguous()).view(-1, self._heads, self._size).transpose(0, 1)
        tokens = rounded.to(self._dtype).sub_(self._entry.zero)
        mean = _attend(torch.bmm(query, self._key).transpose(0, 1), tokens, tokens).to(self._dtype)
        seen = torch.bmm(mean.transpose(0, 1), self._value).transpose(0, 1).flatten(1)
        return to_bytes(seen + self._start)[:, None]


def _attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Return the means of values, `(n, queries, size)` in fp32, weighted by the exponentials of products."""
    weights = torch.bmm(query, key.transpose(1, 2)).clamp_(-_LARGEST, _LARGEST).exp_()
    return torch.bmm(weights, value) / weights.sum(dim=-1, keepdim=True, dtype=torch.float32)
