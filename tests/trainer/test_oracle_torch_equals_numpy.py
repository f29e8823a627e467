"""The oracle must give torch what it gives NumPy, and stay in the tensors' precision."""

import numpy as np
import pytest
import torch

from trainer.oracle import Gaussian, GaussianMixture

TRUTHS = {
    "gaussian": Gaussian([0.7, -0.2], [0.4, 0.3]),
    "full-covariance": Gaussian.full([0.7, -0.3], [[0.5, 0.3], [0.3, 0.4]]),
    "mixture": GaussianMixture([0.3, 0.7], [[-1.5, 0.2], [1.0, 0.0]], [0.3, 0.5]),
}


@pytest.mark.parametrize("data", TRUTHS.values(), ids=TRUTHS.keys())
@pytest.mark.parametrize("per_sample", [True, False], ids=["times-per-sample", "one-time"])
def test_torch_equals_numpy(data: Gaussian | GaussianMixture, per_sample: bool) -> None:
    rng = np.random.default_rng(0)
    z = rng.standard_normal((7, 2))
    t, s = (np.linspace(1, 0.4, 7), np.linspace(0, 0.4, 7)) if per_sample else (0.9, 0.25)
    to_torch = torch.from_numpy if per_sample else (lambda time: time)
    for name, times in {"velocity": (t,), "average_velocity": (t, s), "velocity_variance": (t,)}.items():
        ours = getattr(data, name)(torch.from_numpy(z), *map(to_torch, times))
        assert ours.dtype == torch.float64
        np.testing.assert_allclose(ours.numpy(), getattr(data, name)(z, *times), atol=1e-13, err_msg=name)


@pytest.mark.parametrize("data", TRUTHS.values(), ids=TRUTHS.keys())
def test_single_precision_stays_single(data: Gaussian | GaussianMixture) -> None:
    z, t = torch.randn(3, 2), torch.full((3,), 0.5)
    assert data.velocity(z, t).dtype == torch.float32
    assert data.average_velocity(z, t, t / 2).dtype == torch.float32


def test_forward_derivative_of_the_velocity_is_its_slope() -> None:
    """The softmax over components is differentiated too, not only the components' velocities."""
    mixture, step = TRUTHS["mixture"], 1e-5
    z, t = torch.tensor([[0.1, -0.4]], dtype=torch.float64), torch.tensor([0.6], dtype=torch.float64)
    along, ahead = torch.tensor([[0.7, 0.2]], dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    exact = torch.func.jvp(mixture.velocity, (z, t), (along, ahead))[1]
    difference = mixture.velocity(z + step * along, t + step) - mixture.velocity(z - step * along, t - step)
    torch.testing.assert_close(exact, difference / (2 * step), rtol=1e-8, atol=1e-8)
    frozen = torch.func.jvp(mixture.velocity, (z, t), (along, 0 * ahead))[1]
    assert (exact - frozen).abs().max() > 0.1
