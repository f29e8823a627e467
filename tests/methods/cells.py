"""One trained method on one problem: run once, kept by what decides it, taken up again where it was cut off."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from tests.methods.code import ROOT, code_digest
from tests.methods.problems import PROBLEMS
from trainer.objectives import methods
from trainer.recipe import Recipe, load_recipe
from trainer.start import settle

CACHE = ROOT / "runs" / "methods"
TEACHER = "flow-matching"


@dataclass(frozen=True)
class Cell:
    """A method's points recipe, perhaps with some settings changed, on a problem."""

    method: str
    problem: str
    overrides: tuple[str, ...] = field(default=())

    @property
    def teacher(self) -> Cell | None:
        """The flow matching on the same data, for a method that distils one."""
        return Cell(TEACHER, self.problem) if methods()[self.method].teacher == "required" else None

    def recipe(self) -> Recipe:
        """As `longjump train` would resolve it. Nothing is scored on the way."""
        recipe = load_recipe(f"points/{self.method}", ["run.score=0", "run.save_every=1000000", *self.overrides])
        given = {} if self.teacher is None else {"teacher": Path("teacher")}
        return settle(recipe, given)[0]  # type: ignore[arg-type]

    @property
    def key(self) -> str:
        """Of code, recipe, data and teacher: another one of any, another result."""
        return _key(self)

    @property
    def folder(self) -> Path:
        """Where its run and its result lie."""
        return CACHE / f"{self.method}-{self.problem.replace(' ', '-')}-{self.key}"

    def result(self) -> dict[str, Any] | None:
        """What was measured, or None where it was not run."""
        file = self.folder / "result.json"
        return json.loads(file.read_text()) if file.is_file() else None

    def run(self) -> dict[str, Any]:
        """Train where need be, measure, keep. The teacher must have been run."""
        if (known := self.result()) is not None:
            return known
        from tests.methods.measure import measure
        from trainer.loop import train
        from trainer.start import read_lenders

        problem, out = PROBLEMS[self.problem], self.folder / "run"
        given = {} if self.teacher is None else {"teacher": self.teacher.folder / "run"}
        begun = time.monotonic()
        checkpoint = train(
            self.recipe(), problem.dataset(), out, resume=out.exists(), lenders=read_lenders(given)  # type: ignore[arg-type]
        )  # fmt: skip
        seconds = time.monotonic() - begun
        found = {"method": self.method, "problem": self.problem, "overrides": self.overrides, "key": self.key}
        found |= {"seconds": seconds, "date": time.strftime("%Y-%m-%d", time.gmtime()), **measure(checkpoint, problem)}
        partial = self.folder / "result.json.partial"
        partial.write_text(json.dumps(found, indent=2) + "\n")
        partial.replace(self.folder / "result.json")
        return found


@cache
def _key(cell: Cell) -> str:
    parts = [
        code_digest(methods()[cell.method].__module__),
        cell.recipe().model_dump_json(),
        repr(PROBLEMS[cell.problem].distribution.parameters),
        "" if cell.teacher is None else cell.teacher.key,
    ]
    return hashlib.sha256("\n".join([cell.method, cell.problem, *parts]).encode()).hexdigest()[:16]


def run_all(cells: Sequence[Cell], workers: int = 2, tell: Callable[[str], None] = print) -> list[Cell]:
    """Run what is not there yet, each in a process of its own with one thread, `workers` at a time, teachers first.

    Returns:
        The cells that failed; each said why.
    """
    wanted = [cell for cell in dict.fromkeys(cells) if cell.result() is None]
    teachers = [cell.teacher for cell in wanted if cell.teacher is not None and cell.teacher.result() is None]
    first = [cell for cell in dict.fromkeys([*teachers, *wanted]) if cell.teacher is None]
    failed: list[Cell] = []
    # Cells without a teacher are what others wait for, so they come first; the longest queue is then the last.
    for group in (first, [cell for cell in wanted if cell.teacher is not None]):
        with ThreadPoolExecutor(workers) as pool:
            for cell, error in zip(group, pool.map(_process, group), strict=True):
                if error:
                    failed.append(cell)
                    tell(f"{cell.method} on {cell.problem} failed: {error}")
                else:
                    tell(f"{cell.method} on {cell.problem}: {(cell.result() or {}).get('seconds', 0):.0f} s")
    return failed


def _process(cell: Cell) -> str:
    words = [sys.executable, "-m", "tests.methods.cells", json.dumps([cell.method, cell.problem, *cell.overrides])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["no word"])[-1]


if __name__ == "__main__":
    method, problem, *overrides = json.loads(sys.argv[1])
    Cell(method, problem, tuple(overrides)).run()
