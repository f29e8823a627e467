"""Forward mode's own rules against central differences in fp64, for every way in which a layer may be called."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.objectives.parts.forward_mode import RULES, jvp

STEP = 1e-6
Layer = Callable[[Tensor], Tensor]


def numbers(*shape: int) -> Tensor:
    """Standard normal, fp64, with gradient."""
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def check(layer: Layer, *shape: int) -> None:
    """Value and gradient are the plain layer's; the derivative is the difference's, and has no gradient."""
    x, dx = numbers(*shape), torch.randn(shape, dtype=torch.float64)
    value, derivative = jvp(layer, (x,), (dx,))
    torch.testing.assert_close(value, layer(x))
    torch.testing.assert_close(*(torch.autograd.grad(each.square().sum(), x)[0] for each in (value, layer(x))))
    assert not derivative.requires_grad
    with torch.no_grad():
        difference = (layer(x + STEP * dx) - layer(x - STEP * dx)) / (2 * STEP)
    torch.testing.assert_close(derivative, difference, rtol=1e-6, atol=1e-6)


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"), list(product((1, 2), (0, 1, "valid"), (1, 2), (1, 2)))
)
def test_convolution_forgets_a_setting(stride: int, padding: Any, dilation: int, groups: int) -> None:
    weight, bias = numbers(4, 4 // groups, 3, 3), numbers(4)
    check(lambda x: F.conv2d(x.sin(), weight, bias, stride, padding, dilation, groups), 2, 4, 7, 7)


@pytest.mark.parametrize("more", [{}, {"is_causal": True}, {"scale": 0.3}], ids=str)
def test_attention_forgets_a_setting(more: dict[str, Any]) -> None:
    """With settings torch's own rule applies. Queries, keys and values all move; values are wider than keys."""
    weights = [numbers(5, 2 * width) for width in (4, 4, 6)]

    def attention(x: Tensor) -> Tensor:
        heads = [(x.sin() @ weight).unflatten(-1, (2, -1)).transpose(1, 2) for weight in weights]
        return F.scaled_dot_product_attention(*heads, **more)

    check(attention, 2, 7, 5)


def test_names_of_arguments_are_refused() -> None:
    weight, bias, kernel = numbers(3, 5), numbers(3), numbers(2, 4, 1, 1)
    check(lambda x: F.linear(input=x.sin(), weight=weight, bias=bias), 2, 5)
    check(lambda x: F.linear(x.sin(), weight=weight, bias=bias), 2, 5)
    check(lambda x: F.conv2d(input=x.sin(), weight=kernel), 2, 4, 3, 3)


def test_weight_that_moves_stands_still() -> None:
    """A hypernetwork's weight depends on the input; then torch's rule of a product applies."""
    fixed = numbers(5, 5)
    check(lambda x: F.linear(x, fixed * x.sum()), 3, 5)


def test_wrong_rule_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: the bias in the derivative, too."""
    weight, bias = numbers(3, 5), numbers(3)

    def wrong(function: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        x, dx = torch.autograd.forward_ad.unpack_dual(x)
        return torch.autograd.forward_ad.make_dual(function(x, weight, bias), function(dx, weight, bias))

    monkeypatch.setitem(RULES, F.linear, wrong)
    with pytest.raises(AssertionError):
        check(lambda x: F.linear(x.sin(), weight, bias), 2, 5)
