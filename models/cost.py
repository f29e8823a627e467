"""What a network costs: parameters, arithmetic and time of one evaluation."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from models.conditioning import Conditioning

BUDGET = 0.5
"""Seconds that `seconds` spends on repetitions, after a first evaluation that warms up."""


@dataclass(frozen=True)
class Cost:
    """What one evaluation of one sample costs.

    Args:
        network: its name, such as dit.
        parameters: numbers that training moves.
        flops: of matrix products and convolutions; a multiply-accumulate is 2. The rest (norms, activations) is left
            out, as is usual.
        seconds: T(1), in eager torch on this machine's CPU.
        threads: that the time was taken with.
    """

    network: str
    parameters: int
    flops: int
    seconds: float
    threads: int

    def __str__(self) -> str:
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        numbers = " ".join(_scaled(self.parameters, "B")).strip()
        operations = "{} {}FLOP".format(*_scaled(self.flops, "G"))
        time = f"T(1) {1000 * self.seconds:.3g} ms on this CPU ({threads})"
        return f"{self.network}: {numbers} parameters, {operations} an evaluation, {time}"


def cost(network: str, module: nn.Module, shape: tuple[int, ...], threads: int) -> Cost:
    """All of it, in about a second; arguments as in `seconds`."""
    return Cost(network, parameters(module), flops(module, shape), seconds(module, shape, threads), threads)


def parameters(module: nn.Module) -> int:
    """How many numbers training moves."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def flops(module: nn.Module, shape: tuple[int, ...]) -> int:
    """Floating-point operations of one evaluation of one sample; a multiply-accumulate is 2.

    Args:
        module: a flow map, or a network that is called like one.
        shape: z's shape, (C, H, W) or (D,).
    """
    # The counter knows attention by its matrix products only, and not the CPU's fused one.
    with _evaluating(module), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module(*_one_row(module, shape))
    return int(counter.get_total_flops())


def seconds(module: nn.Module, shape: tuple[int, ...], threads: int) -> float:
    """T(1): the median time of one evaluation of one sample in eager torch on the CPU.

    It repeats for about half a second after an evaluation to warm up, whose time counts where it is longer than that.

    Args:
        module: a flow map, or a network that is called like one. One on another device is copied to the CPU.
        shape: z's shape, (C, H, W) or (D,).
        threads: of torch's arithmetic.
    """
    if any(parameter.device.type != "cpu" for parameter in module.parameters()):
        module = copy.deepcopy(module).cpu()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with _evaluating(module):
            row = _one_row(module, shape)
            times = [_timed(module, row)]
            if times[0] < BUDGET:
                times.clear()
                while sum(times) < BUDGET and len(times) < 100:
                    times.append(_timed(module, row))
    finally:
        torch.set_num_threads(before)
    return statistics.median(times)


def _timed(module: nn.Module, row: tuple[Tensor | None, ...]) -> float:
    start = time.perf_counter()
    module(*row)
    return time.perf_counter() - start


def _one_row(module: nn.Module, shape: tuple[int, ...]) -> tuple[Tensor | None, ...]:
    """(z, t, s, label, guidance) of one sample: the first class, from noise to data."""
    like = next(module.parameters())
    z = torch.zeros(1, *shape, dtype=like.dtype, device=like.device)
    t = z.new_ones(1)
    guided = any(isinstance(part, Conditioning) and part.guidance is not None for part in module.modules())
    label = torch.zeros(1, dtype=torch.long, device=like.device)
    return z, t, torch.zeros_like(t), label, t if guided else None


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """In evaluation mode and without gradient; afterwards every part is in the mode in which it was."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, mode in modes:
            part.training = mode


def _scaled(count: int, billion: str) -> tuple[str, str]:
    """A count for people: three digits, and the letter of the factor, which may be empty."""
    for factor, letter in ((10**9, billion), (10**6, "M"), (10**3, "k")):
        if count >= factor:
            return f"{count / factor:.3g}", letter
    return str(count), ""
