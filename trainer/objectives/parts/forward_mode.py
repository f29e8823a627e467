"""Forward-mode derivatives of a network in its inputs, with rules for the layers that torch differentiates wastefully.

torch's rule of a product is d(x w) = dx w + x dw, and for a weight that has no tangent it fills dw with zeros and
multiplies all the same: half as much arithmetic again for a whole network (torch 2.13). Of its attentions the plain one
alone has a rule, which takes many passes over the matrix of weights. What has no rule here keeps torch's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode


def jvp(function: Callable[..., Tensor], inputs: tuple[Tensor, ...], tangents: tuple[Tensor | None, ...]) -> tuple[
    Tensor, Tensor
]:  # fmt: skip
    """`function(*inputs)` and its derivative along the tangents; None stands for zero.

    The value has a gradient where the surrounding code records one; the derivative never has.
    """
    with sdpa_kernel(SDPBackend.MATH), forward_ad.dual_level(), Rules():
        duals = [x if dx is None else forward_ad.make_dual(x, dx) for x, dx in zip(inputs, tangents, strict=True)]
        value, derivative = forward_ad.unpack_dual(function(*duals))
        if derivative is None:
            derivative = torch.zeros_like(value)
        return value, derivative.detach()


class Rules(TorchFunctionMode):
    """Within it and a dual level, the functions of `RULES` differentiate by their rules here."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Torch's hook: called in the place of every function of a tensor."""
        kwargs = kwargs or {}
        rule = RULES.get(func)
        result = rule(func, *args, **kwargs) if rule is not None and args else None  # F.linear(input=x) has no args
        return func(*args, **kwargs) if result is None else result


def _affine(function: Callable[..., Tensor], x: Tensor, weight: Tensor, bias: Tensor | None = None, *more: Any,
            **named: Any) -> Tensor | None:  # fmt: skip
    """A linear layer or a convolution: with fixed weights the derivative is the layer itself without its bias."""
    (x, dx), moves = forward_ad.unpack_dual(x), forward_ad.unpack_dual(weight).tangent is not None
    if dx is None or moves:
        return None
    value = function(x, weight, bias, *more, **named)
    with torch.no_grad():
        derivative = function(dx, weight, None, *more, **named)
    return forward_ad.make_dual(value, derivative)


def _attention(
    _: Callable[..., Tensor], query: Tensor, key: Tensor, value: Tensor, *more: Any, **named: Any
) -> Tensor | None:
    """softmax(q k' / sqrt(D)) v on [B, H, L, D], without mask, dropout or grouped heads."""
    if more or named:
        return None
    (q, dq), (k, dk), (v, dv) = (forward_ad.unpack_dual(x) for x in (query, key, value))
    if dq is None or dk is None or dv is None:
        return None
    shape, scale = q.shape, q.shape[-1] ** -0.5
    q, k, v = (x.flatten(0, 1) for x in (q * scale, k, v))
    weights = torch.bmm(q, k.mT).softmax(-1)
    mixed = torch.bmm(weights, v)
    with torch.no_grad():
        dq, dk, dv = (x.flatten(0, 1) for x in (dq * scale, dk, dv))
        steep = torch.baddbmm(torch.bmm(dq, k.mT), q, dk.mT).mul_(weights)
        dweights = torch.addcmul(steep, weights, steep.sum(-1, keepdim=True), value=-1)
        dmixed = torch.baddbmm(torch.bmm(dweights, v), weights, dv)
    return forward_ad.make_dual(mixed.view(*shape[:-1], -1), dmixed.view(*shape[:-1], -1))


RULES: dict[Callable[..., Any], Callable[..., Tensor | None]] = {
    F.linear: _affine,
    F.conv2d: _affine,
    F.scaled_dot_product_attention: _attention,
}
