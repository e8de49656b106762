"""Attention in bf16 against fp32, with ordinary and with extreme scores."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from dupmine.inference.device import multiplies_int8
from dupmine.inference.int8.attention import Attention, FirstTokenAttention
from dupmine.inference.int8.linear import Quantisation, Range

WIDTH, HEADS = 32, 4
RANGE: Range = (-4.0, 4.0)

pytestmark = pytest.mark.skipif(not multiplies_int8(torch.device("cpu")), reason="no VNNI here")


def layer(scale: float) -> SimpleNamespace:
    """Return BERT's attention with queries so large that scores are multiplied by `scale`."""
    torch.manual_seed(0)
    query, key, value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
    query.weight.data *= scale
    return SimpleNamespace(num_attention_heads=HEADS, query=query, key=key, value=value)


def attended(scale: float, dtype: torch.dtype, *, first_only: bool = False) -> torch.Tensor:
    """Return the output of attention over three inputs, as floats."""
    inputs, output = Quantisation.of_range(RANGE), Quantisation.of_range((-2.0, 2.0))
    torch.manual_seed(1)
    rounded = torch.randint(0, 256, (3, 7, WIDTH), dtype=torch.uint8)
    with torch.inference_mode():
        kind = FirstTokenAttention if first_only else Attention
        context = kind(layer(scale), inputs, output, dtype)(rounded)
    return (context.float() - output.zero_point) * output.scale


@pytest.mark.parametrize("scale", [0.0, 1.0, 10.0])
def test_both_formats_agree(scale: float) -> None:
    expected, actual = attended(scale, torch.float32), attended(scale, torch.bfloat16)
    assert expected.std() > 0.1
    assert (expected - actual).abs().mean() < 0.01
    assert (expected - actual).abs().max() < 0.2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [0.0, 1.0, 10.0])
def test_the_first_token_alone_agrees(scale: float, dtype: torch.dtype) -> None:
    expected = attended(scale, torch.float32)[:, :1]
    actual = attended(scale, dtype, first_only=True)
    assert actual.shape == (3, 1, WIDTH)
    assert expected.std() > 0.1
    assert (expected - actual).abs().mean() < 0.01
    assert (expected - actual).abs().max() < 0.2


@pytest.mark.parametrize("scale", [1e3, 1e5])
def test_scores_without_bounds(scale: float) -> None:
    """Scores are clamped before their exponentials overflow bf16, so that the output is finite."""
    actual = attended(scale, torch.bfloat16)
    assert actual.abs().max() < 2.01
    assert actual.std() > 0.1
