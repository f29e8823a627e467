"""What is printed at the start of a training: parameters and arithmetic counted by hand, and nothing left changed."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.build import AnyArchitecture, DiTArchitecture, MLPArchitecture, UNetArchitecture, build
from models.cost import BUDGET, Cost, cost, flops, parameters, seconds

FEATURES = 64
"""Fourier features of a time."""


def conditioning(width: int, times: int = 2) -> int:
    """Multiply-accumulates of the embeddings of t and t - s; the label is looked up."""
    return times * (FEATURES * width + width * width)


def dit(guidance: bool = False) -> int:
    """Of a DiT of width 16, one block, patch 2, on (3, 8, 8): 16 places of 12 numbers."""
    width, places, patch = 16, 16, 12
    attention = places * width * (3 * width + width) + 2 * places * places * width
    block = attention + places * 2 * width * 4 * width + width * 6 * width
    ends = 2 * places * patch * width + width * 2 * width + width * 3
    return conditioning(width, 3 if guidance else 2) + block + ends


def unet() -> int:
    """Of a U-Net of one level, 8 channels, one block, without attention, on (1, 4, 4): 16 places."""
    channels, places, width = 8, 16, 32
    kernel = places * 9 * channels
    down = 2 * kernel * channels + width * 2 * channels
    up = kernel * 2 * channels + kernel * channels + places * 2 * channels * channels + width * 2 * channels
    ends = 2 * kernel + width * 2 * channels + width
    return conditioning(width) + 3 * down + 2 * up + ends


CASES: dict[str, tuple[AnyArchitecture, tuple[int, ...], int]] = {
    "dit": (DiTArchitecture(patch=2, width=16, depth=1, heads=2), (3, 8, 8), dit()),
    "unet": (UNetArchitecture(channels=8, blocks=1, attention=0), (1, 4, 4), unet()),
    "mlp": (MLPArchitecture(width=16, depth=2), (3,), conditioning(16) + 2 * 3 * 16 + 2 * (16 * 16 + 16 * 32)),
}


@pytest.mark.parametrize("name", CASES)
def test_hand_counts_otherwise(name: str) -> None:
    architecture, shape, accumulates = CASES[name]
    assert flops(build(architecture, shape, 2, "any"), shape) == 2 * accumulates


def test_larger_network_costs_the_same() -> None:
    """Negative control: another block, level or place changes the count."""
    counts = [
        flops(build(architecture, shape, 2, "any"), shape)
        for architecture, shape in (
            (DiTArchitecture(patch=2, width=16, depth=1, heads=2), (3, 8, 8)),
            (DiTArchitecture(patch=2, width=16, depth=2, heads=2), (3, 8, 8)),
            (DiTArchitecture(patch=2, width=16, depth=1, heads=2), (3, 8, 10)),
            (UNetArchitecture(channels=8, blocks=1, attention=0), (1, 4, 4)),
            (UNetArchitecture(channels=8, blocks=1, attention=4, head_width=4), (1, 4, 4)),
            (UNetArchitecture(channels=8, blocks=1, attention=0, multipliers=(1, 1)), (1, 4, 4)),
        )
    ]
    assert len(set(counts)) == len(counts)


def test_guidance_input_is_not_counted() -> None:
    net = build(CASES["dit"][0], (3, 8, 8), 2, "any", guidance=True)
    assert flops(net, (3, 8, 8)) == 2 * dit(guidance=True)


def test_frozen_weights_are_trained() -> None:
    net = nn.Linear(3, 4)
    assert parameters(net) == 16
    net.bias.requires_grad_(False)
    assert parameters(net) == 12


class Slow(nn.Module):
    """Takes its time, on a clock of its own."""

    def __init__(self, each: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.each, self.now, self.calls = each, 0.0, 0
        self.threads: set[int] = set()

    def forward(self, z: Tensor, *_: Any) -> Tensor:
        self.calls += 1
        self.threads.add(torch.get_num_threads())
        assert not self.training
        assert not torch.is_grad_enabled()
        self.now += self.each * (3 if self.calls == 1 else 1)  # the first one warms up
        return z


@pytest.mark.parametrize(("each", "calls", "expected"), [(0.001, 101, 0.001), (0.1, 6, 0.1), (9.0, 1, 27.0)])
def test_measuring_takes_for_ever(each: float, calls: int, expected: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second, a hundred times at most, or once where once is longer than that; the warm-up is left out."""
    net = Slow(each)
    monkeypatch.setattr("models.cost.time", SimpleNamespace(perf_counter=lambda: net.now))
    assert seconds(net, (2,), 1) == pytest.approx(expected)
    assert abs(net.calls - calls) <= 1
    assert BUDGET < 1


def test_measuring_leaves_something_changed() -> None:
    net = Slow(0.1).train()
    net.part = nn.Dropout().eval()
    before = torch.get_num_threads()
    flops(net, (2,))
    with pytest.raises(ValueError, match="stop"):
        seconds(nn.ModuleList([Stopped(), net])[0], (2,), before + 1)
    assert torch.get_num_threads() == before
    assert net.training
    assert not net.part.training


class Stopped(Slow):
    """Fails in the middle."""

    def __init__(self) -> None:
        super().__init__(0.1)

    def forward(self, z: Tensor, *_: Any) -> Tensor:
        raise ValueError("stop")


def test_measured_with_other_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Slow(0.1)
    monkeypatch.setattr("models.cost.time", SimpleNamespace(perf_counter=lambda: net.now))
    wanted = torch.get_num_threads() + 1
    seconds(net, (2,), wanted)
    assert net.threads == {wanted}


def test_line_for_people_is_wrong() -> None:
    assert str(Cost("dit", 4_912_345, 530_000_000, 0.00412, 1)) == (
        "dit: 4.91 M parameters, 530 MFLOP an evaluation, T(1) 4.12 ms on this CPU (1 thread)"
    )
    assert str(Cost("mlp", 12, 1_200_000_000, 2.0, 2)) == (
        "mlp: 12 parameters, 1.2 GFLOP an evaluation, T(1) 2e+03 ms on this CPU (2 threads)"
    )


def test_real_network_has_no_cost() -> None:
    architecture, shape, accumulates = CASES["unet"]
    found = cost("unet", build(architecture, shape, 2, "any"), shape, 1)
    assert (found.network, found.flops, found.threads) == ("unet", 2 * accumulates, 1)
    assert found.seconds > 0
    assert re.fullmatch(r"unet: [\d.]+ k parameters, [\d.]+ kFLOP an evaluation, T\(1\) .* \(1 thread\)", str(found))
