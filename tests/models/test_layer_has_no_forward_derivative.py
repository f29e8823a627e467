"""Every layer of the networks has a forward-mode derivative, in any memory format, and it is the right one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from models.conditioning import Conditioning
from models.dit import Attention
from models.dit import Block as DiTBlock
from models.unet import Block, Convolution, GroupNorm

B, C = 2, 8


def told(conditioning: Conditioning) -> Callable[[Tensor], Tensor]:
    """A function of x [B, C, 4, 4] by the times, which are means of it."""
    label = torch.tensor([0, 2])
    return lambda x: conditioning(x[:, :4].mean((1, 2, 3)), x[:, 4:].mean((1, 2, 3)), label, 2 + x.mean((1, 2, 3)))


def tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


def upsampled(x: Tensor) -> Tensor:
    return nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")


def layers() -> dict[str, tuple[nn.Module | None, Callable[[Tensor], Tensor]]]:
    """Each with its weights' owner, if any, and as a function of x [B, C, 4, 4]."""
    condition = torch.randn(B, 6, dtype=torch.float64)
    norm, kernel, half = GroupNorm(C, affine=True), Convolution(C, 4), Convolution(C, 4, stride=2)
    block = Block(C, 12, condition=6, heads=3, dropout=0.0)
    plain = Block(C, C, condition=6, heads=0, dropout=0.0)
    attention, dit, embedding = Attention(C, 2), DiTBlock(C, 2, 2.0), Conditioning(6, 2, guidance=True)
    return {
        "group norm": (norm, norm),
        "convolution": (kernel, kernel),
        "strided convolution": (half, half),
        "nearest upsampling": (None, upsampled),
        "U-Net block": (plain, lambda x: plain(x, condition)),
        "U-Net block with attention": (block, lambda x: block(x, condition + x.mean())),
        "attention": (attention, lambda x: attention(tokens(x))),
        "DiT block": (dit, lambda x: dit(tokens(x), x.mean((2, 3)) @ torch.ones(C, C, dtype=x.dtype))),
        "conditioning": (embedding, told(embedding)),
    }


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("name", layers())
def test_derivative_is_the_difference_quotient(name: str, memory: torch.memory_format) -> None:
    torch.manual_seed(0)
    module, layer = layers()[name]
    if module is not None:
        module.double().requires_grad_(False)
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.5)
    x, tangent = (torch.randn(B, C, 4, 4, dtype=torch.float64).contiguous(memory_format=memory) for _ in range(2))
    with sdpa_kernel(SDPBackend.MATH):
        exact = torch.func.jvp(layer, (x,), (tangent,))[1]
    step = 1e-5
    quotient = (layer(x + step * tangent) - layer(x - step * tangent)) / (2 * step)
    assert exact.norm() > 1e-2
    torch.testing.assert_close(exact, quotient, atol=1e-7, rtol=1e-6)
    other = (layer(x + step * tangent.flip(0)) - layer(x - step * tangent.flip(0))) / (2 * step)
    assert (exact - other).norm() > 1e-3 * exact.norm()  # negative control
