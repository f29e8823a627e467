"""The training loop: step by step, log, score, save."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainer.card import checkpoint_files
from trainer.company import NOBODY, Lenders
from trainer.data.dataset import Dataset
from trainer.ema import averaged
from trainer.processes import Processes, contact
from trainer.progress import progress_bar
from trainer.readme import run_readme
from trainer.recipe import Recipe
from trainer.rundir import RunDirectory
from trainer.score import Score
from trainer.track import tracking
from trainer.training import Training


@contact()
def train(
    recipe: Recipe,
    dataset: Dataset,
    out: Path,
    *,
    resume: bool = False,
    device: str = "cpu",
    stop: Callable[[], bool] = lambda: False,
    track: str | None = None,
    command: str | None = None,
    lenders: Lenders = NOBODY,
    begin: Callable[[Training], None] = lambda training: None,
    tell: Callable[[str], None] = lambda text: None,
) -> Path:
    """Train to the recipe's end, or until `stop()`; then save.

    Args:
        recipe: what to do.
        dataset: checked data of the recipe's kind.
        out: the run directory; new or empty, unless `resume`.
        resume: go on from the newest checkpoint in `out`, or from the start where a run ended before its first one.
        device: a torch device.
        stop: asked after every step on every process; true on one means that the first saves and all return.
        track: who watches, one of `trainer.track.TRACKERS`.
        command: what started this, for the run's README.
        lenders: the checkpoints that it was given. A resumed run has its own weights, whatever `init` is.
        begin: called on the first process before the first step.
        tell: called there with a line for every checkpoint.

    Returns:
        Folder of the last checkpoint.

    Raises:
        ValueError: the recipe does not fit the data, or not the run to go on with.
        Diverged: names the step and the term; the last checkpoint is intact.
        OSError: a checkpoint could not be written, or another process is gone; the last one is intact.
        FailedElsewhere: any of these, on another process.
    """
    settings, processes = recipe.run, Processes(device)
    with processes.together():
        training = Training(recipe, dataset, processes, lenders)
    flow_map, emas, optimisers = training.flow_map, training.emas, training.optimisers
    directory = RunDirectory(out, settings.keep, writes=processes.first)
    done = 0
    with processes.together():
        if processes.first:
            if resume:
                done = directory.restore(training.config, flow_map, emas, optimisers, training.beside())
            else:
                directory.start(training.config.recipe)
            begin(training)
            saved = directory.newest() if done else None
            directory.write_readme(run_readme(training.config, out, directory.rows(), command, saved))
    with processes.together():  # after the first, which removes what a killed run left
        if resume and not processes.first:
            done = directory.restore(training.config, flow_map, emas, optimisers, training.beside())
    training.share()
    held_out = training.held_out if processes.first else None
    score = Score(held_out, settings.score, training.config) if held_out is not None else None

    def save(row: dict[str, Any]) -> None:
        training.check_weights(row["step"])
        config = training.config.model_copy(update={"step": row["step"]})
        with averaged(flow_map, emas[0]):
            found = score(flow_map) if score is not None else {}
            row |= {"score": found} if found else {}
            directory.log(row)
            files = checkpoint_files(config, flow_map, directory.rows())
        folder = directory.save(config, flow_map, emas, optimisers, training.beside(), files)
        directory.write_readme(run_readme(config, out, directory.rows(), command, folder))
        if "samples.png" in files:
            tracker.picture(row["step"], files["samples.png"])
        tell(_saved(folder, found, directory.best() == folder))

    watched = track if processes.first else None
    with (
        tracking(watched, out, done, directory.rows(), training.config.recipe) as tracker,
        progress_bar(done, settings.steps, shown=processes.first) as progress,
    ):
        for step in progress:
            rate = training.step(step)
            stopping = processes.any(stop())
            saving = stopping or step == settings.steps or step % settings.save_every == 0
            if saving or step % settings.log_every == 0:
                row = {"step": step, "lr": rate, **training.meter.read()}
                shown = {key: f"{value:.3g}" for key, value in row.items() if key.startswith("loss/")}
                progress.set_postfix(shown, refresh=False)
                since = time.monotonic()
                with processes.together():
                    if processes.first:
                        if saving:
                            save(row)
                        else:
                            directory.log(row)
                        tracker.row(row)
                if saving:
                    training.meter.pause(since)
            if stopping:
                break
    return directory.newest()


def _saved(folder: Path, score: dict[str, Any], best: bool) -> str:
    """A line on a checkpoint."""
    if not score:
        return f"saved {folder}"
    mark = ", the best so far" if best else ""
    return f"saved {folder}: energy distance {score['energy_distance']:.4g} (real to real {score['floor']:.4g}){mark}"
