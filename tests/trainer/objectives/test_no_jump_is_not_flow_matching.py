"""With s = t everywhere, MeanFlow must have the gradient of flow matching, bit for bit."""

import pytest
import torch

from models.build import DiTArchitecture, MLPArchitecture, build
from trainer.objectives.flow_matching import FlowMatching
from trainer.objectives.meanflow import MeanFlow
from trainer.objectives.parts import tangent
from trainer.objectives.parts.target import Batch, Condition
from trainer.objectives.parts.times import LogitNormal, TwoTimes

SHAPES = {
    "points": (MLPArchitecture(width=16, depth=1), (2,)),
    "images": (DiTArchitecture(width=16, depth=1, heads=2), (1, 4, 4)),
}
ROWS = 16


@pytest.fixture(params=SHAPES)
def setting(request: pytest.FixtureRequest):
    architecture, shape = SHAPES[request.param]
    torch.manual_seed(0)
    flow_map = build(architecture, shape, labels=2, span="any").double()
    for parameter in flow_map.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    label = torch.randint(0, 3, (ROWS,))
    return flow_map, Batch(torch.randn(ROWS, *shape), torch.randn(ROWS, *shape), Condition(label), label == 2)


def gradients(objective, flow_map, batch, ask):
    flow_map.zero_grad()
    ask(objective, flow_map, batch, null_label=2).losses().mean().backward()
    return [parameter.grad.clone() for parameter in flow_map.parameters() if parameter.grad is not None]


def test_gradients_are_equal(setting, ask) -> None:
    """Flow matching averages over dimensions, MeanFlow sums: a power of two here, so even that is exact."""
    flow_map, batch = setting
    law = LogitNormal(mean=-0.4)
    dimensions = batch.x0[0].numel()
    flow = gradients(FlowMatching(t=law), flow_map, batch, ask)
    mean = gradients(MeanFlow(times=TwoTimes(t=law, order="min", jumps=0.0), adaptive_power=0.0), flow_map, batch, ask)
    assert len(flow) == len(mean) > 0
    for one, other in zip(flow, mean):
        assert torch.equal(dimensions * one, other)


def test_gradients_differ_with_jumps(setting, ask) -> None:
    """Negative control: half of the rows with s < t change the gradient."""
    flow_map, batch = setting
    law = LogitNormal(mean=-0.4)
    none, half = (
        gradients(
            MeanFlow(times=TwoTimes(t=law, order="min", jumps=jumps), adaptive_power=0.0),
            flow_map,
            batch,
            ask,
        )
        for jumps in (0.0, 0.5)
    )
    assert any(not torch.allclose(one, other, rtol=1e-3) for one, other in zip(none, half))


def test_a_batch_without_jumps_takes_no_derivative(setting, ask, monkeypatch) -> None:
    """And the terms of the log then hold no jump: nothing is averaged over no rows."""

    def never(*args):
        raise AssertionError("a derivative was taken")

    monkeypatch.setattr(tangent, "value_and_derivative", never)
    flow_map, batch = setting
    answer = ask(MeanFlow(times=TwoTimes(jumps=0.0)), flow_map, batch, null_label=2)
    assert set(answer.terms) == {"loss/velocity"}
    assert all(torch.isfinite(term).all() for term in answer.terms.values())


def test_a_batch_of_jumps_logs_no_velocity(setting, ask) -> None:
    flow_map, batch = setting
    answer = ask(MeanFlow(times=TwoTimes(jumps=1.0)), flow_map, batch, null_label=2)
    assert set(answer.terms) == {"derivative", "loss/jump"}
    assert all(torch.isfinite(term).all() for term in answer.terms.values())
