"""One method on pictures: trained by `longjump train`, measured by `longjump eval`, both kept by what decides them.

All methods of a plan have the same network, the same number of training pictures and the same data. A training that
was cut off goes on from its last checkpoint, an evaluation from its last samples.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.methods import plans
from tests.methods.code import SHOWS, code_digest
from tests.methods.plans import PLANS, Plan, call
from trainer.data.dataset import Dataset, open_dataset
from trainer.objectives import methods
from trainer.objectives.parts.flow_first import FlowFirst
from trainer.recipe import Recipe, load_recipe
from trainer.start import read_lenders, settle

TEACHER = "flow-matching"
STEPS = (1, 2, 4, 8)
MOMENTS = 20
"""Steps of a run whose arithmetic is counted; the mean stands for all."""

EVALUATED = ("trainer.evaluate.evaluation", "trainer.sampling")
BESIDES = (
    *SHOWS, "export.runtime.bundle", "export.runtime.engines", "export.runtime.images", "trainer.evaluate.inception",
    "trainer.evaluate.panel",
)  # fmt: skip
"""What the figures of a checkpoint do not depend on."""


@dataclass(frozen=True)
class Cell:
    """A method of a plan, with `longer` times as many training pictures as the others."""

    method: str
    plan: Plan = PLANS["fashion-mnist"]
    longer: int = 1

    @property
    def lenders(self) -> dict[str, Cell]:
        """The trained flow that it distils, and begins with: methods that would train one first are given one."""
        of = methods()[self.method]
        flow = Cell(TEACHER, self.plan)
        roles = {"teacher": flow} if of.teacher == "required" else {}
        return {**roles, "init": flow} if roles or issubclass(of, FlowFirst) else {}

    @property
    def settings(self) -> list[str]:
        """What is other than in the shipped recipe: its lengths are shares of the run, and nothing is guided."""
        steps, fields = self.plan.images * self.longer // self.plan.batch, methods()[self.method].model_fields
        return [
            *(f"model.{word}" for word in self.plan.network),
            f"run.steps={steps}",
            f"run.batch={self.plan.batch}",
            f"run.save_every={max(steps // 4, 1)}",
            "run.score=0",
            f"run.sample_steps={list(STEPS)}",
            f"optimiser.warmup_steps={steps // 12}",
            f"optimiser.decay_steps={steps * 2 // 5}",
            *([f"objective.tangent.warmup_steps={steps * 2 // 5}"] if "tangent" in fields else []),
            *(["objective.guidance={}"] if "guidance" in fields else []),
        ]

    def recipe(self) -> Recipe:
        """As `longjump train` resolves it."""
        given = {role: Path(role) for role in self.lenders}
        return settle(load_recipe(f"{self.plan.name}/{self.method}", self.settings), given)[0]  # type: ignore[arg-type]

    @property
    def key(self) -> str:
        """Of code, recipe, data and the trained flow."""
        return _key(self)

    @property
    def folder(self) -> Path:
        """Where its run and its figures lie."""
        return plans.CACHE / f"{self.plan.name}-{self.method}{f'-x{self.longer}' * (self.longer > 1)}-{self.key}"

    @property
    def run(self) -> Path:
        """The run's folder."""
        return self.folder / "run"

    def words(self) -> list[str]:
        """Of `longjump train`."""
        lent = [word for role, cell in self.lenders.items() for word in (f"--{role}", str(cell.run))]
        sets = [word for setting in self.settings for word in ("--set", setting)]
        name = f"{self.plan.name}/{self.method}"
        return ["train", name, "--data", str(self.plan.data), "--out", str(self.run), *lent, *sets]

    def trained(self) -> dict[str, Any] | None:
        """What the training took, or None before its end."""
        return _read(self.folder / "trained.json")

    def train(self) -> None:
        """To its end, from where it is. The trained flow must be there."""
        if self.trained() is not None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        spent = (_read(self.folder / "spent.json") or {"cpu": 0.0})["cpu"]
        before = _cpu()
        try:
            call(*self.words(), *(["--resume"] if self.run.exists() else []))
        finally:
            spent += _cpu() - before
            _write(self.folder / "spent.json", {"cpu": spent})
        found = {
            "images": self.plan.images * self.longer,
            "cpu_seconds": round(spent, 1),
            "flops": self.arithmetic(),
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
        }
        _write(self.folder / "trained.json", found)

    def arithmetic(self) -> float | None:
        """Floating-point operations of the training, counted as `longjump train` counts them, at moments of the run."""
        from trainer.processes import Processes
        from trainer.training import Training

        recipe = self.recipe()
        lenders = read_lenders({role: cell.run for role, cell in self.lenders.items()})  # type: ignore[misc]
        training = Training(recipe, open_dataset(self.plan.data), Processes("cpu"), lenders)
        count = min(MOMENTS, recipe.run.steps)
        for place in range(count):
            training.step(1 + round(place * (recipe.run.steps - 1) / max(count - 1, 1)))
        flops = training.meter.flops
        return None if flops is None else flops / count * recipe.run.steps

    def cost(self) -> tuple[float, float] | None:
        """CPU seconds and floating-point operations, with those of the flow that was trained for it."""
        parts = [self.trained(), *(cell.trained() for cell in dict.fromkeys(self.lenders.values()))]
        known = [part for part in parts if part is not None]
        if len(known) < len(parts) or any(part["flops"] is None for part in known):
            return None
        return sum(part["cpu_seconds"] for part in known), sum(part["flops"] for part in known)

    def measuring(self) -> list[str]:
        """Words of `longjump eval`."""
        return [
            "eval", str(self.run), "--data", str(self.plan.measured), "--samples", str(self.plan.samples),
            "--steps", ",".join(map(str, STEPS)),
        ]  # fmt: skip

    @property
    def figures(self) -> Path:
        """The results of `longjump eval`, by all that decides them."""
        parts = [code_digest("trainer.evaluate.measure", EVALUATED, BESIDES), repr(self.plan), self.key]
        return self.folder / f"evaluation-{hashlib.sha256(chr(10).join(parts).encode()).hexdigest()[:16]}.json"

    def result(self) -> dict[str, Any] | None:
        """What was measured, or None where it was not."""
        return _read(self.figures)

    def evaluate(self) -> None:
        """Measure what was trained, and draw a few of each class."""
        if self.result() is not None:
            return
        partial = self.folder / "evaluation.json.partial"
        call(*self.measuring(), "--out", str(partial), "--cache", str(plans.CACHE / "features"))
        np.save(self.folder / "samples.npy", self.draw())
        partial.replace(self.figures)

    def draw(self) -> NDArray[np.uint8]:
        """A sample of each class at each step count, [steps, classes, H, W, 3]: the first seeds, none picked."""
        import torch

        from trainer.evaluate.evaluation import FIRST_SEED
        from trainer.evaluate.generator import from_checkpoint

        generator = from_checkpoint(self.run, None, None, torch.device("cpu"))
        labels = range(len(generator.labels))
        return np.stack([generator.draw(generator.grid(steps), FIRST_SEED, labels) for steps in STEPS])

    def samples(self) -> NDArray[np.uint8] | None:
        """What `draw` drew."""
        file = self.folder / "samples.npy"
        return np.load(file) if file.is_file() else None


@cache
def _key(cell: Cell) -> str:
    parts = [
        code_digest(methods()[cell.method].__module__, ("trainer.loop", "trainer.start")),
        cell.recipe().model_dump_json(),
        dataset(cell.plan).sha256,
        *(f"{role} {lender.key}" for role, lender in cell.lenders.items()),
    ]
    return hashlib.sha256("\n".join([cell.method, *parts]).encode()).hexdigest()[:16]


@cache
def dataset(plan: Plan) -> Dataset:
    """The data set of a plan, which was prepared."""
    return open_dataset(plan.data)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _read(file: Path) -> dict[str, Any] | None:
    return json.loads(file.read_text()) if file.is_file() else None


def _write(file: Path, found: dict[str, Any]) -> None:
    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps(found, indent=2) + "\n")
    partial.replace(file)


def order(cells: Sequence[Cell]) -> list[Cell]:
    """The cells and what they begin with, that first."""
    first = [lender for cell in cells for lender in cell.lenders.values()]
    return list(dict.fromkeys([*first, *cells]))
