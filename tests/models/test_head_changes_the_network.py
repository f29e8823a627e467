"""A head reads a network's features beside its own last layers, and changes nothing of the network itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.build import DiTArchitecture, MLPArchitecture, UNetArchitecture, build
from models.flow_map import FlowMap
from models.network import Head

CASES = {
    "mlp": (MLPArchitecture(width=16, depth=2), (2,)),
    "mlp-edm": (MLPArchitecture(width=16, depth=2, parametrisation="edm"), (2,)),
    "dit": (DiTArchitecture(patch=2, width=16, depth=1, heads=2), (3, 4, 4)),
    "unet-edm": (
        UNetArchitecture(channels=8, multipliers=(1, 2), blocks=1, attention=4, parametrisation="edm"),
        (3, 8, 8),
    ),
}


@pytest.fixture(params=CASES)
def setting(request: pytest.FixtureRequest) -> tuple[FlowMap, Head, tuple[Tensor, ...]]:
    """A network and its head with random weights, and where to ask them."""
    torch.manual_seed(0)
    architecture, shape = CASES[request.param]
    flow_map = build(architecture, shape, labels=2, span="any", guidance=True).double()
    head = flow_map.head().double()
    for weight in (*flow_map.parameters(), *head.parameters()):
        torch.nn.init.normal_(weight, std=0.2)
    t = torch.rand(5, dtype=torch.float64)
    z = torch.randn(5, *shape, dtype=torch.float64)
    return flow_map, head, (z, t, t / 3, torch.tensor([0, 1, 2, 0, 1]), 1 + t)


def test_average_velocity_is_another_beside_a_head(setting) -> None:
    flow_map, head, point = setting
    average, velocity = flow_map.both(head, *point)
    assert torch.equal(average, flow_map(*point))
    assert velocity.shape == average.shape
    assert not torch.allclose(velocity, average)


def test_head_is_read_in_another_parametrisation(setting) -> None:
    """A head of the network's own last layers gives what the network gives at s = t, where both read the same."""
    flow_map, _, (z, t, _, *told) = setting
    own = flow_map.head()
    average, velocity = flow_map.both(own, z, t, t, *told)
    assert torch.equal(average, velocity)
    # At s < t it is a velocity still: with layers of zeros it is the exact one of a Gaussian, or zero.
    for weight in own.parameters():
        weight.data.zero_()
    _, velocity = flow_map.both(own, z, t, t / 2, *told)
    _, at_once = flow_map.both(own, z, t, t, *told)
    assert torch.equal(velocity, at_once)


def test_head_shares_weights(setting) -> None:
    """It is a copy: to train it moves the features, and none of the network's own last layers."""
    flow_map, head, point = setting
    names = set(flow_map.state_dict())
    flow_map.both(head, *point)[1].square().sum().backward()
    assert set(flow_map.state_dict()) == names
    assert all(weight.grad is not None and weight.grad.any() for weight in head.parameters())
    moved = {name.split(".")[1] for name, weight in flow_map.named_parameters() if weight.grad is not None}
    last = set(flow_map.net.LAST)  # type: ignore[arg-type]
    assert not moved & last
    assert moved == {name.split(".")[1] for name, _ in flow_map.named_parameters()} - last


def test_fresh_head_moves_something() -> None:
    """Zero at initialisation, as the network is."""
    for architecture, shape in CASES.values():
        flow_map = build(architecture, shape, labels=2, span="any")
        z, t = torch.randn(3, *shape), torch.rand(3)
        average, velocity = flow_map.both(flow_map.head(), z, t, t, torch.tensor([0, 1, 2]))
        assert torch.equal(average, velocity)
        assert (architecture.parametrisation == "edm") or not velocity.any()
