"""Models in int8, in torch: linear layers multiply integers, all else stays in float.

An activation is rounded to 256 steps of a range that is fixed beforehand, so that a text's result does not
depend on its batch; a weight has a scale per output.
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
from .linear import Product, Range, Steps, to_bytes

_STEADY_ROWS = 16
_FUSED = {f"{family}Model" for family in ("Bert", "Camembert", "Electra", "Roberta", "XLMRoberta")}
_ACTIVATIONS = {
    "gelu": ("gelu", "none"),
    "gelu_new": ("gelu", "tanh"),
    "gelu_pytorch_tanh": ("gelu", "tanh"),
    "relu": ("relu", ""),
}


def fold_ranges(
    model: nn.Module, ranges: Mapping[str, Range], attention: torch.dtype = torch.float32
) -> None:
    """Put int8 in the place of a model's linear layers whose inputs have these ranges, by name.

    Encoders of BERT's kin are replaced whole, and attend in `attention`, which is fp32 or bf16. What is
    left are the layers of a head, which stay in float and become independent of the batch.
    """
    first_only = reads_first_token(model)
    for name, body in list(model.named_modules()):
        if _can_be_fused(body):
            own = _below(ranges, f"{name}.encoder.".lstrip("."))
            body.encoder = _Encoder(body, own, first_only, attention)
    for name, layer in list(model.named_modules()):
        if type(layer) is nn.Linear:
            new = _Linear(layer, Steps.over(ranges[name])) if name in ranges else _Steady(layer)
            model.set_submodule(name, new)


def _below(ranges: Mapping[str, Range], prefix: str) -> dict[str, Range]:
    return {name.removeprefix(prefix): seen for name, seen in ranges.items() if name.startswith(prefix)}


class _Linear(nn.Module):
    """Any linear layer: its input is rounded, its output is float."""

    def __init__(self, layer: nn.Linear, given: Steps) -> None:
        super().__init__()
        self._given, self._product = given, Product([layer], given)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        steps = values / self._given.size
        return self._product(to_bytes(steps.add_(self._given.start)))


class _Steady(nn.Module):
    """A linear layer in float that takes rows by sixteen: each has the same result among any others."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        rows = values.flatten(0, -2)
        missing = -len(rows) % _STEADY_ROWS
        parts = torch.split(nn.functional.pad(rows, (0, 0, 0, missing)), _STEADY_ROWS)
        outputs = torch.cat([linear(part, self.weight, self.bias) for part in parts])
        return outputs[: len(rows)].view(*values.shape[:-1], -1)


class _Encoder(nn.Module):
    """The layers of BERT, for inputs without padding; with `first_only` the last computes one token."""

    def __init__(
        self, body: Any, ranges: Mapping[str, Range], first_only: bool, attention: torch.dtype
    ) -> None:
        super().__init__()
        layers, activation = list(body.encoder.layer), _ACTIVATIONS[body.config.hidden_act]
        steps = [_layer_steps(_below(ranges, f"layer.{i}.")) for i in range(len(layers))]
        entries = [*(of.entry for of in steps[1:]), None]
        self._entry = steps[0].entry
        self._layers = nn.ModuleList(
            _Layer(layer, of, after, activation, attention, first_only=first_only and after is None)
            for layer, of, after in zip(layers, steps, entries, strict=True)
        )

    def forward(self, hidden: torch.Tensor, *_: Any, **__: Any) -> BaseModelOutputWithPastAndCrossAttentions:
        hidden = (hidden / self._entry.size).add_(self._entry.start)
        for layer in self._layers:
            hidden = layer(hidden)
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=hidden)


@dataclass(frozen=True, slots=True)
class _LayerSteps:
    """The steps of what enters a layer, its attention's output, the wide part and the way back from there."""

    entry: Steps
    seen: Steps
    middle: Steps
    wide: Steps


def _layer_steps(ranges: Mapping[str, Range]) -> _LayerSteps:
    names = ("attention.self.query", "attention.output.dense", "intermediate.dense", "output.dense")
    return _LayerSteps(*(Steps.over(ranges[name]) for name in names))


class _Layer(nn.Module):
    """One layer of BERT.

    Values go from product to product counted in the steps of the next rounding: what brings them there is
    part of the weights and norms before. A sum in other units, and from another start, has the same norm.
    """

    def __init__(
        self,
        layer: Any,
        steps: _LayerSteps,
        after: Steps | None,
        activation: tuple[str, str],
        attention: torch.dtype,
        *,
        first_only: bool,
    ) -> None:
        super().__init__()
        self._first_only = first_only
        kind = FirstTokenAttention if first_only else Attention
        self._attend = kind(layer.attention.self, steps.entry, steps.seen, attention)
        self._output = Product([layer.attention.output.dense], steps.seen, unit=steps.entry.size)
        self._widen = Product(
            [layer.intermediate.dense], steps.middle, activation=activation, steps=steps.wide
        )
        self._narrow = Product([layer.output.dense], steps.wide, unit=steps.middle.size)
        self._norms = (
            _norm(layer.attention.output.LayerNorm, steps.entry, steps.middle),
            _norm(layer.output.LayerNorm, steps.middle, after),
        )

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        seen = self._attend(to_bytes(hidden))
        if self._first_only:
            hidden = hidden[:, :1].contiguous()
        width = hidden.shape[-1:]
        hidden = layer_norm(self._output.add_to(hidden, seen), width, *self._norms[0])
        wide = self._widen(to_bytes(hidden))
        return layer_norm(self._narrow.add_to(hidden, wide), width, *self._norms[1])


def _norm(norm: nn.LayerNorm, before: Steps, after: Steps | None) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Return a norm's weight, bias and epsilon for an input and an output that are counted in steps."""
    weight, bias, epsilon = norm.weight.detach(), norm.bias.detach(), norm.eps / before.size**2
    if after is None:
        return weight, bias, epsilon
    return weight / after.size, bias / after.size + after.start, epsilon


def _can_be_fused(body: nn.Module) -> bool:
    config: Any = getattr(body, "config", None)
    return (
        type(body).__name__ in _FUSED
        and not config.is_decoder
        and not config.output_hidden_states
        and getattr(config, "position_embedding_type", "absolute") in (None, "absolute")
        and config.hidden_act in _ACTIVATIONS
    )
