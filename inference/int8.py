"""Linear layers in int8, in torch: integers are multiplied, all else stays in float.

An activation is rounded to 256 steps of a range that is fixed beforehand, so that a text's result does not
depend on its batch; a weight has a scale per output. The products are oneDNN's, which adds the bias and
applies the activation function in the same pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.functional import layer_norm, linear, scaled_dot_product_attention
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from .first_token import reads_first_token

MOST_TOKENS = 2048  # per batch: more do not stay in a core's own cache

Range = tuple[float, float]  # the least and the greatest value
Scale = torch.Tensor | float

_TINY = 1e-12
_STEADY_ROWS = 16
_FUSED = {f"{family}Model" for family in ("Bert", "Camembert", "Electra", "Roberta", "XLMRoberta")}
_ACTIVATIONS = {
    "gelu": ("gelu", "none"),
    "gelu_new": ("gelu", "tanh"),
    "gelu_pytorch_tanh": ("gelu", "tanh"),
    "relu": ("relu", ""),
}
_NO_ACTIVATION = ("none", "")


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
    return steps.clamp(0, 255).to(torch.uint8)


def fold_ranges(model: nn.Module, ranges: Mapping[str, Range]) -> None:
    """Put int8 in the place of a model's linear layers whose inputs have these ranges, by name.

    Encoders of BERT's kin are replaced whole. What is left are the layers of a head, which stay in float
    and become independent of the batch.
    """
    first_only = reads_first_token(model)
    for name, body in list(model.named_modules()):
        if _can_be_fused(body):
            body.encoder = _Encoder(body, _below(ranges, f"{name}.encoder.".lstrip(".")), first_only)
    for name, layer in list(model.named_modules()):
        if type(layer) is nn.Linear:
            new = _Linear(layer, Steps.over(ranges[name])) if name in ranges else _Steady(layer)
            model.set_submodule(name, new)


def _below(ranges: Mapping[str, Range], prefix: str) -> dict[str, Range]:
    return {name.removeprefix(prefix): seen for name, seen in ranges.items() if name.startswith(prefix)}


class _Product:
    """Linear layers that share an input, over bytes.

    Their outputs come in units and from a start of the caller's choice, one for all or one per output, or
    as bytes of `steps`.
    """

    def __init__(
        self,
        layers: Sequence[nn.Linear],
        given: Steps,
        *,
        unit: Scale = 1.0,
        start: Scale = 0.0,
        activation: tuple[str, str] = _NO_ACTIVATION,
        steps: Steps | None = None,
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
        self._out = (1.0, 0, torch.float32) if steps is None else (steps.size, steps.zero, torch.uint8)

    def __call__(self, rounded: torch.Tensor) -> torch.Tensor:
        of_weight = self._weight, self._scale, self._no_zeros, self._bias
        name, kind = self._activation
        output: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
            rounded, self._given.size, 0, *of_weight, *self._out, name, [], kind
        )
        return output


class _Linear(nn.Module):
    """Any linear layer: its input is rounded, its output is float."""

    def __init__(self, layer: nn.Linear, given: Steps) -> None:
        super().__init__()
        self._given, self._product = given, _Product([layer], given)

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

    def __init__(self, body: Any, ranges: Mapping[str, Range], first_only: bool) -> None:
        super().__init__()
        layers, activation = list(body.encoder.layer), _ACTIVATIONS[body.config.hidden_act]
        steps = [_layer_steps(_below(ranges, f"layer.{i}.")) for i in range(len(layers))]
        entries = [*(of.entry for of in steps[1:]), None]
        self._entry = steps[0].entry
        self._layers = nn.ModuleList(
            _Layer(layer, of, after, activation, first_only=first_only and after is None)
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
        *,
        first_only: bool,
    ) -> None:
        super().__init__()
        attention, seen = layer.attention.self, steps.seen
        self._heads: int = attention.num_attention_heads
        self._first_only = first_only
        width = len(attention.query.weight)
        kind = torch.arange(3 * width) // width  # 0: query, 1: key, 2: value
        unit, start = torch.where(kind == 2, seen.size, 1.0), torch.where(kind == 2, seen.start, 0.0)
        cut = width if first_only else 0
        inputs = [attention.query, attention.key, attention.value]
        self._query = _Product(inputs[:1], steps.entry) if first_only else None
        self._inputs = _Product(inputs[cut // width :], steps.entry, unit=unit[cut:], start=start[cut:])
        self._output = _Product([layer.attention.output.dense], seen, unit=steps.entry.size)
        self._widen = _Product(
            [layer.intermediate.dense], steps.middle, activation=activation, steps=steps.wide
        )
        self._narrow = _Product([layer.output.dense], steps.wide, unit=steps.middle.size)
        self._norms = (
            _norm(layer.attention.output.LayerNorm, steps.entry, steps.middle),
            _norm(layer.output.LayerNorm, steps.middle, after),
        )

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        rounded = to_bytes(hidden)
        split = self._inputs(rounded).view(
            *hidden.shape[:2], -1, self._heads, hidden.shape[-1] // self._heads
        )
        query, key, value = (
            split.permute(2, 0, 3, 1, 4) if self._query is None else self._first(rounded, split)
        )
        hidden = hidden[:, : query.shape[2]]
        seen = scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        width = hidden.shape[-1:]
        hidden = layer_norm(self._output(to_bytes(seen)).add_(hidden), width, *self._norms[0])
        narrow = self._narrow(self._widen(to_bytes(hidden)))
        return layer_norm(narrow.add_(hidden), width, *self._norms[1])

    def _first(self, rounded: torch.Tensor, split: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the query of the first token, the keys and the values."""
        assert self._query is not None
        query = (
            self._query(rounded[:, :1].contiguous()).view(len(split), 1, *split.shape[-2:]).transpose(1, 2)
        )
        return query, *split.permute(2, 0, 3, 1, 4)


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
