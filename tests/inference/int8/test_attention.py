"""Attention in bf16 against that in fp32, where scores are ordinary and where they are not."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from dupmine.inference.device import multiplies_int8
from dupmine.inference.int8.attention import Attention, FirstTokenAttention
from dupmine.inference.int8.linear import Range, Steps

WIDTH, HEADS = 32, 4
RANGE: Range = (-4.0, 4.0)

pytestmark = pytest.mark.skipif(not multiplies_int8(torch.device("cpu")), reason="no VNNI here")


def layer(scale: float) -> SimpleNamespace:
    """Return BERT's attention with queries so large that scores are multiplied by `scale`."""
    torch.manual_seed(0)
    query, key, value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
    query.weight.data *= scale
    return SimpleNamespace(num_attention_heads=HEADS, query=query, key=key, value=value)


def seen(scale: float, dtype: torch.dtype, *, first_only: bool = False) -> torch.Tensor:
    """Return what is seen of three inputs, as floats."""
    entry, out = Steps.over(RANGE), Steps.over((-2.0, 2.0))
    torch.manual_seed(1)
    rounded = torch.randint(0, 256, (3, 7, WIDTH), dtype=torch.uint8)
    with torch.inference_mode():
        kind = FirstTokenAttention if first_only else Attention
        found = kind(layer(scale), entry, out, dtype)(rounded)
    return (found.float() - out.zero) * out.size


@pytest.mark.parametrize("scale", [0.0, 1.0, 10.0])
def test_both_see_the_same(scale: float) -> None:
    expected, found = seen(scale, torch.float32), seen(scale, torch.bfloat16)
    assert expected.std() > 0.1
    assert (expected - found).abs().mean() < 0.01
    assert (expected - found).abs().max() < 0.2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [0.0, 1.0, 10.0])
def test_the_first_token_alone_sees_the_same(scale: float, dtype: torch.dtype) -> None:
    expected, found = seen(scale, torch.float32)[:, :1], seen(scale, dtype, first_only=True)
    assert found.shape == (3, 1, WIDTH)
    assert expected.std() > 0.1
    assert (expected - found).abs().mean() < 0.01
    assert (expected - found).abs().max() < 0.2


@pytest.mark.parametrize("scale", [1e3, 1e5])
def test_scores_without_bounds(scale: float) -> None:
    """Scores are cut off where their exponentials would leave bf16, so each sees something."""
    found = seen(scale, torch.bfloat16)
    assert found.abs().max() < 2.01
    assert found.std() > 0.1
