"""Linear layers in int8: products of bytes, and how floats become those bytes.

The products are oneDNN's, which adds the bias and applies the activation function in the same pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

Range = tuple[float, float]  # the least and the greatest value
Scale = torch.Tensor | float

NO_ACTIVATION = ("none", "")

_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Steps:
    """How an activation is rounded: byte `q` stands for `size * (q - zero)`."""

    size: float
    zero: int

    @classmethod
    def over(cls, seen: Range) -> Steps:
        """Divide a range, widened to take in 0, into 256 steps."""
        low, high = min(seen[0], 0.0), max(seen[1], 0.0)
        size = max((high - low) / 255, _TINY)
        return cls(size, round(-low / size))

    @property
    def start(self) -> float:
        """Where 0 lies on the scale that `to_bytes` cuts down to bytes."""
        return self.zero + 0.5


def to_bytes(steps: torch.Tensor) -> torch.Tensor:
    """Return values counted in steps from their start as bytes; those out of range become its ends."""
    return steps.clamp(0, 255).to(torch.int16).to(torch.uint8)  # torch has a fast way there in two steps


class Product:
    """Linear layers that share an input, over bytes.

    Their outputs come in units and from a start of the caller's choice, one for all or one per output, as
    `dtype` or as bytes of `steps`.
    """

    def __init__(  # noqa: PLR0913 - all of it named at the call
        self,
        layers: Sequence[nn.Linear],
        given: Steps,
        *,
        unit: Scale = 1.0,
        start: Scale = 0.0,
        activation: tuple[str, str] = NO_ACTIVATION,
        steps: Steps | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        weight = torch.cat([layer.weight.detach() for layer in layers]).float()
        bias = [torch.zeros(len(of.weight)) if of.bias is None else of.bias.detach().float() for of in layers]
        scale = (weight.abs().amax(dim=1) / 127).clamp_min(_TINY)
        rounded = (weight / scale[:, None]).round().to(torch.int8)
        # The input's zero is taken off here once, not from each byte.
        of_zero = rounded.sum(dim=1, dtype=torch.int64) * scale * (given.size * given.zero)
        self._weight = torch.ops.onednn.qlinear_prepack(rounded, None)
        self._scale, self._bias = scale / unit, (torch.cat(bias) - of_zero) / unit + start
        self._no_zeros = torch.zeros(len(scale), dtype=torch.int32)
        self._given, self._activation = given, activation
        self._out = (1.0, 0, dtype) if steps is None else (steps.size, steps.zero, torch.uint8)

    def __call__(self, rounded: torch.Tensor) -> torch.Tensor:
        """Return the outputs for rows of bytes."""
        of_weight = self._weight, self._scale, self._no_zeros, self._bias
        name, kind = self._activation
        output: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
            rounded, self._given.size, 0, *of_weight, *self._out, name, [], kind
        )
        return output

    def add_to(self, total: torch.Tensor, rounded: torch.Tensor) -> torch.Tensor:
        """Add the outputs to floats in their place, and return these."""
        of_weight = self._weight, self._scale, self._no_zeros, total, self._bias
        result: torch.Tensor = torch.ops.onednn.qlinear_pointwise.binary(
            rounded, self._given.size, 0, *of_weight, *self._out, 1.0, 0, "sum", 1.0, "none", [], ""
        )
        return result
