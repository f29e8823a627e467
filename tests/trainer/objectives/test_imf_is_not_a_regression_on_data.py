"""Improved MeanFlow must be a regression of the velocity on data: V = v at the truth, no loss below flow matching's.

With x1 - x0 for the predicted velocity it must have MeanFlow's gradient.
"""

import pytest
import torch

from models.build import DiTArchitecture, MLPArchitecture, build
from trainer.objectives.imf import ImprovedMeanFlow
from trainer.objectives.meanflow import MeanFlow
from trainer.objectives.parts.tangent import Derivative
from trainer.objectives.parts.target import Batch, Condition
from trainer.objectives.parts.times import TwoTimes, Uniform
from trainer.oracle import Gaussian
from trainer.oracle.expected_loss import flow_matching_loss, meanflow_loss

ROWS = 5000
DATA = Gaussian(0.7, 0.4)


@pytest.mark.parametrize(("t", "s"), [(0.85, 0.2), (0.6, 0.1), (0.95, 0.9)])
def test_prediction_is_the_velocity_at_the_truth(truth, t, s, plug_in, pairs, fixed_times, ask) -> None:
    """Of every row, without any noise: V is a function of z. The mixture's truth is integrated to 1e-4."""
    batch = pairs(truth, 200)
    answer = ask(ImprovedMeanFlow(times=fixed_times(t, s, jumps=0.9)), plug_in(truth), batch)
    times = torch.full((200,), t)
    error = answer.prediction - truth.velocity(batch.at(times), times)
    assert error.abs().max() < (1e-8 if isinstance(truth, Gaussian) else 5e-3)
    assert torch.equal(answer.target, batch.velocity)


@pytest.mark.parametrize("mistake", ["no time term", "t and s swapped", "sign", "no derivative"])
def test_broken_derivative_shows(mistake, plug_in, pairs, fixed_times, ask, spoil_derivative) -> None:
    """Negative control: with each classical mistake the same prediction is far off."""

    def broken(exact, u, z, t, s, condition, velocity):
        if mistake in ("sign", "no derivative"):
            return (-1.0 if mistake == "sign" else 0.0) * exact
        along = (velocity, torch.zeros_like(t), torch.full_like(s, float(mistake == "t and s swapped")))
        return torch.func.jvp(lambda z, t, s: u(z, t, s, *condition), (z, t, s), along)[1]

    spoil_derivative(broken)
    batch = pairs(DATA, 200)
    answer = ask(ImprovedMeanFlow(times=fixed_times(0.85, 0.2, jumps=0.9)), plug_in(DATA), batch)
    error = answer.prediction - DATA.velocity(batch.at(torch.full((200,), 0.85)), 0.85)
    assert error[:180].square().mean() > 0.01


@pytest.mark.parametrize(("t", "s"), [(0.85, 0.2), (0.6, 0.1)])
def test_loss_at_the_truth(t, s, plug_in, pairs, fixed_times, ask, standard_errors) -> None:
    """What remains is std^2 / sigma_t^2, flow matching's, and not MeanFlow's."""
    answer = ask(ImprovedMeanFlow(times=fixed_times(t, s, jumps=0.9)), plug_in(DATA), pairs(DATA, ROWS))
    squares = (answer.prediction - answer.target).square()
    assert standard_errors(squares, flow_matching_loss(t, 0.4)) < 4
    assert standard_errors(squares, meanflow_loss(t, s, 0.4)) > 8
    assert answer.terms["loss/jump"].mean().item() == pytest.approx(squares[: round(0.9 * ROWS)].mean().item())


@pytest.mark.parametrize("shrunk", [0.9, 0.7, 0.5])
def test_loss_falls_below_its_bound(shrunk, plug_in, pairs, fixed_times, ask) -> None:
    """A network that shrinks its jump's slope scores better than the truth with MeanFlow, and no better here."""

    def wrong(z, t, s, label):
        truth, mean = DATA.average_velocity(z, t, s), (1 - t[:, None]) * 0.7
        span = (t - s)[:, None]
        return truth + (1 - shrunk) * (z - mean - span * (truth + 0.7)) / span.clamp(min=1e-9) * (span > 0)

    batch = pairs(DATA, ROWS)

    def loss(objective, u):
        return ask(objective, u, batch).terms["loss/jump"].mean().item()

    at = fixed_times(0.85, 0.2, jumps=0.9)
    assert loss(MeanFlow(times=at), wrong) < 0.95 * loss(MeanFlow(times=at), plug_in(DATA))
    assert loss(ImprovedMeanFlow(times=at), wrong) > loss(ImprovedMeanFlow(times=at), plug_in(DATA)) - 1e-9


