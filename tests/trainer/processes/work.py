"""What each of several processes does: `torchrun -m tests.trainer.processes.work JOB POINTS PICTURES OUT`.

Every process writes what it found into OUT/RANK.pt, in which the tests look.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from tests.trainer.processes.cases import case, cases, three_steps
from trainer.batches import Batches
from trainer.data.dataset import open_dataset
from trainer.loop import train
from trainer.objectives.parts.moment import Moment
from trainer.processes import Processes
from trainer.recipe import Recipe
from trainer.rundir import RunDirectory

CONTROLS = ("unshared", "beside", "contiguous")


def same(points: Path, pictures: Path, out: Path) -> Any:
    """Three steps of every case, and of each control."""
    data = {"points": points, "image": pictures}
    found = {name: three_steps(recipe, data[recipe.kind]) for name, recipe in cases().items()}
    control = case("dit", {"method": "meanflow"})
    return found | {broken: three_steps(control, pictures, broken) for broken in CONTROLS}


def runs(points: Path, pictures: Path, out: Path) -> Any:
    """Whole runs: straight, stopped by the second process and resumed, and ended by each kind of failure."""
    recipe, rank = case("dit", {"method": "meanflow"}), Processes("cpu").rank
    with mock.patch("trainer.loop.checkpoint_files", return_value={"README.md": b"# tiny\n"}):
        threads = torch.get_num_threads()
        train(recipe, open_dataset(pictures), out / "straight")
        kept = torch.get_num_threads() == threads
        asked = iter(range(1, 7))
        train(recipe, open_dataset(pictures), out / "paused", stop=lambda: next(asked) == 5 and rank == 1)
        (out / f"paused-{rank}.txt").write_text("\n".join(sorted(p.name for p in (out / "paused").glob("step-*"))))
        train(recipe, open_dataset(pictures), out / "paused", resume=True)
        failed = {
            "not finite": ended(recipe, pictures, out / "not finite", spoil_batch(rank == 1, float("nan"))),
            "unreadable": ended(recipe, pictures, out / "unreadable", spoil_batch(rank == 1, None)),
            "full disk": ended(recipe, pictures, out / "full disk", full_disk()),
            "there": ended(recipe, pictures, out / "straight", mock.patch.dict({}, {})),
        }
    return {"threads kept": kept, **failed}


def ended(recipe: Recipe, data: Path, out: Path, mistake: Any) -> str:
    """How a training ends."""
    try:
        with mistake:
            train(recipe, open_dataset(data), out)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "well"


def spoil_batch(here: bool, value: float | None) -> Any:
    """From step 5 on this process's data are `value`, or cannot be read."""
    draw = Batches.draw

    def spoilt(self: Batches, moment: Moment, shards: Any) -> Any:
        for batch, draws in draw(self, moment, shards):
            if here and moment.step == 5:
                if value is None:
                    raise OSError("row 7 cannot be read")
                batch.x0.fill_(value)
            yield batch, draws

    return mock.patch.object(Batches, "draw", spoilt)


def full_disk() -> Any:
    """The second checkpoint finds no room."""
    save = RunDirectory.save

    def refuse(self: RunDirectory, config: Any, *more: Any) -> Path:
        if config.step > 3:
            raise OSError(28, "No space left on device")
        return save(self, config, *more)

    return mock.patch.object(RunDirectory, "save", refuse)


JOBS: dict[str, Callable[[Path, Path, Path], Any]] = {"same": same, "runs": runs}

if __name__ == "__main__":
    job, points, pictures, folder = sys.argv[1:]
    result = JOBS[job](Path(points), Path(pictures), Path(folder))
    torch.save(result, Path(folder) / f"{Processes('cpu').rank}.pt")
