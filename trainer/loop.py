"""The training loop: step by step, log, average the weights, save."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from trainer.card import checkpoint_files
from trainer.data.dataset import Dataset
from trainer.processes import Processes
from trainer.progress import progress_bar
from trainer.recipe import Recipe
from trainer.rundir import RunDirectory
from trainer.training import Training


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
    settings, processes = recipe.run, Processes(device)
    training = Training(recipe, dataset, processes)
    flow_map, emas, optimisers = training.flow_map, training.emas, training.optimisers
    directory = RunDirectory(out, settings.keep, writes=processes.first)
    done = 0
    with processes.first_then_the_others():
        if resume:
            done = directory.restore(training.config, flow_map, emas, optimisers)
        elif processes.first:
            directory.start(training.config.recipe)
    training.share()

    def save(step: int) -> None:
        training.check_weights(step)
        config = training.config.model_copy(update={"step": step})
        extras = checkpoint_files(config, flow_map, emas[0], directory.rows())
        directory.save(config, flow_map, emas, optimisers, extras)

    with progress_bar(done, settings.steps, shown=processes.first) as progress:
        for step in progress:
            rate = training.step(step)
            stopping = processes.any(stop())
            saving = stopping or step == settings.steps or step % settings.save_every == 0
            if saving or step % settings.log_every == 0:
                row = {"step": step, "lr": rate, **training.meter.read()}
                if processes.first:
                    directory.log(row)
                shown = {key: f"{value:.3g}" for key, value in row.items() if key.startswith("loss/")}
                progress.set_postfix(shown, refresh=False)
            if saving:
                since = time.monotonic()
                if processes.first:
                    save(step)
                processes.wait()
                training.meter.pause(since)
            if stopping:
                break
    return directory.newest()
