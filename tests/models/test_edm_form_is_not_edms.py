"""The two-time EDM parametrisation, u = k(t, s) z - (sigma_d / N_t) F: its three properties (methods, section 3).

At s = t it is EDM's denoiser (Karras et al., arXiv 2206.00364, table 1); with F = 0 it is the exact flow of
N(0, sigma_d^2 I); and k loses no digits as s approaches t.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.flow_map import FlowMap
from trainer.oracle import Gaussian

SIGMA = 0.37
TIMES = torch.tensor([1.0, 0.999, 0.9, 0.5, 0.13, 0.01, 1e-4])


class Raw(nn.Module):
    """A network that is not trained: some smooth function of everything it is told."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.seen: Tensor | None = None

    def forward(self, z: Tensor, t: Tensor, s: Tensor, label: Tensor, *untold: None) -> Tensor:
        self.seen = z
        return self.scale * torch.sin(2 * z + t[:, None] - 3 * s[:, None])


def edm(scale: float = 1.0) -> FlowMap:
    return FlowMap(Raw(scale), "edm", "any", SIGMA)


def rows(t: Tensor, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    z = torch.randn(len(t), 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return z.to(dtype), t.to(dtype), torch.zeros(len(t), dtype=torch.long)


def test_velocity_is_not_edms_denoiser() -> None:
    """v = (z - D) / t, D from EDM's c_skip, c_out and c_in at sigma = t / (1 - t) and x = z / (1 - t)."""
    z, t, label = rows(TIMES[1:])  # at t = 1 sigma is infinite
    sigma, x = (t / (1 - t))[:, None], z / (1 - t)[:, None]
    c_skip = SIGMA**2 / (sigma**2 + SIGMA**2)
    c_out = sigma * SIGMA / torch.sqrt(sigma**2 + SIGMA**2)
    c_in = 1 / torch.sqrt(sigma**2 + SIGMA**2)
    denoised = c_skip * x + c_out * Raw()(c_in * x, t, t, label)
    flow_map = edm()
    torch.testing.assert_close(flow_map(z, t, t, label), (z - denoised) / t[:, None], atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(flow_map.net.seen, c_in * x, atol=1e-12, rtol=1e-12)


def test_network_input_has_another_variance() -> None:
    """For data of std sigma_d, the network sees unit variance at every time."""
    t = torch.full((200_000,), 0.6, dtype=torch.float64)
    draw = torch.Generator().manual_seed(1)
    x0, x1 = torch.randn(2, len(t), 1, dtype=torch.float64, generator=draw)
    flow_map = edm()
    flow_map(0.4 * SIGMA * x0 + 0.6 * x1, t, t, torch.zeros(len(t), dtype=torch.long))
    assert flow_map.net.seen is not None
    assert flow_map.net.seen.std().item() == pytest.approx(1, abs=0.01)  # type: ignore[operator]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999, 1.0])
def test_zero_network_misses_the_gaussian(share: float) -> None:
    """F = 0 is exact for N(0, sigma_d^2 I): average velocity and jump, for every (t, s), s = t included."""
    z, t, label = rows(TIMES)
    s = share * t
    truth = Gaussian(np.zeros(5), SIGMA)
    flow_map = edm(0.0)
    expected = torch.from_numpy(np.asarray(truth.average_velocity(z.numpy(), t.numpy(), s.numpy())))
    torch.testing.assert_close(flow_map(z, t, s, label), expected, atol=1e-12, rtol=1e-12)
    jumped = torch.from_numpy(np.asarray(truth.jump(z.numpy(), t.numpy(), s.numpy())))
    torch.testing.assert_close(flow_map.jump(z, t, s, label), jumped, atol=1e-12, rtol=1e-12)


def test_zero_network_is_exact_for_any_gaussian() -> None:
    """Negative control: of another std it is not."""
    z, t, label = rows(TIMES)
    expected = Gaussian(np.zeros(5), 1.2 * SIGMA).average_velocity(z.numpy(), t.numpy(), 0 * t.numpy())
    assert (edm(0.0)(z, t, 0 * t, label) - torch.from_numpy(np.asarray(expected))).abs().max() > 1e-2


def slope(t: Tensor, s: Tensor) -> Tensor:
    """k(t, s) as the flow map has it: u of a zero network at z = 1."""
    return edm(0.0)(torch.ones(len(t), 1, dtype=t.dtype), t, s, torch.zeros(len(t), dtype=torch.long))[:, 0]


def naive_slope(t: Tensor, s: Tensor) -> Tensor:
    """The definition of k, which divides a difference by a difference."""
    norm_t, norm_s = (torch.sqrt(x**2 + SIGMA**2 * (1 - x) ** 2) for x in (t, s))
    return (norm_t - norm_s) / ((t - s) * norm_t)


@pytest.mark.parametrize("gap", [1e-2, 1e-4, 1e-6, 1e-7, 0.0])
def test_slope_cancels_where_s_nears_t(gap: float) -> None:
    """In float32 k keeps its digits down to s = t, where the definition has lost half of them, then all."""
    t = torch.tensor([0.9, 0.6, 0.3])
    s = t - gap
    exact = slope(t.double(), s.double())
    assert (slope(t, s) - exact).abs().max() < 5e-6
    if gap == 0:
        assert naive_slope(t, s).isnan().all()
    elif gap < 1e-4:
        assert (naive_slope(t, s) - exact).abs().max() > 1e-2
    else:  # where nothing cancels the two are one function
        assert (naive_slope(t.double(), s.double()) - exact).abs().max() < 1e-9


@pytest.mark.parametrize("t", [1e-4, 0.5, 1.0])
def test_gradient_breaks_at_no_jump(t: float) -> None:
    """u and its derivative in t are finite at s = t, where most rows of a batch are."""
    time = torch.full((2,), t, requires_grad=True)
    z, label = torch.ones(2, 5), torch.zeros(2, dtype=torch.long)
    edm()(z, time, time.detach(), label).sum().backward()
    assert time.grad is not None
    assert torch.isfinite(time.grad).all()


def test_raw_form_changes_the_network() -> None:
    z, t, label = rows(TIMES)
    raw = FlowMap(Raw(), "raw", "any", SIGMA)
    assert torch.equal(raw(z, t, t / 2, label), Raw()(z, t, t / 2, label))
