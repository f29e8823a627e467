"""The Jacobian-vector product must be the derivative along the flow, for every network: no error would tell."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from models.build import DiTArchitecture, MLPArchitecture, UNetArchitecture, build
from trainer.objectives.parts.tangent import total_derivative
from trainer.objectives.parts.target import Condition

NETWORKS = {
    "mlp": (MLPArchitecture(width=16, depth=2), (3,)),
    "mlp-edm": (MLPArchitecture(width=16, depth=2, parametrisation="edm"), (3,)),
    "dit": (DiTArchitecture(patch=2, width=16, depth=2, heads=2), (1, 4, 4)),
    "dit-edm": (DiTArchitecture(patch=2, width=16, depth=2, heads=2, parametrisation="edm"), (1, 4, 4)),
    "unet": (UNetArchitecture(channels=8, multipliers=(1, 2), blocks=1, attention=2), (1, 4, 4)),
}
ROWS = 5


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> tuple[Callable, Tensor, Tensor, Tensor, Condition, Tensor]:
    """A network whose weights are all random (fresh ones are zero at the end), and a point to ask it at."""
    torch.manual_seed(0)
    architecture, shape = NETWORKS[request.param]
    flow_map = build(architecture, shape, labels=3, span="any").double()
    for parameter in flow_map.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    z, velocity = torch.randn(2, ROWS, *shape).unbind()
    t = torch.tensor([0.95, 0.8, 0.6, 0.5, 0.3])
    return flow_map, z, t, t * torch.rand(ROWS), Condition(torch.tensor([0, 1, 2, 3, 1])), velocity


def central_difference(u, z, t, s, condition, velocity, step=1e-4, along_t=1.0, along_s=0.0) -> Tensor:
    """Fourth order in the step, so that fp64 leaves about ten digits."""

    def at(x: float) -> Tensor:
        return u(z + x * velocity, t + x * along_t, s + x * along_s, *condition)

    with torch.no_grad():
        return (8 * (at(step) - at(-step)) - (at(2 * step) - at(-2 * step))) / (12 * step)


def relative(error: Tensor, exact: Tensor) -> float:
    return float(error.norm() / exact.norm())


def test_total_derivative_is_the_difference_quotient(network) -> None:
    exact, difference = total_derivative(*network), central_difference(*network)
    assert relative(exact - difference, exact) < 1e-6
    assert not exact.requires_grad


def test_broken_derivatives_differ(network) -> None:
    """Negative control: each mistake is orders of magnitude above the tolerance."""
    exact = total_derivative(*network)
    *point, velocity = network
    broken = {
        "time term dropped": central_difference(*network, along_t=0.0),
        "t and s swapped in the tangent": central_difference(*network, along_t=0.0, along_s=1.0),
        "s moved too": central_difference(*network, along_s=1.0),
        "another velocity": central_difference(*point, torch.roll(velocity, 1, 0)),
        "sign": -exact,
    }
    for name, wrong in broken.items():
        assert relative(exact - wrong, exact) > 1e-3, name


def test_single_precision_agrees(network) -> None:
    flow_map, z, t, s, condition, velocity = network
    exact = total_derivative(*network)
    single = total_derivative(flow_map.float(), z.float(), t.float(), s.float(), condition, velocity.float())
    assert single.dtype == torch.float32
    assert relative(exact - single, exact) < 1e-4


def test_derivative_leaves_weights_without_gradient(network) -> None:
    flow_map = network[0]
    total_derivative(*network)
    assert all(parameter.grad is None for parameter in flow_map.parameters())


def test_autocast_is_refused(network) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(RuntimeError, match="autocast"):
        total_derivative(*network)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused(network, dtype) -> None:
    flow_map, z, t, s, condition, velocity = network
    with pytest.raises(RuntimeError, match="float32 or float64"):
        total_derivative(flow_map, z.to(dtype), t, s, condition, velocity.to(dtype))
