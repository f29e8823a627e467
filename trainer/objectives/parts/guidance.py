"""Classifier-free guidance inside the training target, so that sampling needs no second evaluation."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Generator, Tensor

from models.checkpoint import GuidanceInput
from models.flow_map import per_sample
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.objective import Draws
from trainer.objectives.parts.target import Batch, Networks, Velocity

Scale = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Guidance(BaseModel):
    """MeanFlow's guided velocity (arXiv 2505.13447, eq. 21 and appendix A), of one scale or of a range of them.

        v_g = omega v_c + kappa u(z, t, t | c) + (1 - omega - kappa) u(z, t, t | null)

    At its fixed point the learned velocity is guided by the effective scale omega / (1 - kappa); 1 is the plain
    conditional model. Rows whose label was dropped, or whose t lies outside [t_start, t_end], keep v_c.

    With `range`, each row draws its own scale w and the network is told it (improved MeanFlow, arXiv 2512.02012):
    omega = min(w, 1) and kappa = 1 - omega / w, so the fixed point is w. For w >= 1 these are the paper's 1 and
    1 - 1/w; below, the network's own answer is not fed back to it with a negative sign.

    The network is told w in every row, also where the velocity is the plain one. Outside [t_start, t_end], because a
    jump from there may pass through the interval. Before `start_step`, so that all scales begin at the plain model.
    With a dropped label, so that the null label's answer, the unguided one, is trained at every w: a sample without a
    label may be asked for with any scale, and the mix asks for u(null) at the row's own w. (The authors' code asks at
    w = 1, which has the same fixed point, but a range need not hold 1.)
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    omega: float = Field(1.0, gt=0)
    kappa: float = Field(0.0, ge=0, lt=1)
    range: tuple[Scale, Scale] | None = Field(None, description="scales that the network is told, in place of the two")
    law: Literal["log-uniform", "uniform"] = Field("log-uniform", description="of the scales: p(w) ~ 1/w, or even")
    default: Scale | None = Field(None, description="scale used when none is asked for; None: the median of the law")
    t_start: float = Field(0.0, ge=0, le=1)
    t_end: float = Field(1.0, ge=0, le=1)
    start_step: int = Field(0, ge=0, description="the first guided step; the mix means something once u does")

    @model_validator(mode="after")
    def _interval(self) -> Guidance:
        if self.t_start > self.t_end:
            raise ValueError(f"t_start is {self.t_start:g}, after t_end {self.t_end:g}: no time would be guided")
        return self

    @model_validator(mode="after")
    def _one_scale_or_a_range(self) -> Guidance:
        if self.range is None:
            if self.default is not None or self.law != "log-uniform":
                raise ValueError("law and default belong to a range of scales; give range too, [1, 4] say")
            return self
        low, high = self.range
        if self.omega != 1 or self.kappa != 0:
            raise ValueError(
                f"range trains all scales from {low:g} to {high:g}, omega and kappa a single one; give one of the two "
                f"(the whole group anew: --set 'objective.guidance={{range: [{low:g}, {high:g}]}}')"
            )
        if high < low:
            raise ValueError(f"range is [{low:g}, {high:g}]: the smaller scale comes first")
        if self.default is not None and not low <= self.default <= high:
            raise ValueError(f"default is {self.default:g}, outside the range {low:g} to {high:g}")
        return self

    @property
    def input(self) -> GuidanceInput | None:
        """The scales that the network is told; None for one trained for a single scale, which takes no such input."""
        if self.range is None:
            return None
        low, high = self.range
        median = (low + high) / 2 if self.law == "uniform" else math.sqrt(low * high)
        # Two decimals, so that what a command prints can be typed again.
        default = self.default if self.default is not None else min(max(round(median, 2), low), high)
        return GuidanceInput(min=low, max=high, default=default)

    @property
    def scale(self) -> float:
        """Effective guidance scale of the trained map; of a range, the one used when none is asked for."""
        return self.omega / (1 - self.kappa) if self.input is None else self.input.default

    @property
    def scales(self) -> str:
        """The scale or the range, for a person: `1.67`, `1 to 4`."""
        return f"{self.scale:.3g}" if self.range is None else f"{self.range[0]:g} to {self.range[1]:g}"

    @property
    def guides(self) -> bool:
        """Whether there is another scale than 1, the plain conditional model's."""
        return not all(math.isclose(scale, 1) for scale in self.range or (self.scale,))

    @property
    def asks_conditional(self) -> bool:
        """Whether the mix holds u(z, t, t | c)."""
        return self.range is not None or self.kappa > 0

    def active(self, step: int) -> bool:
        """Whether the target is guided at this step."""
        return self.guides and step >= self.start_step

    def draw(self, rows: int, generator: Generator) -> Tensor | None:
        """Scales [rows] for a network that is told; None, and nothing is drawn, for one that is not."""
        if self.range is None:
            return None
        low, high = self.range
        share = torch.rand(rows, generator=generator, device=generator.device)
        scale = low + (high - low) * share if self.law == "uniform" else low * (high / low) ** share
        return scale.clamp(low, high)  # rounding may lead outside

    def velocity(self, batch: Batch, t: Tensor, conditional: Tensor, unconditional: Tensor) -> Tensor:
        """v_g, [B, ...].

        Args:
            batch: the training pairs; `condition.guidance` holds the scales of a range.
            t: their times, [B].
            conditional: u(z, t, t | c), [B, ...]; not looked at unless `asks_conditional`.
            unconditional: u(z, t, t | null), [B, ...].

        Raises:
            ValueError: scales for a single one, or none for a range.
        """
        omega, kappa = self._mix(batch.condition.guidance, batch.velocity)
        guided = omega * batch.velocity + (1 - omega - kappa) * unconditional
        if self.asks_conditional:
            guided = guided + kappa * conditional
        plain = batch.dropped | (t < self.t_start) | (t > self.t_end)
        return torch.where(per_sample(plain, guided), batch.velocity, guided)

    def scale_at(self, t: Tensor, scale: Tensor, step: int) -> Tensor:
        """What rows of `scale` [B] are guided by at t [B], [B]: 1 outside [t_start, t_end] or too early."""
        guided = (t >= self.t_start) & (t <= self.t_end) & self.active(step)
        return torch.where(guided, scale, torch.ones_like(scale))

    def _mix(self, scale: Tensor | None, like: Tensor) -> tuple[float | Tensor, float | Tensor]:
        """omega and kappa: the settings', or each row's own, broadcast against `like` [B, ...]."""
        if (scale is None) != (self.range is None):
            raise ValueError("a range of scales needs the rows' own, and a single scale takes none")
        if scale is None:
            return self.omega, self.kappa
        omega = scale.clamp(max=1)
        return per_sample(omega, like), per_sample(1 - omega / scale, like)