SHAPES = {
    "points": (MLPArchitecture(width=16, depth=1, parametrisation="edm"), (2,)),
    "images": (DiTArchitecture(width=16, depth=1, heads=2), (1, 4, 4)),
}


@pytest.fixture(params=SHAPES)
def setting(request: pytest.FixtureRequest):
    architecture, shape = SHAPES[request.param]
    torch.manual_seed(0)
    flow_map = build(architecture, shape, labels=2, span="any").double()
    for parameter in flow_map.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    label = torch.randint(0, 3, (16,))
    return flow_map, Batch(torch.randn(16, *shape), torch.randn(16, *shape), Condition(label), label == 2)


def gradients(objective, flow_map, batch, ask, **networks):
    flow_map.zero_grad()
    ask(objective, flow_map, batch, null_label=2, **networks).losses().mean().backward()
    return torch.cat([weight.grad.flatten() for weight in flow_map.parameters() if weight.grad is not None])


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_gradient_is_not_meanflows(setting, power, ask) -> None:
    """Equal where the predicted velocity is x1 - x0, with the same weight; another (control) where it is its own."""
    flow_map, batch = setting
    settings = {"times": TwoTimes(t=Uniform(), s=Uniform(), jumps=0.5), "adaptive_power": power}
    meanflow = gradients(MeanFlow(**settings, adaptive_constant=1e-2), flow_map, batch, ask)
    data = {
        "head": lambda z, *_: batch.velocity[: len(z)],
        "both": lambda z, *more: (flow_map(z, *more), torch.zeros_like(z)),
    }
    imf = ImprovedMeanFlow(**settings, velocity="head")
    torch.testing.assert_close(gradients(imf, flow_map, batch, ask, **data), meanflow, rtol=1e-9, atol=1e-12)
    own = gradients(ImprovedMeanFlow(**settings), flow_map, batch, ask)
    assert not torch.allclose(own, meanflow, rtol=0.05)


def test_gradient_flows_through_the_derivative(setting, ask) -> None:
    """Of V only u has one: with the weights behind u fixed, none is left, whatever the derivative holds."""
    flow_map, batch = setting
    answer = ask(ImprovedMeanFlow(adaptive_power=0.0), flow_map, batch, null_label=2)
    error = 2 * (answer.prediction - answer.target).detach() / 16
    flow_map.zero_grad()
    answer.losses().mean().backward()
    found = [weight.grad.clone() for weight in flow_map.parameters() if weight.grad is not None]
    draws = ImprovedMeanFlow().draw(16, torch.Generator().manual_seed(0), None)
    flow_map.zero_grad()
    (error * flow_map(batch.at(draws.t), draws.t, draws.s, batch.condition.label)).sum().backward()
    wanted = [weight.grad for weight in flow_map.parameters() if weight.grad is not None]
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)


BUMPS = {
    "offset": lambda z, t, s: torch.ones_like(z),
    "slope": lambda z, t, s: z,
    "span": lambda z, t, s: ((t - s) ** 2)[:, None] * torch.ones_like(z),
}


def push(objective, u, name, size, batch, ask) -> float:
    """The derivative of the loss in the size of a bump beside the truth."""
    parameter = torch.tensor(size, requires_grad=True)
    pushed = ask(objective, lambda z, t, s, label: u(z, t, s, label) + parameter * BUMPS[name](z, t, s), batch)
    pushed.losses().mean().backward()
    return parameter.grad.item()


@pytest.mark.parametrize("power", [0.0, 1.0])
@pytest.mark.parametrize("name", BUMPS)
def test_gradient_points_away(truth, name, power, plug_in, pairs, ask) -> None:
    objective = ImprovedMeanFlow(times=TwoTimes(t=Uniform(), s=Uniform(), jumps=0.9), adaptive_power=power)
    batch, u = pairs(truth, ROWS), plug_in(truth)
    for size in (0.5, -0.5):
        assert push(objective, u, name, size, batch, ask) * size > 0


