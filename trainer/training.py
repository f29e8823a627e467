"""What moves in a training run, and how one step moves it. Nothing here is written to disk or shown."""

from __future__ import annotations

import time
from contextlib import nullcontext
from math import isfinite

import torch
from torch import Tensor, nn

from models.checkpoint import CheckpointConfig, build_for
from models.unet import set_channels_last
from trainer.adversary import AdversarialPhase, Judged, adversary_of
from trainer.augment import Augment
from trainer.batches import Batches
from trainer.company import NOBODY, Company, Lagged, Lenders, begin_from
from trainer.data.dataset import Dataset
from trainer.device import peak_flops
from trainer.ema import PowerEMA, ema_name
from trainer.objectives.parts.moment import Moment
from trainer.optimiser import Optimisers
from trainer.precision import allow_products
from trainer.processes import Processes
from trainer.progress import Meter
from trainer.recipe import Recipe, Run
from trainer.score import hold_out
from trainer.seeds import step_seed
from trainer.shard import Shard
from trainer.step import Loss
from trainer.stream import Stream, z_shape


class Diverged(ArithmeticError):
    """A term of the loss, the gradient or a weight is not finite."""


class Training:
    """Network, averages, optimisers and data of a run, all as they are before its first step.

    Args:
        recipe: what to do.
        dataset: checked data of the recipe's kind.
        processes: this process among those that train together.
        lenders: the checkpoints that it was given.

    Raises:
        ValueError: the recipe does not fit the data, or a checkpoint that it was given.
    """

    def __init__(self, recipe: Recipe, dataset: Dataset, processes: Processes, lenders: Lenders = NOBODY) -> None:
        refuse_misfit(recipe, dataset)
        settings, objective = recipe.run, recipe.objective
        rows, self.held_out = hold_out(dataset, settings.score)
        self.recipe, self.processes = recipe, processes
        self.shards = shards_of(processes, settings)
        self.config = CheckpointConfig(
            method=objective.method,
            kind=recipe.kind,
            shape=z_shape(dataset),
            labels=tuple(dataset.classes),
            architecture=recipe.model,
            span=objective.span,
            t_max=objective.t_max,
            guidance=objective.guidance_input,
            augment=Augment.LABELS if recipe.data.augment.on else 0,
            grids={str(n): [tuple(jump) for jump in objective.grid(n)] for n in settings.sample_steps},
            emas=tuple(map(ema_name, settings.ema)),
            step=0,
            origin={role: lender.origin for role, lender in lenders},
            recipe=recipe.model_dump(mode="json"),
            data={
                **dataset.info,
                "sha256": dataset.sha256,
                **({} if rows is None else {"held_out": len(dataset.train.x) - len(rows)}),
            },
        )
        lenders.refuse_misfit(self.config)
        torch.manual_seed(settings.seed)
        self.flow_map = build_for(self.config).to(processes.device)
        self.companion = objective.companion(self.config)
        if self.companion is not None:
            self.companion.to(processes.device)
        if lenders.init is not None:
            begin_from(self.flow_map, lenders.init)
        set_channels_last(self.flow_map, settings.channels_last)
        self.lagged = Lagged(self.flow_map) if objective.decay(self.moment(1)) is not None else None
        for each in (lenders.teacher, lenders.weak_teacher):
            if each is not None:
                each.flow_map.to(processes.device)
        adversary = adversary_of(objective)
        self.phase = None
        if adversary is not None:
            self.phase = AdversarialPhase(adversary, self.config, processes.device)
        self.emas = [PowerEMA(self.flow_map, horizon) for horizon in settings.ema]
        self.optimisers = Optimisers(self.flow_map, recipe.optimiser, self.companion)
        if self.phase is not None:
            self.optimisers.others.append(self.phase.optimiser)
        stream = Stream(
            dataset,
            settings.batch,
            settings.seed,
            processes.device,
            rows=rows,
            balance=recipe.data.balance,
            placement=recipe.data.placement,
        )
        self.batches = Batches(stream, objective, recipe.data.augment, settings.batch, z_shape(dataset), settings.seed)
        allow_products(settings.precision)
        self.alone = Loss(
            self.flow_map,
            objective,
            stream.null_label,
            company=Company(
                self.lagged.flow_map if self.lagged is not None else None,
                lenders.teacher,
                lenders.weak_teacher,
                self.companion,
                self.phase.judge if self.phase is not None else None,
            ),
            precision=settings.precision,
            compiled=settings.compiles(processes.device.type),
        )
        self.loss: nn.Module = self.alone
        self.meter = Meter(settings.batch, processes, peak_flops(processes.device, settings.precision))

    def share(self) -> None:
        """Train together with the other processes, from the first one's weights, which must be loaded by now."""
        self.loss = self.processes.share(self.loss)
        if self.phase is not None:
            self.phase.share(self.processes)

    def step(self, step: int) -> float:
        """Do step `step`, counted from 1, and return its learning rate. Raises Diverged."""
        settings, moment = self.recipe.run, self.moment(step)
        pieces, judged = self.batches.draw(moment, self.shards), list[Judged]()
        for shard in self.shards:
            with self.processes.together():  # ends before the loss, in which DDP may speak to the others
                batch, draws = next(pieces)
                torch.manual_seed(step_seed(settings.seed, step, shard.index))  # of dropout
            with nullcontext() if shard is self.shards[-1] else self.processes.apart(self.loss):
                with self.processes.together():
                    value, terms = self.loss(batch, draws, moment)
                    check_finite(step, terms)
                (value / len(self.shards)).backward()
            self.meter.add(terms)
            if self.alone.judged is not None:
                judged.append(self.alone.judged)
            begun = time.monotonic()
            self.meter.work(self.alone.flops(batch, draws, moment))  # counts when the work is another than before
            self.meter.pause(begun)
        rate = self.recipe.optimiser.rate(step, settings.steps)
        norm = self.optimisers.step(rate)
        with self.processes.alike():
            check_finite(step, {"gradient": norm})
        self.meter.step(norm)
        if self.phase is not None and judged:
            for terms in self.phase.step(judged, self.processes):
                with self.processes.together():
                    check_finite(step, terms)
                self.meter.add(terms)
        for ema in self.emas:
            ema.update(self.flow_map, step)
        decay = self.recipe.objective.decay(moment)
        if self.lagged is not None and decay is not None:
            self.lagged.update(self.flow_map, decay)
        return rate

    def moment(self, step: int) -> Moment:
        """Step `step`, counted from 1, as the objective sees it."""
        return Moment(step, self.recipe.run.steps)

    def beside(self) -> dict[str, nn.Module]:
        """What else has weights that move, by the name of its file."""
        named = {
            "lagged": self.lagged.flow_map if self.lagged is not None else None,
            "companion": self.companion,
            "discriminator": self.phase.discriminator if self.phase is not None else None,
        }
        return {name: module for name, module in named.items() if module is not None}

    def check_weights(self, step: int) -> None:
        """Raise Diverged where a weight is not finite: the step after the save would be the first to tell."""
        check_finite(step, {f"weight {name}": value for name, value in self.flow_map.named_parameters()})


