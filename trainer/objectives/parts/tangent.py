"""Derivatives of the average velocity: the total one along the flow, and that in the end s. Only this file builds
their tangents."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from models.flow_map import per_sample
from trainer.objectives.parts.forward_mode import jvp
from trainer.objectives.parts.masks import Masks
from trainer.objectives.parts.target import Condition, Networks, Velocity
from trainer.precision import exact_products

SMOOTHNESS = 2.0
"""|u'''| <= SMOOTHNESS^3 |u| and the like is what the steps of differences count on: networks that turn by about two
radians while t goes from 0 to 1."""


class Derivative(BaseModel):
    """How a derivative of u is taken. All of it in float32 at least, by `Networks.exact`, whatever `run.precision` is.

    `forward`: the prediction, and beside it a forward-mode pass without gradient; exact, and the prediction may be
    compiled and run in bfloat16. `joint`: one forward-mode pass, whose value is the prediction and has the gradient;
    exact too, with less arithmetic and more memory, since what is recorded includes the tangents. `difference`: the
    central difference of two more evaluations, for layers without a forward-mode derivative, or where memory is short.
    `one-sided`: the difference of one more evaluation and the prediction, the cheapest and the coarsest.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    backend: Literal["joint", "forward", "difference", "one-sided"] = "forward"

    @property
    def apart(self) -> bool:
        """Whether the prediction is an evaluation of its own, which may tell more than u."""
        return self.backend in ("forward", "difference")

    def __call__(
        self,
        networks: Networks,
        z: Tensor,
        t: Tensor,
        s: Tensor,
        condition: Condition,
        velocity: Tensor | None,
        predict: Velocity | None = None,
    ) -> tuple[Tensor, Tensor]:
        """u(z, t, s) with gradient, and du/dt along dz/dt = velocity without; shapes as in `total_derivative`.

        Without a velocity the derivative is that in s, z and t being fixed: of the Lagrangian identity, not the
        Eulerian one.

        A network with dropout draws the same masks for both. `predict`, where the two are `apart`, is asked for the
        prediction; with dropout it must be in eager float32.

        Raises:
            RuntimeError: called under autocast, or with half-precision inputs.
        """
        _refuse_coarse(z)
        # In compiled code or in another precision dropout draws other masks from the same state.
        u = predict or (networks.exact if networks.dropout or not self.apart else networks.u)
        if self.backend == "joint":
            return value_and_derivative(u, z, t, s, condition, velocity)
        masks = Masks(networks, z.device)
        # The value that a difference is taken of must be as exact as the other one.
        with exact_products() if self.backend == "one-sided" else nullcontext():
            prediction = u(z, t, s, *condition)

        def exact(*arguments: Tensor) -> Tensor:
            with masks.again():
                return networks.exact(*arguments)

        if self.backend == "forward":
            derivative = total_derivative(exact, z, t, s, condition, velocity)
        elif self.backend == "difference":
            derivative = central_difference(exact, z, t, s, condition, velocity)
        else:
            derivative = one_sided_difference(exact, z, t, s, condition, velocity, prediction.detach())
        return prediction, derivative


def value_and_derivative(
    u: Velocity, z: Tensor, t: Tensor, s: Tensor, condition: Condition, velocity: Tensor | None
) -> tuple[Tensor, Tensor]:
    """u with gradient and its derivative without, by one forward-mode pass; otherwise as `total_derivative`."""
    _refuse_coarse(z)
    # (z, t, s) along (velocity, 1, 0), or along (0, 0, 1).
    moving = (velocity, torch.ones_like(t), None) if velocity is not None else (None, None, torch.ones_like(s))
    with exact_products():
        return jvp(lambda z, t, s: u(z, t, s, *condition), (z, t, s), moving)


def total_derivative(
    u: Velocity, z: Tensor, t: Tensor, s: Tensor, condition: Condition, velocity: Tensor | None
) -> Tensor:
    """du/dt along dz/dt = velocity with s fixed: one forward-mode pass, without gradient.

    The tangent of (z, t, s) is (velocity, 1, 0): MeanFlow (arXiv 2505.13447, eq. 8) writes (v, 0, 1) because it orders
    the times as (r, t). The wrong order runs without an error, hence one place. It runs in the precision of z, which
    must be float32 or float64: a half-precision derivative is noise (sCM, arXiv 2410.11081, section 4). Label,
    guidance and augmentation stay fixed.

    Args:
        u: average velocity (z, t, s, *condition) -> [B, ...].
        z: [B, ...]; t, s: [B]; velocity: [B, ...], or None for the derivative in s, of tangent (0, 0, 1).

    Returns:
        du/dt, or the derivative in s, [B, ...].

    Raises:
        RuntimeError: called under autocast, or with half-precision inputs.
    """
    with torch.no_grad():
        return value_and_derivative(u, z, t, s, condition, velocity)[1]


def central_difference(
    u: Velocity, z: Tensor, t: Tensor, s: Tensor, condition: Condition, velocity: Tensor | None
) -> Tensor:
    """The derivative by two evaluations half a step before and after; arguments and errors as in `total_derivative`.

    With values of unit round-off d, D = (u(t + e) - u(t - e)) / 2e errs by d |u| / e + e^2 |u'''| / 6. It is least at
    e = (3 d |u| / |u'''|)^(1/3), here (3 d)^(1/3) / SMOOTHNESS: 2.8e-3 in float32. Where t + e or t - e leaves [s, 1],
    or s + e or s - e leaves [0, t], the row's difference is one-sided. Times and the combination are in float64, and e
    is the distance of the times as they were rounded.
    """
    step = (3 * _roundoff(z)) ** (1 / 3) / SMOOTHNESS
    up, down = _offset_to_one_side(z, t, s, velocity)
    above, below = _room(t, s, velocity)
    fits = (above >= step) & (below >= step)
    up, down = up.masked_fill(fits, step), down.masked_fill(fits, -step)
    return _difference(u, z, t, s, condition, velocity, up, down)


def one_sided_difference(
    u: Velocity, z: Tensor, t: Tensor, s: Tensor, condition: Condition, velocity: Tensor | None, here: Tensor
) -> Tensor:
    """The derivative by one evaluation before or after, where `here` is u(z, t, s); the rest as in `total_derivative`.

    It errs by 2 d |u| / e + e |u''| / 2, least at e = 2 (d |u| / |u''|)^(1/2), here 2 d^(1/2) / SMOOTHNESS: 2.4e-4 in
    float32. The step is to a smaller time where there is room, else to a larger, else as far as there is room.
    """
    up, down = _offset_to_one_side(z, t, s, velocity)
    return _difference(u, z, t, s, condition, velocity, up + down, torch.zeros_like(up), here)


def _room(t: Tensor, s: Tensor, velocity: Tensor | None) -> tuple[Tensor, Tensor]:
    """How far the time that moves may rise and fall, in float64: t within [s, 1], or s within [0, t]."""
    t, s = t.double(), s.double()
    return (1 - t, t - s) if velocity is not None else (t - s, s)


def _offset_to_one_side(z: Tensor, t: Tensor, s: Tensor, velocity: Tensor | None) -> tuple[Tensor, Tensor]:
    """(up, down) in float64, one of which is 0 in each row. A shorter step than the best one is harmless: it is at most
    as long as t - s, with which all methods multiply the derivative and so its round-off."""
    step = 2 * _roundoff(z) ** 0.5 / SMOOTHNESS
    above, below = (room.clamp(0, step) for room in _room(t, s, velocity))
    downwards = below >= above
    return above.masked_fill(downwards, 0), -below.masked_fill(~downwards, 0)


def _difference(
    u: Velocity,
    z: Tensor,
    t: Tensor,
    s: Tensor,
    condition: Condition,
    velocity: Tensor | None,
    first: Tensor,
    second: Tensor,
    here: Tensor | None = None,
) -> Tensor:
    """(u at t + first - u at t + second) / (first - second), or the same in s; `here` is the latter u where known."""
    _refuse_coarse(z)

    def at(offset: Tensor) -> tuple[Tensor, Tensor]:
        if velocity is None:
            end = (s.double() + offset).to(s.dtype)
            return u(z, t, end, *condition).double(), end.double() - s.double()
        moved = (t.double() + offset).to(t.dtype)
        offset = moved.double() - t.double()
        there = (z.double() + per_sample(offset, z) * velocity.double()).to(z.dtype)
        return u(there, moved, s, *condition).double(), offset

    with torch.no_grad(), exact_products():
        value, offset = at(first)
        if here is not None:
            other, base = here.double(), second
        else:
            other, base = at(second)
        length = offset - base
        # No room at all is s = t = 1, or 0, where nobody asks for the derivative.
        inverse = torch.where(length == 0, 0.0, 1 / length)
        return ((value - other) * per_sample(inverse, z)).to(z.dtype)


def _roundoff(z: Tensor) -> float:
    return torch.finfo(z.dtype).eps / 2


def _refuse_coarse(z: Tensor) -> None:
    kind = z.device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        raise RuntimeError("a derivative under autocast is noise: leave autocast for it")
    if z.dtype not in (torch.float32, torch.float64):
        raise RuntimeError(f"a derivative needs float32 or float64, not {z.dtype}")
