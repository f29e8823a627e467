"""The jump: one interface for every method of the family.

A flow map takes z at time t to time s <= t (t = 1 noise, t = 0 data) by the average velocity u over [s, t]:

    jump(z, t, s, label, guidance) = z - (t - s) * u(z, t, s, label, guidance)

`guidance` only where the network takes it. 1 is the plain conditional model's scale, for every method.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from models.network import Head, Network

Parametrisation = Literal["raw", "edm"]
Span = Literal["velocity", "endpoint", "any", "dyadic"]


def per_sample(value: Tensor, like: Tensor) -> Tensor:
    """[B] reshaped to broadcast against `like` [B, ...]."""
    return value.reshape(-1, *[1] * (like.dim() - 1))


class FlowMap(nn.Module):
    """A network read as an average velocity.

    Args:
        net: maps (z, t, s, label[, guidance[, augment]]) to a tensor of z's shape.
        parametrisation: `raw`, u is the network's output; `edm`, the two-time form of EDM's preconditioning,
            u = k(t, s) z - (sigma_data / N_t) F(z / N_t, t, s), where k is the exact average-velocity slope of
            N(0, sigma_data^2 I) and N_t = sqrt(t^2 + sigma_data^2 (1 - t)^2). F = 0 is exact for that Gaussian, and at
            s = t this is EDM's own form (Karras et al., arXiv 2206.00364, table 1, in linear-path coordinates).
        span: where the map may be asked. A `velocity` model is evaluated at (t, t) whatever s is, so that a jump is
            one Euler step.
        sigma_data: standard deviation of the data, used by `edm`.
        t_max: largest time that it was trained at, where the path of a grid of noise levels ends. A jump from a later
            time, t = 1, takes z for what it nearly is there: noise at t_max, scaled by t_max / t.

    A map of span `endpoint` is a network of one time, told (t, t) whatever s is, so that it can begin with the weights
    of a flow matching: its jump to 0 is then a denoiser, as in ECT (arXiv 2406.14548, section 3).
    """

    def __init__(
        self,
        net: nn.Module,
        parametrisation: Parametrisation = "raw",
        span: Span = "any",
        sigma_data: float = 0.5,
        t_max: float = 1.0,
    ) -> None:
        super().__init__()
        self.net = net
        self.parametrisation = parametrisation
        self.span = span
        self.sigma_data = sigma_data
        self.t_max = t_max

    def forward(
        self,
        z: Tensor,
        t: Tensor,
        s: Tensor,
        label: Tensor,
        guidance: Tensor | None = None,
        augment: Tensor | None = None,
    ) -> Tensor:
        """Average velocity u over [s, t].

        Args:
            z: [B, ...]. t, s: [B]. label: int64 [B].
            guidance: scale [B], for a network that takes it.
            augment: what was done to the data, [B, A], in training only.

        Returns:
            [B, ...].
        """
        if self.span == "endpoint":
            s = t
        if self.parametrisation == "raw":
            raw: Tensor = self.net(z, t, s, label, guidance, augment)
            return raw
        slope, norm = (per_sample(value, z) for value in self._slope_and_norm(t, s))
        return slope * z - self.sigma_data / norm * self.net(z / norm, t, s, label, guidance, augment)

    def both(
        self,
        head: Head,
        z: Tensor,
        t: Tensor,
        s: Tensor,
        label: Tensor,
        guidance: Tensor | None = None,
        augment: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """u over [s, t], and what the head makes of the same features: the velocity at t, in the same parametrisation.

        Arguments and shapes as in `forward`.
        """
        net = self._network
        if self.parametrisation == "raw":
            return net.both(head, z, t, s, label, guidance, augment)
        slope, norm = (per_sample(value, z) for value in self._slope_and_norm(t, s))
        slope_at_t = per_sample(self._slope_and_norm(t, t)[0], z)
        average, velocity = net.both(head, z / norm, t, s, label, guidance, augment)
        return slope * z - self.sigma_data / norm * average, slope_at_t * z - self.sigma_data / norm * velocity

    def head(self) -> Head:
        """A second set of the network's last layers as they are now, for `both`."""
        return Head(self._network)

    @property
    def _network(self) -> Network:
        assert isinstance(self.net, Network), "a head is for the networks of models/"
        return self.net

    def _slope_and_norm(self, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """k(t, s) and N_t of `edm`, each [B]."""
        variance = self.sigma_data**2
        norm_t = torch.sqrt(t**2 + variance * (1 - t) ** 2)
        norm_s = torch.sqrt(s**2 + variance * (1 - s) ** 2)
        # (N_t - N_s) / ((t - s) N_t), rearranged so that nothing cancels and s = t needs no special case.
        return ((t + s) * (1 + variance) - 2 * variance) / (norm_t * (norm_t + norm_s)), norm_t

    def jump(self, z: Tensor, t: Tensor, s: Tensor, label: Tensor, guidance: Tensor | None = None) -> Tensor:
        """z at time t -> z at time s; shapes as in `forward`."""
        if self.t_max < 1:
            z = z * per_sample(self.t_max / t.clamp(min=self.t_max), z)
            t = t.clamp(max=self.t_max)
        asked = t if self.span == "velocity" else s
        return z - per_sample(t - s, z) * self(z, t, asked, label, guidance)