def guided_velocity(
    guidance: Guidance, networks: Networks, batch: Batch, draws: Draws, moment: Moment, plain: Tensor | None
) -> Tensor:
    """The velocity of every row's target, [B, ...]: v_g of the network's own velocities, or v_c without guidance.

    `plain` is what was predicted for the rows with s = t, or None where there are none.
    """
    if not guidance.active(moment.step):
        return batch.velocity
    without = unconditional_velocity(networks, batch, draws)
    own = conditional_velocity(networks, batch, draws, plain) if guidance.asks_conditional else without
    return guidance.velocity(batch, draws.t, own, without)


def conditional_velocity(
    networks: Networks, batch: Batch, draws: Draws, plain: Tensor | None, ask: Velocity | None = None
) -> Tensor:
    """u(z, t, t | c) of every row, [B, ...], as `own_velocity`; `plain` as above spares the rows with s = t, unless it
    was predicted with dropout."""
    if plain is None or networks.still is not None:
        return own_velocity(networks, batch, draws.t, slice(None), batch.condition.label, ask)
    if draws.jumps == 0:
        return plain.detach()
    jumps = slice(0, draws.jumps)
    return torch.cat([own_velocity(networks, batch, draws.t, jumps, batch.condition.label, ask), plain.detach()])


def unconditional_velocity(networks: Networks, batch: Batch, draws: Draws, ask: Velocity | None = None) -> Tensor:
    """u(z, t, t | null) of every row, [B, ...], as `own_velocity`."""
    null = torch.full_like(batch.condition.label, networks.null_label)
    return own_velocity(networks, batch, draws.t, slice(None), null, ask)


def own_velocity(
    networks: Networks, batch: Batch, t: Tensor, rows: slice, label: Tensor, ask: Velocity | None = None
) -> Tensor:
    """What the network itself takes for the velocity at t, without gradient and without dropout.

    Args:
        t, label: [B].
        rows: which of them to ask about.
        ask: a head in the place of u.
    """
    ask = ask or networks.still or networks.u
    with torch.no_grad():
        return ask(batch.at(t)[rows], t[rows], t[rows], *batch.condition.relabelled(label).rows(rows))


def refuse_untrained_null(guidance: Guidance, label_dropout: float) -> None:
    """Raise ValueError where the mix would hold a velocity that nothing trains."""
    if guidance.guides and label_dropout == 0:
        raise ValueError("guidance mixes in the null label, which only label_dropout above 0 trains")


def late(start_step: int, steps: int) -> list[str]:
    """A note on guidance that begins after the last step of a run, a line or none."""
    if start_step <= steps:
        return []
    return [
        f"guidance begins at step {start_step:,}, after the last, {steps:,}: nothing will be guided "
        "(objective.guidance.start_step)"
    ]
