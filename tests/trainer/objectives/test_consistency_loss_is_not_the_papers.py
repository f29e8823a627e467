"""The losses as the papers write them, in EDM's coordinates, against ours: the gradient must be the same."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from trainer.objectives.consistency_distillation import ConsistencyDistillation
from trainer.objectives.consistency_training import ConsistencyTraining
from trainer.objectives.ect import EasyConsistencyTuning
from trainer.objectives.flow_matching import FlowMatching
from trainer.objectives.ict import ImprovedConsistencyTraining
from trainer.objectives.parts.consistency import Neighbours
from trainer.objectives.parts.coordinates import sigma_of
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.target import Condition, Networks, square_norm
from trainer.objectives.parts.weighting import pseudo_huber
from trainer.oracle import Gaussian

DATA = Gaussian([0.7, -0.2, 0.1], 0.4)
ROWS, MOMENT = 64, Moment(80, 100)


class Small(nn.Module):
    """u of the span `endpoint`, not linear in anything."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first = nn.Parameter(torch.randn(4, 8, generator=generator))
        self.last = nn.Parameter(torch.randn(8, 3, generator=generator))

    def forward(self, z: Tensor, t: Tensor, s: Tensor, label: Tensor) -> Tensor:
        return torch.tanh(torch.cat([z, t[:, None]], 1) @ self.first) @ self.last

    def data(self, x: Tensor, sigma: Tensor) -> Tensor:
        """f(x, sigma) of the papers; x itself at sigma = 0."""
        t = sigma / (1 + sigma)
        z = x / (1 + sigma)[:, None]
        return z - t[:, None] * self(z, t, t, t)


def teacher(z: Tensor, t: Tensor, label: Tensor) -> Tensor:
    return DATA.velocity(z, t) + 0.1 * torch.sin(z)


def solver(x: Tensor, sigma: Tensor, lower: Tensor) -> Tensor:
    """One Heun step of dx/dsigma = (x - D(x, sigma)) / sigma, and Euler's alone to the lowest level, 0."""

    def slope(x: Tensor, sigma: Tensor) -> Tensor:
        t = sigma / (1 + sigma)
        z = x / (1 + sigma)[:, None]
        return (x - (z - t[:, None] * teacher(z, t, t))) / sigma[:, None]

    step = (lower - sigma)[:, None]
    first = slope(x, sigma)
    end = x + step * first
    return torch.where((lower > 0)[:, None], x + step / 2 * (first + slope(end, lower.clamp(min=1e-9))), end)


def square(error: Tensor) -> Tensor:
    return square_norm(error) / 3


def huber(c: float) -> Callable[[Tensor], Tensor]:
    return lambda error: (square_norm(error) + c**2).sqrt() - c


CT = ConsistencyTraining()
ICT = ImprovedConsistencyTraining(huber=0.01)
ECT = EasyConsistencyTuning(huber=0.1, flow_matching_steps=20)
EDM = EasyConsistencyTuning(weight="edm", flow_matching_steps=0)
CASES = {
    "ct": (CT, square, lambda sigma, lower: torch.ones_like(sigma)),
    "ict": (ICT, huber(0.01 * math.sqrt(3)), lambda sigma, lower: 1 / (sigma - lower)),
    "ect": (ECT, huber(0.1 * math.sqrt(3)), lambda sigma, lower: 1 / (sigma - lower)),
    "ect-edm": (EDM, huber(0.0), lambda sigma, lower: (sigma**2 + 0.25) / (sigma * 0.5) ** 2),
}


def gradient(loss: Tensor, u: Small) -> Tensor:
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(u.parameters()), retain_graph=True)])


def ours(objective, u: Small, batch, draws, averaged: Small | None = None) -> Tensor:
    networks = Networks(u, u, 0, lagged=averaged, teacher=teacher)
    return gradient(objective(networks, batch, draws, MOMENT).losses().mean(), u)


def drawn(objective, pairs):
    return pairs(DATA, ROWS), objective.draw(ROWS, torch.Generator().manual_seed(1), MOMENT)