@pytest.mark.parametrize("sign", [1, -1])
def test_sign_of_the_span(sign, plug_in, pairs, fixed_times, ask, spoil_derivative) -> None:
    """For the bump (t - s)^2 it is 2 size 3 (t - s)^4 of the jumps; with the sign flipped (control) it points away."""
    spoil_derivative(lambda exact, *_: sign * exact)
    objective = ImprovedMeanFlow(times=fixed_times(0.9, 0.1, jumps=0.9), adaptive_power=0.0)
    batch = pairs(DATA, ROWS)
    both = [push(objective, plug_in(DATA), "span", size, batch, ask) for size in (0.5, -0.5)]
    if sign > 0:
        assert both[0] - both[1] == pytest.approx(0.9 * 2 * 3 * 0.8**4, rel=1e-6)
    else:
        assert both[0] - both[1] < 0


def test_it_rests_at_the_exact_jump(pairs, ask) -> None:
    """For u linear in features, with the true velocity for the predicted one, E[feature (V - v)] = 0 is linear."""
    batch, objective = pairs(DATA, ROWS), ImprovedMeanFlow(times=TwoTimes(t=Uniform(), s=Uniform(), jumps=0.75))
    objective = objective.model_copy(update={"velocity": "head"})
    powers = [(k, i, j) for k in (0, 1) for i in range(8) for j in range(8 - i)]

    def found(k: int, i: int, j: int):
        def u(z, t, s, *_):
            return z**k * (t**i * s**j)[:, None]

        head = lambda z, t, *_: DATA.velocity(z, t)  # noqa: E731
        answer = ask(objective, u, batch, head=head, both=lambda *point: (u(*point), torch.zeros_like(point[0])))
        draws = objective.draw(ROWS, torch.Generator().manual_seed(0), None)
        return u(batch.at(draws.t), draws.t, draws.s), answer.prediction, DATA.velocity(batch.at(draws.t), draws.t)

    features, predictions, velocities = zip(*(found(*power) for power in powers))
    features, predictions = torch.cat(features, 1), torch.cat(predictions, 1)
    solution = torch.linalg.lstsq(features.T @ predictions, features.T @ velocities[0]).solution[:, 0]
    u = [sum(float(c) for c, (k, _, j) in zip(solution, powers) if (k, j) == (order, 0)) for order in (0, 1)]
    assert 1 - u[1] == pytest.approx(0.4, abs=0.004)
    assert -u[0] == pytest.approx(0.7, abs=0.004)


@pytest.mark.parametrize("velocity", ["boundary", "head"])
@pytest.mark.parametrize("guided", [False, True])
def test_who_is_asked(velocity, guided, ask) -> None:
    """Only the jumps pay for a derivative, and for what it follows; guidance asks without a label in every row."""
    objective = ImprovedMeanFlow(velocity=velocity, guidance={"omega": 1.0, "kappa": 0.5} if guided else {})
    batch = Batch(torch.randn(20, 1), torch.randn(20, 1), Condition(torch.zeros(20).long()), torch.zeros(20).bool())
    asked: list[tuple[str, int, bool]] = []

    def note(name: str, answer):
        def evaluate(z, t, s, label):
            asked.append((name, len(z), bool((label == 1).all())))
            return answer(z)

        return evaluate

    networks = {"head": note("head", torch.sin), "both": note("both", lambda z: (torch.sin(z), torch.cos(z)))}
    answer = ask(objective, note("u", torch.sin), batch, null_label=1, **(networks if velocity == "head" else {}))
    prediction, follows = ("both", "head") if velocity == "head" else ("u", "u")
    without = [(follows, 20, True)] if guided else []
    # The others' prediction, what the jumps follow, the mix, the jumps' prediction, their derivative.
    expected = [(prediction, 10, False), (follows, 10, False), *without, (prediction, 10, False), ("u", 10, False)]
    assert asked == expected
    assert ("loss/head" in answer.terms) == (answer.also is not None) == (velocity == "head")


@pytest.mark.parametrize("backend", ["joint", "one-sided"])
def test_head_is_read_apart(backend) -> None:
    with pytest.raises(ValueError, match=f"derivative.backend {backend} does not do apart; forward or difference"):
        ImprovedMeanFlow(velocity="head", derivative=Derivative(backend=backend))


def test_boundary_without_rows_to_train_it() -> None:
    with pytest.raises(ValueError, match=r"times\.jumps must be below 1"):
        ImprovedMeanFlow(times=TwoTimes(jumps=1.0))
    ImprovedMeanFlow(times=TwoTimes(jumps=1.0), velocity="head")


def test_targets_are_made_with_averaged_weights() -> None:
    with pytest.raises(ValueError, match=r"target_ema is 0.99, but its target is made with the weights themselves"):
        ImprovedMeanFlow(target_ema=0.99)
