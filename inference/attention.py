"""Attention between products in int8: from the bytes that enter a layer to those of what its heads see."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from .products import Product, Steps, to_bytes

_LARGEST = 80.0  # of a score: its exponential and the sum of thousands of them are finite in bf16, and not 0
_BLOCK = 512  # tokens: what is computed of so many stays in a core's own cache


class Attention:
    """The heads of a layer, for inputs without padding; with `first_only` the first token alone asks."""

    def __init__(
        self, layer: Any, entry: Steps, seen: Steps, dtype: torch.dtype, *, first_only: bool
    ) -> None:
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
        cut = width if first_only else 0
        layers = [layer.query, layer.key, layer.value]
        self._query = Product(layers[:1], entry, unit=of_query, dtype=dtype) if first_only else None
        self._inputs = Product(
            layers[cut // width :], entry, unit=unit[cut:], start=starts[cut:], dtype=dtype
        )

    def __call__(self, rounded: torch.Tensor) -> torch.Tensor:
        """Return what each token (or the first) sees, as bytes, for inputs `(n, length, width)`."""
        n, length, width = rounded.shape
        parts = self._inputs(rounded).view(n, length, -1, self._heads, self._size).permute(2, 0, 3, 1, 4)
        query, key, value = parts if self._query is None else (self._first(rounded), *parts)
        if not self._in_bf16:
            seen = scaled_dot_product_attention(query, key, value).transpose(1, 2)
            return to_bytes(seen.reshape(n, -1, width))
        blocks = (part.split(max(_BLOCK // length, 1)) for part in (query, key, value))
        return torch.cat([self._in_halves(*block) for block in zip(*blocks, strict=True)])

    def _in_halves(self, *parts: torch.Tensor) -> torch.Tensor:
        """Attend by batched products: for heads as small as these they beat the fused kernel."""
        query, key, value = (part.reshape(-1, *part.shape[2:]) for part in parts)
        weights = torch.bmm(query, key.transpose(1, 2)).clamp_(-_LARGEST, _LARGEST).exp_()
        seen = torch.bmm(weights, value) / weights.sum(dim=-1, keepdim=True, dtype=torch.float32)
        bytes_ = to_bytes(seen.add_(self._seen.start)).view(-1, self._heads, *seen.shape[1:])
        return bytes_.transpose(1, 2).flatten(2)

    def _first(self, rounded: torch.Tensor) -> torch.Tensor:
        """Return the queries of the first tokens, `(n, heads, 1, size)`."""
        assert self._query is not None
        first = self._query(rounded[:, :1].contiguous())
        return first.view(len(rounded), 1, self._heads, self._size).transpose(1, 2)
