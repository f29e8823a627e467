"""The derivative in s, of the Lagrangian identity: by every backend, at the borders, and with shared masks."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor

from models.build import DiTArchitecture, MLPArchitecture, UNetArchitecture, build
from models.flow_map import FlowMap
from trainer.objectives.parts.tangent import Derivative
from trainer.objectives.parts.target import Condition, Networks
from trainer.oracle import Gaussian

BACKENDS = get_args(Derivative.model_fields["backend"].annotation)
NETWORKS = {
    "mlp": (MLPArchitecture(width=16, depth=2, parametrisation="edm"), (3,)),
    "dit": (DiTArchitecture(patch=2, width=16, depth=2, heads=2), (1, 4, 4)),
    "dropout": (UNetArchitecture(channels=8, multipliers=(1, 2), blocks=1, head_width=8, dropout=0.3), (1, 4, 4)),
}
ROWS = 6


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> tuple[FlowMap, Tensor, Tensor, Tensor, Condition]:
    """Random weights, in training, and points on and off the borders of s."""
    torch.manual_seed(0)
    architecture, shape = NETWORKS[request.param]
    flow_map = build(architecture, shape, labels=3, span="any").double()
    for weight in flow_map.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    t = torch.tensor([1.0, 0.9, 0.7, 0.5, 0.3, 0.2])
    s = torch.tensor([0.0, 0.9 - 1e-4, 1e-5, 0.2, 0.1, 0.1])
    return flow_map, torch.randn(ROWS, *shape), t, s, Condition(torch.randint(0, 4, (ROWS,)))


def quotient(flow_map: FlowMap, z: Tensor, t: Tensor, s: Tensor, condition: Condition, along_t: float = 0.0) -> Tensor:
    """Fourth order, by the masks of seed 5."""

    def at(x: float) -> Tensor:
        torch.manual_seed(5)
        return flow_map(z, t + x * along_t, s + x, *condition)

    with torch.no_grad():
        step = 1e-4
        return (8 * (at(step) - at(-step)) - (at(2 * step) - at(-2 * step))) / (12 * step)


def relative(error: Tensor, exact: Tensor) -> float:
    return float(error.norm() / exact.norm())


@pytest.mark.parametrize("backend", BACKENDS)
def test_backend_disagrees(network, backend: str) -> None:
    flow_map, z, t, s, condition = network
    dropout = any(isinstance(part, torch.nn.Dropout) and part.p > 0 for part in flow_map.modules())
    torch.manual_seed(5)
    value, derivative = Derivative(backend=backend)(Networks(flow_map, flow_map, 3, dropout), z, t, s, condition, None)
    torch.manual_seed(5)
    torch.testing.assert_close(value, flow_map(z, t, s, *condition))
    exact = quotient(flow_map, z, t, s, condition)
    assert relative(derivative - exact, exact) < (1e-6 if backend in ("joint", "forward") else 1e-3)
    assert value.requires_grad
    assert not derivative.requires_grad
    # Controls: the other sign, and the start moved along with the end.
    assert relative(derivative + exact, exact) > 1
    assert relative(derivative - quotient(flow_map, z, t, s, condition, along_t=1.0), exact) > 0.05


def test_lagrangian_identity() -> None:
    """u = v(z_s, s) + (t - s) du/ds of a closed form."""
    data = Gaussian(0.7, 0.4)

    def u(z: Tensor, t: Tensor, s: Tensor, label: Tensor) -> Tensor:
        return data.average_velocity(z, t, s)

    z, t, s = torch.randn(50, 1), torch.rand(50) * 0.5 + 0.5, torch.rand(50) * 0.5
    value, derivative = Derivative()(Networks(u, u, 0), z, t, s, Condition(torch.zeros(50, dtype=torch.long)), None)
    landed = data.velocity(z - (t - s)[:, None] * value, s)
    torch.testing.assert_close(value, landed + (t - s)[:, None] * derivative)
