"""`longjump train --dry-run`: what a run would be and cost, from a few of its real steps. Nothing is written."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch
import yaml

from models.cost import Cost, cost
from trainer.card import checkpoint_files
from trainer.company import NOBODY, Lenders
from trainer.data.dataset import Dataset
from trainer.device import peak_memory
from trainer.ema import averaged
from trainer.processes import Processes
from trainer.recipe import Recipe
from trainer.score import Score
from trainer.training import Training

WARM = 2
"""Steps that are not timed: the first ones make the optimiser's state and warm caches up."""

BUDGET = 5.0
"""Seconds after which no further step is timed; three are, however long they take."""


@dataclass(frozen=True)
class Rehearsal:
    """What a few steps told."""

    recipe: Recipe
    network: Cost
    device: str
    step: float  # seconds, the median
    save: float  # seconds: samples, curves and score of a checkpoint, without its writing
    memory: int  # bytes, the most that the device (or this process) held

    def __str__(self) -> str:
        run = self.recipe.run
        saves = -(-run.steps // run.save_every)
        total = run.steps * self.step + saves * self.save
        where = f"on {self.device}" if self.device != "cpu" else "of this process"
        return "\n".join(
            [
                str(self.network),
                f"a step: {duration(self.step)}, {run.batch / self.step:,.0f} samples a second, "
                f"at most {self.memory / 2**30:.2f} GiB {where}",
                f"a checkpoint: {duration(self.save)} for samples, curves and score",
                f"the run: {run.steps:,} steps and {saves} checkpoint{'s' * (saves > 1)}, about {duration(total)}",
            ]
        )


def rehearse(recipe: Recipe, dataset: Dataset, device: str, lenders: Lenders = NOBODY) -> Rehearsal:
    """Do the last few steps of the run first, when all that starts late (guidance, say) has started.

    Raises:
        ValueError: the recipe does not fit the data.
        Diverged: with the weights of the start these steps are not finite.
    """
    processes = Processes(device)
    training = Training(recipe, dataset, processes, lenders)
    network = network_cost(training)
    training.share()
    steps = recipe.run.steps
    first, times = max(1, steps - 20), list[float]()
    for number, step in enumerate(range(first, steps + 1)):
        begun = time.perf_counter()
        training.step(step)
        _synchronise(processes.device)
        if number >= min(WARM, steps - first):
            times.append(time.perf_counter() - begun)
        if processes.any(len(times) >= 3 and sum(times) > BUDGET):
            break
    row = {"step": steps, **training.meter.read()}
    begun = time.perf_counter()
    if processes.first:
        with averaged(training.flow_map, training.emas[0]):
            if training.held_out is not None:
                Score(training.held_out, recipe.run.score, training.config)(training.flow_map)
            checkpoint_files(training.config, training.flow_map, [row])
    _synchronise(processes.device)
    save = time.perf_counter() - begun
    memory = peak_memory(processes.device)
    return Rehearsal(recipe, network, str(processes.device), statistics.median(times), save, memory)


def resolved(recipe: Recipe) -> str:
    """The whole recipe as YAML, which `longjump train` takes again."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)


def network_cost(training: Training) -> Cost:
    """Parameters, FLOPs and T(1) of the network in training; about a second."""
    recipe, shape = training.recipe, tuple(training.config.shape)
    return cost(recipe.model.network, training.flow_map, shape, torch.get_num_threads())


def duration(seconds: float) -> str:
    """A time for people: 8.2 ms, 3.1 s, 12 min, 5.2 h, 3.4 days."""
    for factor, unit in ((86400 * 2, "days"), (3600, "h"), (60, "min")):
        if seconds >= factor * (1 if unit == "days" else 2):
            return f"{seconds / (86400 if unit == 'days' else factor):.3g} {unit}"
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