@pytest.mark.parametrize("name", CASES)
def test_training_has_another_gradient(name: str, pairs) -> None:
    objective, distance, weight = CASES[name]
    batch, draws = drawn(objective, pairs)
    u, averaged = Small(0), Small(1) if name == "ct" else None
    sigma, lower = sigma_of(draws.t), sigma_of(draws.m)
    found = u.data(batch.x0 + sigma[:, None] * batch.x1, sigma)
    with torch.no_grad():
        aim = (averaged or u).data(batch.x0 + lower[:, None] * batch.x1, lower)
    wanted = gradient((weight(sigma, lower) * distance(found - aim)).mean(), u)
    torch.testing.assert_close(ours(objective, u, batch, draws, averaged), wanted, rtol=1e-7, atol=1e-9)
    other = gradient(distance(found - aim).mean() if name != "ct" else huber(0.1)(found - aim).mean(), u)
    assert (other / other.norm() - wanted / wanted.norm()).norm() > 0.01  # control: the weight is no matter of scale


def test_distillation_has_another_gradient(pairs) -> None:
    objective = ConsistencyDistillation()
    batch, draws = drawn(objective, pairs)
    u, averaged = Small(0), Small(1)
    sigma, lower = sigma_of(draws.t), sigma_of(draws.m)
    x = batch.x0 + sigma[:, None] * batch.x1
    with torch.no_grad():
        aim = averaged.data(solver(x, sigma, lower), lower)
        straight = averaged.data(batch.x0 + lower[:, None] * batch.x1, lower)
    rest = (draws.m > 0).nonzero()[:, 0]  # at 0 our solver's corrector looks at the teacher, as EDM's cannot
    assert 0 < len(rest) < ROWS
    wanted = gradient(square(u.data(x, sigma) - aim)[rest].mean(), u)
    some = Neighbours(draws.t[rest], draws.s[rest], len(rest), m=draws.m[rest])
    few = batch._replace(x0=batch.x0[rest], x1=batch.x1[rest], condition=Condition(batch.condition.label[rest]))
    torch.testing.assert_close(ours(objective, u, few, some, averaged), wanted, rtol=1e-7, atol=1e-9)
    without = gradient(square(u.data(x, sigma) - straight)[rest].mean(), u)
    assert (without - wanted).norm() > 1e-3 * wanted.norm()  # control: the pair in the teacher's place


def test_large_constant_is_not_the_squared_error(pairs) -> None:
    """c -> infinity: sqrt(d^2 + c^2) - c is d^2 / (2 c)."""
    batch, draws = drawn(ICT, pairs)
    u, c = Small(0), 1e4
    wide = ICT.model_copy(update={"huber": c / math.sqrt(3)})
    sigma, lower = sigma_of(draws.t), sigma_of(draws.m)
    aim = u.data(batch.x0 + lower[:, None] * batch.x1, lower).detach()
    squares = square_norm(u.data(batch.x0 + sigma[:, None] * batch.x1, sigma) - aim)
    wanted = gradient((squares / (2 * c * (sigma - lower))).mean(), u)
    torch.testing.assert_close(ours(wide, u, batch, draws), wanted, rtol=1e-5, atol=1e-12)
    small = ours(ICT, u, batch, draws)
    assert (small / small.norm() - wanted / wanted.norm()).norm() > 0.02  # control


def test_pseudo_huber_is_of_each_element() -> None:
    """The norm is of the whole sample: the weight does not know how an error is shared among dimensions."""
    even, single = torch.ones(1, 4), torch.tensor([[2.0, 0.0, 0.0, 0.0]])
    assert pseudo_huber(even, 0.1) == pytest.approx(pseudo_huber(single, 0.1).item())
    assert pseudo_huber(even, 0.0).item() == pytest.approx(0.25)
    assert pseudo_huber(0 * even, 0.0).item() == 0


def test_first_phase_is_not_flow_matching(pairs) -> None:
    batch, early = pairs(DATA, ROWS), Moment(20, 100)
    draws = ECT.draw(ROWS, torch.Generator().manual_seed(1), early)
    assert torch.equal(draws.s, draws.t)
    u = Small(0)
    found = gradient(ECT(Networks(u, u, 0), batch, draws, early).losses().mean(), u)
    wanted = gradient(FlowMatching()(Networks(u, u, 0), batch, draws, early).losses().mean(), u)
    assert torch.equal(found, wanted)
    later = ECT.draw(ROWS, torch.Generator().manual_seed(1), Moment(21, 100))
    assert not later.s.any()
    assert torch.equal(later.t, draws.t)  # the same law
