"""Linear layers over bytes, and how floats are rounded to bytes.

oneDNN multiplies the integers, adds the bias and applies the activation function in one pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

Range = tuple[float, float]  # minimum and maximum
PerOutput = torch.Tensor | float  # one number for all outputs, or one for each

NO_ACTIVATION = ("none", "")

_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Quantisation:
    """The scale and zero point of an activation: byte `q` stands for `scale * (q - zero_point)`."""

    scale: float
    zero_point: int

    @classmethod
    def of_range(cls, value_range: Range) -> Quantisation:
        """Divide a range, extended to include 0, into 256 steps."""
        low, high = min(value_range[0], 0.0), max(value_range[1], 0.0)
        scale = max((high - low) / 255, _TINY)
        return cls(scale, round(-low / scale))

    @property
    def offset(self) -> float:
        """What to add to a value in units of the scale, so that `to_bytes` rounds it to its byte."""
        return self.zero_point + 0.5


def to_bytes(scaled: torch.Tensor) -> torch.Tensor:
    """Return values in units of a scale, its offset added, as bytes; values out of range are clamped."""
    return scaled.clamp(0, 255).to(torch.int16).to(torch.uint8)  # torch is fast by way of int16


class Int8Linear:
    """Linear layers that share an input, over its bytes.

    An output `y` comes as `y / output_scale + output_offset` in `dtype`, or with `output` as bytes.
    """

    def __init__(  # noqa: PLR0913 - all of it named at the call
        self,
        layers: Sequence[nn.Linear],
        inputs: Quantisation,
        *,
        output_scale: PerOutput = 1.0,
        output_offset: PerOutput = 0.0,
        activation: tuple[str, str] = NO_ACTIVATION,
        output: Quantisation | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        weight = torch.cat([layer.weight.detach() for layer in layers]).float()
        bias = torch.cat([_bias(layer) for layer in layers])
        weight_scale = (weight.abs().amax(dim=1) / 127).clamp_min(_TINY)
        rounded = (weight / weight_scale[:, None]).round().to(torch.int8)
        # The zero point of the input is subtracted here, once, instead of from each byte.
        of_zero_point = (
            rounded.sum(dim=1, dtype=torch.int64) * weight_scale * (inputs.scale * inputs.zero_point)
        )
        self._weight = torch.ops.onednn.qlinear_prepack(rounded, None)
        self._weight_scale = weight_scale / output_scale
        self._weight_zero_points = torch.zeros(len(weight_scale), dtype=torch.int32)
        self._bias = (bias - of_zero_point) / output_scale + output_offset
        self._input_scale, self._activation = inputs.scale, activation
        self._output = (1.0, 0, dtype) if output is None else (output.scale, output.zero_point, torch.uint8)

    def __call__(self, rounded: torch.Tensor) -> torch.Tensor:
        """Return the outputs for rows of bytes."""
        weight = self._weight, self._weight_scale, self._weight_zero_points, self._bias
        name, kind = self._activation
        output: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
            rounded, self._input_scale, 0, *weight, *self._output, name, [], kind
        )
        return output

    def add_to(self, total: torch.Tensor, rounded: torch.Tensor) -> torch.Tensor:
        """Add the outputs to floats in place, and return these."""
        weight = self._weight, self._weight_scale, self._weight_zero_points, total, self._bias
        result: torch.Tensor = torch.ops.onednn.qlinear_pointwise.binary(
            rounded, self._input_scale, 0, *weight, *self._output, 1.0, 0, "sum", 1.0, "none", [], ""
        )
        return result


def _bias(layer: nn.Linear) -> torch.Tensor:
    return torch.zeros(len(layer.weight)) if layer.bias is None else layer.bias.detach().float()
