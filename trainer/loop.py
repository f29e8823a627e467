"""The training loop: draw a batch, regress on the objective's target, average the weights, save."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from export.runtime.grids import flow_grid
from models.build import build
from models.checkpoint import CheckpointConfig
from trainer.card import checkpoint_files
from trainer.data.dataset import Dataset
from trainer.ema import PowerEMA
from trainer.optimiser import Optimisers
from trainer.progress import Meter, progress_bar
from trainer.recipe import Recipe
from trainer.rundir import RunDirectory
from trainer.stream import Stream, z_shape


class Diverged(ArithmeticError):
    """A term of the loss, the gradient or a weight is not finite."""


def train(
    recipe: Recipe,
    dataset: Dataset,
    out: Path,
    *,
    resume: bool = False,
    device: str = "cpu",
    stop: Callable[[], bool] = lambda: False,
) -> Path:
    """Train to the recipe's end, or until `stop()`; then save.

    Args:
        recipe: what to do.
        dataset: checked data of the recipe's kind.
        out: the run directory; new or empty, unless `resume`.
        resume: go on from the newest checkpoint in `out`, or from the start where a run ended before its first one.
        device: a torch device.
        stop: asked after every step; true means save and return.

    Returns:
        Folder of the last checkpoint.

    Raises:
        ValueError: the recipe does not fit the data, or not the run to go on with.
        Diverged: names the step and the term; the last checkpoint is intact.
        OSError: a checkpoint could not be written; the last one is intact.
    """
    refuse_misfit(recipe, dataset)
    settings, objective = recipe.run, recipe.objective
    torch.manual_seed(settings.seed)
    flow_map = build(recipe.model, z_shape(dataset), len(dataset.classes), objective.span).to(device)
    optimisers = Optimisers(flow_map, recipe.optimiser)
    emas = [PowerEMA(flow_map, horizon) for horizon in settings.ema]
    generator = torch.Generator(device).manual_seed(settings.seed)
    stream = Stream(dataset, settings.batch, settings.seed, torch.device(device))
    directory = RunDirectory(out, settings.keep)

    def config_at(step: int) -> CheckpointConfig:
        return CheckpointConfig(
            method=objective.method,
            kind=recipe.kind,
            shape=z_shape(dataset),
            labels=tuple(dataset.classes),
            architecture=recipe.model,
            span=objective.span,
            grids={str(n): [tuple(jump) for jump in flow_grid(n)] for n in settings.sample_steps},
            emas=tuple(ema.name for ema in emas),
            step=step,
            recipe=recipe.model_dump(mode="json"),
            data={**dataset.info, "sha256": dataset.sha256},
        )

    def save(step: int) -> None:
        check_finite(step, {f"weight {name}": value.abs().max() for name, value in flow_map.named_parameters()})
        config = config_at(step)
        extras = checkpoint_files(config, flow_map, emas[0], directory.rows())
        directory.save(config, flow_map, emas, optimisers, generator, extras)

    if resume:
        done = directory.restore(config_at(0), flow_map, emas, optimisers, generator)
    else:
        done = 0
        directory.start(config_at(0).recipe)

    meter = Meter(settings.batch)
    with progress_bar(done, settings.steps) as progress:
        for step in progress:
            batch = stream.draw(step, objective.label_dropout, generator)
            target = objective(flow_map, batch, generator, step, stream.null_label)
            loss = target.loss()
            check_finite(step, {**target.terms, "loss": loss.detach()})
            loss.backward()
            rate = recipe.optimiser.rate(step, settings.steps)
            norm = optimisers.step(rate)
            check_finite(step, {"gradient": norm})
            for ema in emas:
                ema.update(flow_map, step)
            meter.add({**target.terms, "loss": loss.detach(), "gradient": norm})
            stopping = stop()
            saving = stopping or step == settings.steps or step % settings.save_every == 0
            if saving or step % settings.log_every == 0:
                row = {"step": step, "lr": rate, **meter.read()}
                directory.log(row)
                shown = {key: f"{value:.3g}" for key, value in row.items() if key.startswith("loss/")}
                progress.set_postfix(shown, refresh=False)
            if saving:
                since = time.monotonic()
                save(step)
                meter.pause(since)
            if stopping:
                break
    return directory.newest()


def refuse_misfit(recipe: Recipe, dataset: Dataset) -> None:
    """Raise ValueError where the recipe asks for what the data does not have."""
    if dataset.kind != recipe.kind:
        raise ValueError(f"data set {dataset.name} is of kind {dataset.kind}; the recipe is for {recipe.kind}")
    guidance = getattr(recipe.objective, "guidance", None)
    if guidance is not None and guidance.guides and not dataset.classes:
        raise ValueError(
            f"objective.guidance has the scale {guidance.scale:g}, but data set {dataset.name} has no labels "
            "to guide towards; --set objective.guidance={}, or label the data"
        )


def check_finite(step: int, terms: dict[str, Tensor]) -> None:
    """Raise `Diverged` naming the step and the first term that is NaN or Inf."""
    values = torch.stack([value.detach().float() for value in terms.values()])
    if not torch.isfinite(values).all():  # one synchronisation a step, whatever the number of terms
        name, value = next((n, v.item()) for n, v in terms.items() if not torch.isfinite(v))
        raise Diverged(
            f"step {step}: {name} is {value}; the run stopped, and the checkpoints before it are intact. "
            "Try a lower optimiser.lr, a longer optimiser.warmup_steps, or a smaller optimiser.clip"
        )
