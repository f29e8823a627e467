"""A U-Net has the levels, the skip connections, the attention and the dropout that it was asked for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.dit import Attention
from models.unet import Convolution, GroupNorm, UNet, default_multipliers, set_channels_last


def unet(shape: tuple[int, int, int] = (1, 8, 8), std: float = 0.1, **settings: Any) -> UNet:
    """A small one with all weights random, in evaluation mode."""
    torch.manual_seed(0)
    net = UNet(shape, 2, **{"channels": 8, "multipliers": (1, 2), "blocks": 1, "attention": 0, **settings})
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=std)
    return net.eval()


def ask(net: UNet, z: Tensor) -> Tensor:
    t = torch.linspace(1, 0.5, len(z))
    with torch.no_grad():
        out: Tensor = net(z, t, t / 2, torch.zeros(len(z), dtype=torch.long))
    return out


@pytest.mark.parametrize(
    ("sides", "multipliers"),
    [
        ((32, 32), (1, 2, 4)),
        ((28, 28), (1, 2, 4)),
        ((64, 64), (1, 2, 4, 4)),
        ((256, 256), (1, 2, 4, 4, 4, 4)),
        ((16, 64), (1, 2)),
        ((30, 32), (1, 2)),
        ((8, 8), (1,)),
        ((33, 33), (1,)),
    ],
)
def test_ladder_of_old_checkpoints_changes(sides: tuple[int, int], multipliers: tuple[int, ...]) -> None:
    """Checkpoints leave the ladder to this rule, so it is part of their format; and it always fits."""
    assert default_multipliers(*sides) == multipliers
    assert len(UNet((1, *sides), 2, channels=4, blocks=1, head_width=4).down) == len(multipliers)


def test_level_is_not_there() -> None:
    """Each level has half the sides and its own width, and the same on the way up."""
    net, seen = unet((3, 8, 16), multipliers=(1, 2, 4)), []
    for level in [*net.down, net.middle, *net.up]:
        for block in level.blocks:
            block.register_forward_hook(lambda _, __, out: seen.append(tuple(out.shape[1:])))
    ask(net, torch.randn(2, 3, 8, 16))
    ladder = [(8, 8, 16), (16, 4, 8), (32, 2, 4)]
    assert seen == [*ladder, ladder[2], ladder[2], *[ladder[level] for level in (2, 2, 1, 1, 0, 0)]]


def test_skip_connection_is_dead() -> None:
    """With the way through the ladder cut below a level, what that level kept still arrives."""
    net, z = unet(), torch.randn(2, 1, 8, 8)
    cut = net.up[1].resample
    assert isinstance(cut, Convolution)
    nn.init.zeros_(cut.weight)
    net.gain.weight.data.zero_()
    net.gain.bias.data.zero_()
    assert not torch.allclose(ask(net, z), ask(net, z + 1), atol=1e-3)
    for block in net.up[1].blocks:  # negative control: with the skip connections cut as well, nothing of z arrives
        for kernel in (block.first, block.skip):
            kernel.weight.data.view(8, 16, -1)[:, 8:].zero_()
        block.first_norm.scale.data[8:] = 0
    lonely = [ask(net, each) for each in (z, 3 * z)]
    assert (lonely[0] - lonely[1]).abs().max() < 1e-5


@pytest.mark.parametrize(("side", "levels"), [(0, set()), (3, set()), (4, {1}), (8, {0, 1})])
def test_attention_is_elsewhere(side: int, levels: set[int]) -> None:
    net = unet(attention=side, head_width=4)
    for place, level in {"down 0": (net.down[0], 0), "down 1": (net.down[1], 1), "up 1": (net.up[0], 1)}.values():
        found = [part for part in place.modules() if isinstance(part, Attention)]
        assert len(found) == (len(place.blocks) if level in levels else 0)
        assert {part.heads for part in found} <= {2 * (level + 1)}


def test_dropout_is_missing_or_stays() -> None:
    """In training only, and from the global generator, so that two forwards of one step can share a mask."""
    net, plain, z = unet(dropout=0.5), unet(), torch.randn(2, 1, 8, 8)
    assert torch.equal(ask(net, z), ask(plain, z))
    net.train()
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(ask(net, z))
    assert torch.equal(draws[0], draws[1])
    assert not torch.allclose(draws[0], draws[2])
    assert torch.equal(ask(plain.train(), z), ask(plain.eval(), z))


@pytest.mark.parametrize("channels", [4, 8, 12, 30, 256])
def test_group_norm_is_another(channels: int) -> None:
    torch.manual_seed(0)
    norm, x = GroupNorm(channels, affine=True), 3 + 2 * torch.randn(2, channels, 4, 6)
    assert norm.groups <= 32
    assert channels // norm.groups >= 4
    for weight in (norm.scale, norm.shift):
        assert weight is not None
        nn.init.normal_(weight)
    reference = nn.functional.group_norm(x, norm.groups, norm.scale.flatten(), norm.shift.flatten(), 1e-6)
    torch.testing.assert_close(norm(x), reference)
    last = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(norm(last), reference)


def test_memory_format_changes_the_picture() -> None:
    net, z = unet(attention=4), torch.randn(3, 1, 8, 8)
    plain = ask(net, z)
    set_channels_last(net, True)
    assert all(part.channels_last for part in net.modules() if isinstance(part, Convolution))
    torch.testing.assert_close(ask(net, z), plain, atol=1e-5, rtol=1e-5)
