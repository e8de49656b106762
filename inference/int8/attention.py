"""Attention between int8 linear layers: bytes in, bytes out."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from .linear import Int8Linear, Quantisation, to_bytes

_MAX_SCORE = 80.0  # its exponential, and the sum of thousands of them, are finite and not 0 in bf16
_BLOCK = 512  # tokens whose intermediate results fit a core's own cache


class Attention:
    """The attention of a layer, over inputs without padding."""

    def __init__(self, layer: Any, inputs: Quantisation, output: Quantisation, dtype: torch.dtype) -> None:
        """Take BERT's attention, how its input and output are rounded, and the number format in between."""
        self._heads: int = layer.num_attention_heads
        self._output, self._in_bf16 = output, dtype == torch.bfloat16
        width = len(layer.query.weight)
        self._size = width // self._heads
        # In bf16 the query scales the scores, and the offset of the output is added in fp32 at the end.
        query_scale = self._size**0.5 if self._in_bf16 else 1.0
        value_offset = 0.0 if self._in_bf16 else output.offset
        kind = torch.arange(3 * width) // width  # 0: query, 1: key, 2: value
        self._project = Int8Linear(
            [layer.query, layer.key, layer.value],
            inputs,
            output_scale=torch.tensor([query_scale, 1.0, output.scale])[kind],
            output_offset=torch.tensor([0.0, 0.0, value_offset])[kind],
            dtype=dtype,
        )

    def __call__(self, rounded: torch.Tensor) -> torch.Tensor:
        """Return the attention's output as bytes, for inputs `(n, length, width)`."""
        n, length, width = rounded.shape
        parts = self._project(rounded).view(n, length, 3, self._heads, self._size).permute(2, 0, 3, 1, 4)
        if not self._in_bf16:
            context = scaled_dot_product_attention(*parts).transpose(1, 2)
            return to_bytes(context.reshape(n, length, width))
        blocks = (part.split(max(_BLOCK // length, 1)) for part in parts)
        return torch.cat([self._attend_in_bf16(*block) for block in zip(*blocks, strict=True)])

    def _attend_in_bf16(self, *parts: torch.Tensor) -> torch.Tensor:
        """Attend by batched products, which beat the fused kernel for heads as small as these."""
        query, key, value = (part.reshape(-1, *part.shape[2:]) for part in parts)
        context = _attend(query, key, value).add_(self._output.offset)
        return to_bytes(context).view(-1, self._heads, *context.shape[1:]).transpose(1, 2).flatten(2)


class FirstTokenAttention:
    """The attention of a layer that computes its first token alone, over inputs without padding.

    It computes no keys and values. The score of a query `q` and a key `K x` is that of `K' q` and `x`, up to
    a constant that all tokens share. The output, a weighted mean of `V x`, is `V` times that mean of `x`.
    """

    def __init__(self, layer: Any, inputs: Quantisation, output: Quantisation, dtype: torch.dtype) -> None:
        """Take BERT's attention, how its input and output are rounded, and the number format in between."""
        self._heads: int = layer.num_attention_heads
        self._inputs, self._dtype = inputs, dtype
        width = len(layer.query.weight)
        self._size = width // self._heads
        self._query = Int8Linear([layer.query], inputs, output_scale=self._size**0.5, dtype=dtype)
        key, value = (
            part.weight.detach().float().view(self._heads, self._size, -1)
            for part in (layer.key, layer.value)
        )
        self._key = (key * inputs.scale).to(dtype)
        self._value = (value * (inputs.scale / output.scale)).transpose(1, 2).to(dtype)
        self._offset = layer.value.bias.detach().float() / output.scale + output.offset

    def __call__(self, rounded: torch.Tensor) -> torch.Tensor:
        """Return the output for the first token, `(n, 1, width)` bytes, for inputs `(n, length, width)`."""
        query = self._query(rounded[:, :1].contiguous()).view(-1, self._heads, self._size).transpose(0, 1)
        tokens = rounded.to(self._dtype).sub_(self._inputs.zero_point)
        mean = _attend(torch.bmm(query, self._key).transpose(0, 1), tokens, tokens).to(self._dtype)
        context = torch.bmm(mean.transpose(0, 1), self._value).transpose(0, 1).flatten(1)
        return to_bytes(context + self._offset)[:, None]


def _attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Return means of the values, `(n, queries, size)` in fp32, weighted by the softmax of clamped scores."""
    weights = torch.bmm(query, key.transpose(1, 2)).clamp_(-_MAX_SCORE, _MAX_SCORE).exp_()
    return torch.bmm(weights, value) / weights.sum(dim=-1, keepdim=True, dtype=torch.float32)
