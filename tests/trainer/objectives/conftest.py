"""Closed forms in the place of the network: what every test of an objective here starts from."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from trainer.objectives.parts import tangent
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.target import Batch, Condition, Networks
from trainer.objectives.parts.times import LogitNormal, TwoTimes
from trainer.oracle import Gaussian, GaussianMixture
from trainer.oracle.integrate import average_velocity

TRUTHS = {
    "gaussian": Gaussian(0.7, 0.4),
    "full-covariance": Gaussian.full([0.7, -0.3], [[0.5, 0.3], [0.3, 0.4]]),
    "mixture": GaussianMixture([0.3, 0.7], [-1.5, 1.0], [0.3, 0.5]),
}


@pytest.fixture(autouse=True)
def _double_precision() -> Iterator[None]:
    """Times, weights and closed forms in fp64, so that only sampling is left as an error."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture(params=TRUTHS)
def truth(request: pytest.FixtureRequest) -> Gaussian | GaussianMixture:
    return TRUTHS[request.param]


@pytest.fixture
def plug_in() -> Callable:
    """u := truth, as an objective calls it. A mixture is integrated to 1e-4, far below any sampling error."""

    def u_of(data: Gaussian | GaussianMixture) -> Callable:
        if isinstance(data, Gaussian):
            return lambda z, t, s, label: data.average_velocity(z, t, s)
        return lambda z, t, s, label: average_velocity(data.velocity, z, t, s, steps=6)

    return u_of


@pytest.fixture
def pairs() -> Callable:
    """`pairs(data, count, seed)` -> Batch: independent data and noise, one label, none dropped."""

    def draw(data: Gaussian | GaussianMixture, count: int, seed: int = 0) -> Batch:
        rng = np.random.default_rng(seed)
        return unlabelled(data.sample(rng, count), rng.standard_normal((count, data.dim)))

    return draw


@pytest.fixture
def pairs_through() -> Callable:
    """`pairs_through(data, z, t, count)` -> Batch whose every z_t is z [D], drawn from the posterior."""

    def draw(data: Gaussian | GaussianMixture, z: list[float], t: float, count: int) -> Batch:
        at = np.broadcast_to(np.array(z), (count, data.dim))
        x0 = data.sample_data_given(at, t, np.random.default_rng(0))
        return unlabelled(x0, (at - (1 - t) * x0) / t)

    return draw


@pytest.fixture
def fixed_times() -> Callable[..., TwoTimes]:
    """`fixed_times(t, s)`: every row looks at the same two times."""

    def law(t: float, s: float, jumps: float = 1.0) -> TwoTimes:
        return TwoTimes(t=always(t), s=always(s), jumps=jumps)

    return law


@pytest.fixture
def ask() -> Callable:
    """`ask(objective, u, batch)`: one call, with a fresh generator of the given seed."""

    def call(objective: Callable, u: Callable, batch: Batch, seed=0, step: int = 1, steps=100, null_label=0, **more):
        moment = Moment(step, steps)
        draws = objective.draw(len(batch.x0), torch.Generator().manual_seed(seed), moment)
        return objective(Networks(u, u, null_label, **more), batch, draws, moment)

    return call


@pytest.fixture
def spoil_derivative(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable], None]:
    """`spoil_derivative(f)`: what objectives take for du/dt is f(exact, u, z, t, s, condition, velocity)."""

    def spoil(broken: Callable) -> None:
        sound = tangent.value_and_derivative

        def unsound(u, *point):
            value, exact = sound(u, *point)
            return value, broken(exact, u, *point).detach()

        monkeypatch.setattr(tangent, "value_and_derivative", unsound)

    return spoil


@pytest.fixture
def always_at() -> Callable[[float], LogitNormal]:
    """A law of one time that always gives t."""
    return always


@pytest.fixture
def standard_errors() -> Callable[[Tensor, Tensor | float], float]:
    """Largest distance of the mean of samples [N, ...] from what is expected, in standard errors."""

    def distance(samples: Tensor, expected: Tensor | float) -> float:
        error = samples.std(0) / math.sqrt(len(samples))
        return float(((samples.mean(0) - expected).abs() / error).max())

    return distance


def always(t: float) -> LogitNormal:
    return LogitNormal(mean=math.log(t / (1 - t)), std=1e-12)


def unlabelled(x0: np.ndarray, x1: np.ndarray) -> Batch:
    rows = len(x0)
    return Batch(
        torch.from_numpy(x0),
        torch.from_numpy(x1),
        Condition(torch.zeros(rows, dtype=torch.long)),
        torch.zeros(rows, dtype=torch.bool),
    )
