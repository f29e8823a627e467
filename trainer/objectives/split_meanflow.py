"""SplitMeanFlow (Guo et al., arXiv 2507.16884): the average velocity over [s, t] from those over its pieces."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Generator, Tensor

from models.flow_map import per_sample
from trainer.objectives.parts.guidance import guided_velocity
from trainer.objectives.parts.guided_times import GuidedTimes
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.objective import Draws
from trainer.objectives.parts.target import Batch, Condition, Networks, Target, Velocity, mean_square
from trainer.objectives.parts.weighting import adaptive


@dataclass(frozen=True)
class Pieces(Draws):
    """Two times a row, and where the way between them is cut."""

    shares: Tensor = field(kw_only=True)  # [B, pieces + 1], from 0 at t to 1 at s, not falling

    @property
    def path(self) -> Tensor:
        """The times from t down to s, [B, pieces + 1]."""
        return self.t[:, None] - self.shares * (self.t - self.s)[:, None]


class SplitMeanFlow(GuidedTimes):
    """Regress a jump on shorter ones in a row over the same way, and u(z, t, t) on the velocity of pairs.

        z_0 = z, z_{k+1} = z_k - (t_k - t_{k+1}) u-(z_k, t_k, t_{k+1}), from t_0 = t to t_K = s
        target = sg((z - z_K) / (t - s)) where s < t, v_g where s = t
        loss = ||u - target||^2 / sg(||u - target||^2 + c)^p

    The paper's interval splitting consistency, with K = 2 and the cut at a uniformly random place; unlike MeanFlow it
    takes no derivative of the network. With more pieces, no rows with s = t, and averaged weights u- that hardly move,
    it is progressive flow map matching (Boffi et al., arXiv 2406.07507) of the map that a run began with: give `--init`
    one that knows jumps between any times, and its steps in a row are learned as one. A share `whole` of the jumps goes
    from 1 to 0, which is what one step asks for.

    Given `--teacher`, that walks the pieces: a map of any jumps by its own, a flow by Euler steps. The network may be
    another one, and begin from another.

    Guidance enters where s = t, and jumps inherit it. Where there is no such row, `walked_scale` w0 leads the pieces: a
    map that was trained for the single scale w0 is taught a range, from its own answer without a label,

        u-_w = u-(null) + (w / w0) (u-(c) - u-(null)), w the row's own scale,

    which is the guided flow of scale w for short pieces, and a coarser guess at it for long ones. u- is told w0, and
    counts as guided by it at all times.

    Deviations: the paper distils a guided flow, whose velocity is the target where s = t; here it is that of pairs,
    guided as in MeanFlow. Leading pieces from one scale to another is ours.
    """

    reference: ClassVar[str] = "arXiv 2507.16884, interval splitting consistency"
    teacher: ClassVar[Literal["none", "optional", "required"]] = "optional"

    method: Literal["split-meanflow"] = "split-meanflow"
    target_ema: float | None = Field(
        None, ge=0, lt=1, description="decay of the averaged weights that walk the pieces; null: the weights themselves"
    )
    whole: float = Field(0.0, ge=0, le=1, description="share of the jumps that are from 1 to 0")
    pieces: int = Field(2, ge=2, description="K, jumps that a target is made of")
    cuts: Literal["random", "even"] = Field("random", description="where the pieces end")
    walked_scale: float | None = Field(
        None, gt=0, description="w0, the one scale of the map that walks, from which pieces are led to each row's own"
    )
    adaptive_power: float = Field(1.0, ge=0, description="p")
    adaptive_constant: float = Field(1e-3, gt=0, description="c, beside a sum over dimensions")

    @model_validator(mode="after")
    def _guidance_reaches_the_jumps(self) -> Self:
        scales, known = self.guidance.range, self.walked_scale
        if known is None:
            if self.guidance.guides and self.times.jumps == 1:
                raise ValueError(
                    "guidance enters where s = t, and times.jumps is 1, so nothing would be guided; give some rows "
                    "s = t, or walked_scale, the scale of the map that walks the pieces, and range"
                )
        elif scales is None or not scales[0] <= known <= scales[1]:
            there = "there is none" if scales is None else f"it is {list(scales)}"
            raise ValueError(
                f"walked_scale is {known:g}, which guidance.range has to hold, and {there}; or walked_scale=null"
            )
        return self

    @property
    def scale_walked(self) -> float | None:
        """w0."""
        return self.walked_scale

    def check_given(self, given: Collection[str]) -> list[str]:
        """Refuses a range that a teacher does not have; says a run that learns nothing, or that nothing holds."""
        if "teacher" in given:
            if self.guidance.range is not None and self.walked_scale is None:
                raise ValueError(
                    "the teacher walks at one scale of guidance, which objective.walked_scale has to name for a range; "
                    "set it, or leave objective.guidance.range out"
                )
            return []
        if self.times.jumps < 1:
            return []
        if "init" not in given:
            return [f"{self.method}: no row learns a velocity, only steps of another map: give --init or --teacher"]
        if self.target_ema is None:
            return [
                f"{self.method}: no row learns a velocity, and the weights in training walk: nothing holds them to "
                "what --init knew (objective.target_ema=0.9999 does, or --teacher)"
            ]
        return []

    def draw(self, rows: int, generator: Generator, moment: Moment) -> Pieces:
        """Two times a row, the jumps first and of these the whole ones, and the cuts between them."""
        t, s = self.times.draw(rows, generator)
        device, jumps = generator.device, self.times.count(rows)
        whole = torch.arange(rows, device=device) < round(self.whole * jumps)
        t, s = torch.where(whole, 1.0, t), torch.where(whole, 0.0, s)
        if self.cuts == "random":
            cuts = torch.rand(rows, self.pieces - 1, generator=generator, device=device).sort(1).values
        else:
            cuts = (torch.arange(1, self.pieces, device=device) / self.pieces).expand(rows, -1)
        ends = torch.zeros(rows, 1, device=device), torch.ones(rows, 1, device=device)
        return Pieces(t, s, jumps, self.guidance.draw(rows, generator), shares=torch.cat([ends[0], cuts, ends[1]], 1))

    def __call__(self, networks: Networks, batch: Batch, draws: Draws, moment: Moment) -> Target:
        """One evaluation predicts all rows, K more make the targets of the jumps."""
        assert isinstance(draws, Pieces)
        t, s, jumps = draws.t, draws.s, draws.jumps
        z, condition = batch.at(t), batch.condition
        head, tail = slice(0, jumps), slice(jumps, len(z))
        prediction = networks.u(z, t, s, *condition)
        targets, terms = [], {}
        if jumps:
            targets.append(self.walked(networks, z[head], draws.path[head], condition.rows(head), moment))
            terms["loss/jump"] = mean_square(prediction[head] - targets[-1])
        if jumps < len(z):
            pairs = Batch(batch.x0[tail], batch.x1[tail], condition.rows(tail), batch.dropped[tail])
            still = Draws(t[tail], s[tail])
            targets.append(guided_velocity(self.guidance, networks, pairs, still, moment, prediction[tail]))
            terms["loss/velocity"] = mean_square(prediction[tail] - targets[-1])
        target = torch.cat(targets)
        weight = adaptive(prediction - target, self.adaptive_power, self.adaptive_constant)
        return Target(prediction, target, weight, terms)

    def walked(self, networks: Networks, z: Tensor, path: Tensor, condition: Condition, moment: Moment) -> Tensor:
        """Average velocity of the jumps along `path` [B, K + 1], [B, ...]; where s = t, the mean of them."""
        at, times = z, path.unbind(1)
        length = times[0] - times[-1]
        walked = torch.zeros_like(z)
        with torch.no_grad():
            for t, s in pairwise(times):
                u = self.piece(networks, at, t, s, condition, moment)
                at = at - per_sample(t - s, z) * u
                # By its share of the way, and not by (z - at) / (t - s), in which z nearly cancels on a short one.
                share = torch.where(length > 0, (t - s) / torch.where(length > 0, length, 1.0), 1 / (len(times) - 1))
                walked = walked + per_sample(share, z) * u
        return walked

    def piece(
        self, networks: Networks, z: Tensor, t: Tensor, s: Tensor, condition: Condition, moment: Moment
    ) -> Tensor:
        """u- of one piece [B, ...], led to the rows' own scales."""
        ask: Velocity = networks.walker or networks.lagged or networks.still or networks.u
        if self.walked_scale is None:
            return ask(z, t, s, *condition)
        assert condition.guidance is not None  # of a range
        told = replace(condition, guidance=torch.full_like(condition.guidance, self.walked_scale))
        null = ask(z, t, s, *told.relabelled(torch.full_like(told.label, networks.null_label)))
        share = self.guidance.scale_at(t, condition.guidance, moment.step) / self.walked_scale
        return null + per_sample(share, z) * (ask(z, t, s, *told) - null)
