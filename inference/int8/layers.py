"""Models in int8, in torch: linear layers multiply integers, everything else stays in float.

An activation has one scale and zero point, from a range that is measured beforehand, so that the result of a
text does not depend on its batch. A weight has a scale per output.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.functional import layer_norm, linear
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from ..first_token import reads_first_token
from .attention import Attention, FirstTokenAttention
from .linear import Int8Linear, Quantisation, Range, to_bytes

_FIXED_ROWS = 16
_FUSED = {f"{family}Model" for family in ("Bert", "Camembert", "Electra", "Roberta", "XLMRoberta")}
_ACTIVATIONS = {
    "gelu": ("gelu", "none"),
    "gelu_new": ("gelu", "tanh"),
    "gelu_pytorch_tanh": ("gelu", "tanh"),
    "relu": ("relu", ""),
}


def quantise_layers(
    model: nn.Module, ranges: Mapping[str, Range], attention_dtype: torch.dtype = torch.float32
) -> None:
    """Replace a model's linear layers, by name, whose inputs have these ranges.

    Encoders of BERT and its relatives are replaced whole, with attention in `attention_dtype`, fp32 or bf16.
    Linear layers without a range, those of a head, stay in float and become independent of the batch.
    """
    first_only = reads_first_token(model)
    for name, body in list(model.named_modules()):
        if _can_be_fused(body):
            encoder_ranges = _below(ranges, f"{name}.encoder.".lstrip("."))
            body.encoder = _Encoder(body, encoder_ranges, first_only, attention_dtype)
    for name, layer in list(model.named_modules()):
        if type(layer) is nn.Linear:
            new = (
                _Linear(layer, Quantisation.of_range(ranges[name])) if name in ranges else _FixedLinear(layer)
            )
            model.set_submodule(name, new)


def _below(ranges: Mapping[str, Range], prefix: str) -> dict[str, Range]:
    return {name.removeprefix(prefix): ranges[name] for name in ranges if name.startswith(prefix)}


class _Linear(nn.Module):
    """Any linear layer: its input is rounded to bytes, its output is float."""

    def __init__(self, layer: nn.Linear, inputs: Quantisation) -> None:
        super().__init__()
        self._inputs, self._linear = inputs, Int8Linear([layer], inputs)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        scaled = values / self._inputs.scale
        return self._linear(to_bytes(scaled.add_(self._inputs.offset)))


class _FixedLinear(nn.Module):
    """A linear layer in float that computes sixteen rows at a time, so that no row depends on the others."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        rows = values.flatten(0, -2)
        missing = -len(rows) % _FIXED_ROWS
        parts = torch.split(nn.functional.pad(rows, (0, 0, 0, missing)), _FIXED_ROWS)
        outputs = torch.cat([linear(part, self.weight, self.bias) for part in parts])
        return outputs[: len(rows)].view(*values.shape[:-1], -1)


class _Encoder(nn.Module):
    """The layers of BERT, over inputs without padding; with `first_only` the last computes one token."""

    def __init__(
        self, body: Any, ranges: Mapping[str, Range], first_only: bool, attention_dtype: torch.dtype
    ) -> None:
        super().__init__()
        layers, activation = list(body.encoder.layer), _ACTIVATIONS[body.config.hidden_act]
        rounding = [_layer_rounding(_below(ranges, f"layer.{i}.")) for i in range(len(layers))]
        outputs = [*(following.inputs for following in rounding[1:]), None]
        self._inputs = rounding[0].inputs
        self._layers = nn.ModuleList(
            _Layer(
                layer,
                layer_rounding,
                output,
                activation,
                attention_dtype,
                first_only=first_only and output is None,
            )
            for layer, layer_rounding, output in zip(layers, rounding, outputs, strict=True)
        )

    def forward(self, hidden: torch.Tensor, *_: Any, **__: Any) -> BaseModelOutputWithPastAndCrossAttentions:
        hidden = (hidden / self._inputs.scale).add_(self._inputs.offset)
        for layer in self._layers:
            hidden = layer(hidden)
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=hidden)


@dataclass(frozen=True, slots=True)
class _LayerRounding:
    """The scales and zero points of a layer's input, its attention's output, and its feed-forward part."""

    inputs: Quantisation
    context: Quantisation
    feed_forward: Quantisation
    intermediate: Quantisation


def _layer_rounding(ranges: Mapping[str, Range]) -> _LayerRounding:
    names = ("attention.self.query", "attention.output.dense", "intermediate.dense", "output.dense")
    return _LayerRounding(*(Quantisation.of_range(ranges[name]) for name in names))


class _Layer(nn.Module):
    """One layer of BERT.

    Values pass between linear layers in units of the scale of the next rounding; the conversion is part of
    the weights and norms before it. The norm of a sum is the same in other units and with an offset.
    """

    def __init__(
        self,
        layer: Any,
        rounding: _LayerRounding,
        output: Quantisation | None,
        activation: tuple[str, str],
        attention_dtype: torch.dtype,
        *,
        first_only: bool,
    ) -> None:
        super().__init__()
        self._first_only = first_only
        kind = FirstTokenAttention if first_only else Attention
        self._attend = kind(layer.attention.self, rounding.inputs, rounding.context, attention_dtype)
        self._attention_output = Int8Linear(
            [layer.attention.output.dense], rounding.context, output_scale=rounding.inputs.scale
        )
        self._intermediate = Int8Linear(
            [layer.intermediate.dense],
            rounding.feed_forward,
            activation=activation,
            output=rounding.intermediate,
        )
        self._output = Int8Linear(
            [layer.output.dense], rounding.intermediate, output_scale=rounding.feed_forward.scale
        )
        self._norms = (
            _norm(layer.attention.output.LayerNorm, rounding.inputs, rounding.feed_forward),
            _norm(layer.output.LayerNorm, rounding.feed_forward, output),
        )

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        context = self._attend(to_bytes(hidden))
        if self._first_only:
            hidden = hidden[:, :1].contiguous()
        width = hidden.shape[-1:]
        hidden = layer_norm(self._attention_output.add_to(hidden, context), width, *self._norms[0])
        intermediate = self._intermediate(to_bytes(hidden))
        return layer_norm(self._output.add_to(hidden, intermediate), width, *self._norms[1])


def _norm(
    norm: nn.LayerNorm, inputs: Quantisation, output: Quantisation | None
) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Return a norm's weight, bias and epsilon for inputs and outputs in units of their scales."""
    weight, bias, epsilon = norm.weight.detach(), norm.bias.detach(), norm.eps / inputs.scale**2
    if output is None:
        return weight, bias, epsilon
    return weight / output.scale, bias / output.scale + output.offset, epsilon


def _can_be_fused(body: nn.Module) -> bool:
    config: Any = getattr(body, "config", None)
    return (
        type(body).__name__ in _FUSED
        and not config.is_decoder
        and not config.output_hidden_states
        and getattr(config, "position_embedding_type", "absolute") in (None, "absolute")
        and config.hidden_act in _ACTIVATIONS
    )
