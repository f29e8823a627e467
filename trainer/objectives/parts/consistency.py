"""What the consistency models have in common: a jump to the data must agree with two legs by way of a lower level."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from models.flow_map import per_sample
from trainer.objectives.parts.coordinates import time_of
from trainer.objectives.parts.masks import Masks
from trainer.objectives.parts.objective import Draws
from trainer.objectives.parts.sampler import Renoise
from trainer.objectives.parts.target import Batch, Networks
from trainer.objectives.parts.two_legs import two_legs

RENOISE = Renoise(times={2: (time_of(0.821),)})
"""Multistep sampling; of two steps the second begins at the noise level of ECT for CIFAR-10."""


@dataclass(frozen=True)
class Neighbours(Draws):
    """Two noise levels a row; s is 0."""

    m: Tensor = field(kw_only=True)  # [B], the lower level, m < t


def neighbours(times: Tensor, interval: Tensor) -> Neighbours:
    """The ends of intervals [B], 0 being the lowest, of a grid of rising times."""
    times = times.to(interval.device, torch.get_default_dtype())
    t, m = times[interval + 1], times[interval]
    return Neighbours(t, torch.zeros_like(t), jumps=len(t), m=m)


def to_the_data(networks: Networks, batch: Batch, draws: Neighbours, w: Tensor) -> tuple[Tensor, Tensor]:
    """Average velocity of the jump from t to 0, and of two legs there with the first along w to m; each [B, ...].

    In the papers' words, the first is (z_t - f(z_t, t)) / t and the second (z_t - f(z_m, m)) / t, with f what the
    model takes for the data. Both evaluations drop the same units: with masks of their own, the difference of two
    networks would drown that of two levels.
    """
    z, t, m, s = batch.at(draws.t), draws.t, draws.m, draws.s
    ask = networks.exact if networks.dropout else networks.u  # see `Masks`
    masks = Masks(networks, z.device)
    prediction = ask(z, t, s, *batch.condition)
    with masks.again():
        target = two_legs(networks.lagged or ask, z, t, m, s, w, batch.condition)
    return prediction, target


def data_error(prediction: Tensor, target: Tensor, t: Tensor) -> Tensor:
    """The difference of the two in what they take for the data, [B, ...]: f(z_t, t) - f(z_m, m), up to sign."""
    return per_sample(t, prediction) * (prediction - target)