def shards_of(processes: Processes, settings: Run) -> list[Shard]:
    """This process's share of every batch, in `run.accumulate` pieces.

    Raises:
        ValueError: the batch cannot be shared evenly.
    """
    pieces = processes.count * settings.accumulate
    if settings.batch % pieces:
        raise ValueError(
            f"run.batch is {settings.batch}, which {processes.count} process{'es' * (processes.count > 1)} with "
            f"{settings.accumulate} piece{'s' * (settings.accumulate > 1)} each (run.accumulate) cannot share evenly; "
            f"it must be a multiple of {pieces}"
        )
    return [Shard(processes.rank + processes.count * piece, pieces) for piece in range(settings.accumulate)]


def refuse_misfit(recipe: Recipe, dataset: Dataset) -> None:
    """Raise ValueError where the recipe asks for what the data does not have."""
    if dataset.kind != recipe.kind:
        raise ValueError(
            f"data set {dataset.name} is of kind {dataset.kind}; the recipe is for {recipe.kind}; "
            f"take one for {dataset.kind} (longjump train --list)"
        )
    if recipe.data.augment.on and dataset.train.key != "images":
        raise ValueError(
            f"data.augment turns pictures, but data set {dataset.name} holds {dataset.train.key}; "
            "set data.augment.probability to 0"
        )
    if recipe.objective.needs_labels and not dataset.classes:
        raise ValueError(
            f"objective.guidance has the scale {recipe.objective.guided}, but data set {dataset.name} has no labels "
            "to guide towards; --set objective.guidance={}, or label the data"
        )


def check_finite(step: int, terms: dict[str, Tensor]) -> None:
    """Raise `Diverged` naming the step and the first term that is NaN or Inf."""
    sums = torch.stack([value.detach().float().sum() for value in terms.values()])
    if not torch.isfinite(sums).all():  # one synchronisation a step, whatever the number of terms
        name, value = next((n, v) for (n, _), v in zip(terms.items(), sums.tolist(), strict=True) if not isfinite(v))
        raise Diverged(
            f"step {step}: {name} is {value}; the run stopped, and the checkpoints before it are intact. "
            "Try a lower optimiser.lr, a longer optimiser.warmup_steps, or a smaller optimiser.clip"
        )
