"""Every way to take du/dt gives the same derivative, and the same gradient of the loss, within what it promises."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor

from models.build import DiTArchitecture, MLPArchitecture, UNetArchitecture, build
from models.flow_map import FlowMap
from trainer.objectives.meanflow import MeanFlow
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.tangent import (
    Derivative,
    central_difference,
    one_sided_difference,
    total_derivative,
    value_and_derivative,
)
from trainer.objectives.parts.target import Batch, Condition, Networks
from trainer.objectives.parts.times import TwoTimes

BACKENDS = get_args(Derivative.model_fields["backend"].annotation)
NETWORKS = {
    "mlp": (MLPArchitecture(width=16, depth=2), (3,)),
    "dit": (DiTArchitecture(patch=2, width=16, depth=2, heads=2, parametrisation="edm"), (1, 4, 4)),
    "unet": (UNetArchitecture(channels=8, multipliers=(1, 2), blocks=1, head_width=8), (3, 8, 8)),
}
ROWS = 12


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> tuple[FlowMap, Tensor, Tensor, Tensor, Condition, Tensor]:
    """A network whose weights are all random, in fp64, and points on and off the borders of t and s."""
    torch.manual_seed(0)
    architecture, shape = NETWORKS[request.param]
    flow_map = build(architecture, shape, labels=3, span="any").double()
    for weight in flow_map.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    z, velocity = torch.randn(2, ROWS, *shape).unbind()
    t = torch.linspace(0.05, 0.95, ROWS)
    s = t * torch.rand(ROWS) * 0.9
    t[0], s[1], s[2] = 1.0, t[1] - 1e-4, 0.0
    return flow_map, z, t.float().double(), s.float().double(), Condition(torch.randint(0, 4, (ROWS,))), velocity


def single(network) -> tuple:
    flow_map, z, t, s, condition, velocity = network
    return flow_map.float(), z.float(), t.float(), s.float(), condition, velocity.float()


def relative(found: Tensor, exact: Tensor) -> float:
    return float((found - exact).norm() / exact.norm())


def differences(flow_map, z, t, s, condition, velocity) -> dict[str, Tensor]:
    with torch.no_grad():
        here = flow_map(z, t, s, *condition)
    return {
        "difference": central_difference(flow_map, z, t, s, condition, velocity),
        "one-sided": one_sided_difference(flow_map, z, t, s, condition, velocity, here),
    }


@pytest.mark.parametrize("backend", ["difference", "one-sided"])
def test_difference_in_single_precision_is_off(network, backend: str) -> None:
    exact = total_derivative(*network)
    found = differences(*single(network))[backend]
    assert found.dtype == torch.float32
    assert relative(found, exact) < 1e-2


def test_difference_in_double_precision_is_off(network) -> None:
    """The step follows the precision: the same formula leaves 1e-8 in fp64."""
    exact = total_derivative(*network)
    inside = slice(3, None)  # one-sided rows are of first order
    assert relative(central_difference(*network)[inside], exact[inside]) < 1e-8


@pytest.mark.parametrize("mistake", ["no time term", "another velocity", "sign", "s moves too"])
def test_mistake_is_within_the_tolerance(network, mistake: str) -> None:
    """Negative control of both tests."""
    exact = total_derivative(*network)
    flow_map, z, t, s, condition, velocity = network
    moved = {
        "no time term": lambda z, now, s, label: flow_map(z, t, s, label),
        "s moves too": lambda z, now, s, label: flow_map(z, now, s + now - t, label),
    }.get(mistake, flow_map)
    if mistake == "another velocity":
        velocity = velocity.roll(1, 0)
    found = central_difference(moved, z, t, s, condition, velocity)
    assert relative(-found if mistake == "sign" else found, exact) > 0.02


def test_evaluation_leaves_the_span(network) -> None:
    """No time above 1 and none below s is ever asked, and no room at all divides nothing by zero."""
    flow_map, z, t, s, condition, velocity = single(network)
    one = torch.ones(1, dtype=torch.float32)
    t, s = torch.cat([t, one]), torch.cat([s, one])
    z, velocity = torch.cat([z, z[:1]]), torch.cat([velocity, velocity[:1]])
    condition = Condition(torch.zeros(ROWS + 1, dtype=torch.long))

    def watched(z, now, s, label):
        assert bool((now <= 1).all())
        assert bool((now >= s).all())
        return flow_map(z, now, s, label)

    for found in differences(watched, z, t, s, condition, velocity).values():
        assert found.isfinite().all()
        assert not found[-1].any()


def test_rules_change_the_value_or_its_gradient(network) -> None:
    """The joint pass is the plain forward pass with the plain gradient, and its derivative has none."""
    flow_map, z, t, s, condition, velocity = network
    plain = flow_map(z, t, s, *condition)
    wanted = torch.autograd.grad(plain.square().sum(), list(flow_map.parameters()))
    value, derivative = value_and_derivative(flow_map, z, t, s, condition, velocity)
    found = torch.autograd.grad(value.square().sum(), list(flow_map.parameters()))
    torch.testing.assert_close(value, plain)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(derivative, torch.func.jvp(
        lambda z, t: _math(flow_map, z, t, s, condition), (z, t), (velocity, torch.ones_like(t)))[1]
    )  # fmt: skip
    assert not derivative.requires_grad


def _math(flow_map, z, t, s, condition) -> Tensor:
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        return flow_map(z, t, s, *condition)


def gradients(flow_map: FlowMap, shape: tuple[int, ...], backend: str, **settings) -> list[Tensor]:
    torch.manual_seed(3)
    batch = Batch(
        torch.randn(ROWS, *shape),
        torch.randn(ROWS, *shape),
        Condition(torch.randint(0, 4, (ROWS,))),
        torch.zeros(ROWS, dtype=torch.bool),
    )
    objective = MeanFlow(times=TwoTimes(jumps=0.5), derivative={"backend": backend}, **settings)
    draws = objective.draw(ROWS, torch.Generator().manual_seed(1), Moment(1, 1))
    networks = Networks(flow_map, flow_map, 3)
    loss = objective(networks, batch, draws, Moment(1, 1)).losses().mean()
    return list(torch.autograd.grad(loss, list(flow_map.parameters())))


@pytest.mark.parametrize("guided", [False, True], ids=["plain", "guided"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_backend_changes_the_gradient(network, backend: str, guided: bool) -> None:
    flow_map, z = network[:2]
    settings = {"guidance": {"kappa": 0.4}} if guided else {}
    exact = torch.cat([g.flatten() for g in gradients(flow_map, z.shape[1:], "forward", **settings)])
    found = torch.cat([g.flatten() for g in gradients(flow_map, z.shape[1:], backend, **settings)])
    assert relative(found, exact) < (1e-12 if backend in ("joint", "forward") else 1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_derivative_is_taken_in_half_precision(network, backend: str) -> None:
    flow_map, z, t, s, condition, velocity = single(network)
    networks, take = Networks(flow_map, flow_map, 3), Derivative(backend=backend)
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(RuntimeError, match="autocast"):
        take(networks, z, t, s, condition, velocity)
    with pytest.raises(RuntimeError, match="float32 or float64"):
        take(networks, z.bfloat16(), t, s, condition, velocity)


def test_products_are_not_exact(network) -> None:
    """TF32 may be on for the rest of the step; a derivative switches it off and back on."""
    flow_map, z, t, s, condition, velocity = network
    seen = []

    def watched(*arguments):
        seen.append((torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32))
        return flow_map(*arguments)

    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        total_derivative(watched, z, t, s, condition, velocity)
        differences(watched, z, t, s, condition, velocity)
        assert seen.pop(1) == (True, True)  # the value that the test itself takes
        assert set(seen) == {(False, False)}
        assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (True, True)
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
