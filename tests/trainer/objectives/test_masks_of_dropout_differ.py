"""A prediction and its derivative see the same dropout masks, by every backend: other masks are another network."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor

from models.build import UNetArchitecture, build
from models.flow_map import FlowMap
from trainer.objectives.meanflow import MeanFlow
from trainer.objectives.parts.guidance import Guidance
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.tangent import Derivative, total_derivative
from trainer.objectives.parts.target import Batch, Condition, Networks, Target
from trainer.objectives.parts.times import TwoTimes
from trainer.step import Loss

BACKENDS = get_args(Derivative.model_fields["backend"].annotation)
ROWS = 4


@pytest.fixture
def point() -> tuple[FlowMap, Tensor, Tensor, Tensor, Condition, Tensor]:
    """A U-Net with much dropout, in training, in fp64."""
    torch.manual_seed(0)
    architecture = UNetArchitecture(channels=8, multipliers=(1, 2), blocks=1, head_width=8, dropout=0.3)
    flow_map = build(architecture, (1, 4, 4), labels=2, span="any").double()
    for weight in flow_map.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    z, velocity = torch.randn(2, ROWS, 1, 4, 4).unbind()
    t = torch.tensor([0.9, 0.7, 0.5, 0.3])
    return flow_map, z, t, t / 2, Condition(torch.zeros(ROWS, dtype=torch.long)), velocity


def both(point, backend: str, dropout: bool) -> tuple[float, float, Tensor]:
    """Errors of value and derivative against those of the masks that the state of seed 5 gives, and the next draw."""
    flow_map, z, t, s, condition, velocity = point
    networks = Networks(flow_map, flow_map, 2, dropout)
    torch.manual_seed(5)
    value, derivative = Derivative(backend=backend)(networks, z, t, s, condition, velocity)
    after = torch.rand(1)
    torch.manual_seed(5)
    wanted = flow_map(z, t, s, *condition)
    torch.manual_seed(5)
    exact = total_derivative(flow_map, z, t, s, condition, velocity)
    return (value - wanted).abs().max().item(), float((derivative - exact).norm() / exact.norm()), after


@pytest.mark.parametrize("backend", BACKENDS)
def test_masks_differ(point, backend: str) -> None:
    value, derivative, after = both(point, backend, dropout=True)
    assert value < 1e-12
    assert derivative < 1e-4
    first = torch.rand(1, generator=torch.Generator().manual_seed(5))
    assert not torch.equal(after, first)  # what is drawn next is drawn anew


@pytest.mark.parametrize("backend", [backend for backend in BACKENDS if backend != "joint"])
def test_unshared_masks_pass(point, backend: str) -> None:
    """Negative control: told that there is no dropout, every backend but the joint pass draws anew."""
    _, derivative, _ = both(point, backend, dropout=False)
    assert derivative > 0.05


@pytest.mark.parametrize("dropout", [0.3, 0.0])
@pytest.mark.parametrize("jumps", [0.0, 0.5])
def test_guidance_is_mixed_from_masked_velocities(point, monkeypatch, jumps: float, dropout: float) -> None:
    """The velocities of the mix are those of the whole network (MeanFlow's code evaluates them without dropout)."""
    flow_map, z, _, _, condition, velocity = point
    for part in flow_map.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = dropout
    objective = MeanFlow(guidance=Guidance(omega=1.0, kappa=0.5), times=TwoTimes(jumps=jumps))
    batch = Batch(z - velocity, z, condition, torch.zeros(ROWS, dtype=torch.bool))
    draws = objective.draw(ROWS, torch.Generator().manual_seed(0), Moment(1, 1))
    seen: list[Target] = []
    answer = MeanFlow.__call__
    monkeypatch.setattr(MeanFlow, "__call__", lambda *given: seen.append(answer(*given)) or seen[-1])
    Loss(flow_map, objective, 2)(batch, draws, Moment(1, 1))
    assert flow_map.training

    def mixed() -> Tensor:
        at, t = batch.at(draws.t), draws.t
        null = torch.full_like(condition.label, 2)
        with torch.no_grad():
            asked = [flow_map(at, t, t, label) for label in (condition.label, null)]
        tail = slice(draws.jumps, None)
        return objective.guidance.velocity(batch, t, *asked)[tail] - seen[0].target[tail]

    flow_map.eval()
    assert mixed().abs().max() < 1e-12
    flow_map.train()
    assert (mixed().abs().max() > 0.01) == (dropout > 0)  # control: with masks the mix is another
