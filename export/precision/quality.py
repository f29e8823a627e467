"""What a precision does to the quality of pictures: the figures of `longjump eval`, beside fp32's of the same seeds.

An error says how far pictures are from fp32's, not whether they are worse. The evaluator is the trainer's, whose folder
nothing here imports, so it is called as a person calls it: by its command, in a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from export.runtime.accuracy import QualityChange
from export.runtime.bundle import write_bundle
from export.runtime.flags import CPU

SAMPLES = 2000
"""Of each step count, unless told otherwise."""

DISTANCE, RIGHT_CLASS = "fd_enetlite0", "class_accuracy"

FIGURES = (DISTANCE, "kid_enetlite0", "precision", "recall", "density", "coverage", RIGHT_CLASS)
"""Those of `longjump eval` that are kept, as far as it measured them."""

_FAULT = "longjump eval: error: "

Judge = Callable[[Path, str], dict[str, Any]]
"""The results of `longjump eval` for a bundle, by its folder, in a precision."""


@dataclass(frozen=True)
class Fall:
    """How much worse than fp32's pictures those of a precision may be, at each step count, to be taken unforced."""

    distance: float
    """The share by which DISTANCE may rise."""
    right_class: float
    """What RIGHT_CLASS, a share of all samples, may lose."""


FALLS = {"fp16": Fall(distance=0.01, right_class=0.005), "int8": Fall(distance=0.05, right_class=0.01)}
"""fp16 is to be invisible. int8 may cost less than a step count does: 8 instead of 4 steps brought the demo 9 %."""


@dataclass(frozen=True)
class Evaluation:
    """What `longjump eval` is asked for."""

    data: Path
    samples: int = SAMPLES
    steps: str | None = None
    """As `longjump eval --steps` has it; None: its default."""

    def __call__(self, bundle: Path, precision: str) -> dict[str, Any]:
        """A Judge. The graph runs by ONNX Runtime on the CPU, as for the errors. ValueError says what was wrong."""
        with TemporaryDirectory() as folder:
            out = Path(folder) / "evaluation.json"
            words = ["eval", str(bundle), "--data", str(self.data), "--samples", str(self.samples), "--out", str(out)]
            words += ["--engine", CPU, "--precision", precision]
            words += [] if self.steps is None else ["--steps", self.steps]
            command = [sys.executable, "-P", "-m", "longjump", *words]
            fault = ""
            with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
                assert process.stderr is not None
                try:
                    for line in process.stderr:
                        if line.startswith(_FAULT):
                            fault = line.removeprefix(_FAULT).strip()
                        else:  # its progress
                            print(f"{precision}: {line.rstrip()}", file=sys.stderr)
                except BaseException:
                    process.kill()
                    raise
            if process.returncode:
                said = fault or f"longjump eval ended with {process.returncode}, see above"
                raise ValueError(f"--evaluate {self.data}: {said}")
            found: dict[str, Any] = json.loads(out.read_bytes())
            return found


def compare(
    fields: Mapping[str, Any], contents: Mapping[str, bytes | Path], precisions: Sequence[str], judge: Judge
) -> dict[str, QualityChange]:
    """What the figures of each of `precisions` are beside fp32's.

    `fields` and `contents` are of a bundle that has them all, as `write_bundle` takes them; it is thrown away again.
    Raises what the judge raises.
    """
    with TemporaryDirectory() as folder:
        bundle = write_bundle(Path(folder) / fields["name"], fields, contents).path
        exact = judge(bundle, "fp32")
        return {precision: _change(exact, judge(bundle, precision)) for precision in precisions}


def fall(change: QualityChange, bound: Fall) -> str | None:
    """In what pictures are worse than a bound allows, in words; None if in nothing."""
    for steps, figures in change.steps.items():
        before, after = figures[DISTANCE]
        if after > before * (1 + bound.distance):
            return (
                f"at steps {steps} {DISTANCE} rises from {before:.4g} to {after:.4g} "
                f"({after / before - 1:+.1%}; at most {bound.distance:+.1%} is allowed)"
            )
        before, after = figures.get(RIGHT_CLASS, (0.0, 0.0))
        if after < before - bound.right_class:
            return (
                f"at steps {steps} {RIGHT_CLASS} falls from {before:.1%} to {after:.1%} "
                f"(at most {100 * bound.right_class:g} points are allowed)"
            )
    return None


def _change(exact: Mapping[str, Any], other: Mapping[str, Any]) -> QualityChange:
    """Two results of the same settings side by side."""
    steps = {
        count: {name: (figures[name], other["steps"][count][name]) for name in FIGURES if name in figures}
        for count, figures in exact["steps"].items()
    }
    return QualityChange(settings={**exact["settings"], "made": exact["made"]}, steps=steps)
