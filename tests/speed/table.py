"""`make train-speed`: time and memory of a training step of every method, as a ratio to flow matching.

The demo's network and pictures' shape on a CPU, each method with its defaults, and the derivative's backends beside the
default one. All variants take turns in one process, so that what else the machine does falls on all of them; each one's
memory is of a process of its own. It writes the table in docs/training.md.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from models.build import DiTArchitecture, build
from models.checkpoint import CheckpointConfig
from trainer.company import Lender, Lenders
from trainer.data.arrays import Split
from trainer.data.dataset import Dataset
from trainer.device import peak_memory
from trainer.objectives import methods
from trainer.processes import Processes
from trainer.recipe import Recipe, parse_recipe
from trainer.training import Training

PAGE = Path(__file__).parents[2] / "docs" / "training.md"
BEGIN, END = "<!-- make train-speed -->", "<!-- end -->"
SHAPE, LABELS = (3, 32, 32), 8
NETWORK = DiTArchitecture(patch=4, width=192, depth=6, heads=3)
STEPS = 1000
"""Length of the run whose middle is measured: schedules are half-way, first phases over."""

BASE = "flow-matching"
BESIDE: dict[str, dict[str, Any]] = {
    "meanflow, `joint`": {"method": "meanflow", "derivative": {"backend": "joint"}},
    "meanflow, `difference`": {"method": "meanflow", "derivative": {"backend": "difference"}},
    "meanflow, `one-sided`": {"method": "meanflow", "derivative": {"backend": "one-sided"}},
    "imf, with a head": {"method": "imf", "velocity": "head"},
    "alpha-flow, at alpha 0": {"method": "alpha-flow", "alpha": 0.0},
}
"""Variants beside the methods with their defaults; alpha-Flow's is two legs, half-way down its curriculum."""


def variants() -> dict[str, dict[str, Any]]:
    """The objective of each row, flow matching first."""
    plain = {name: {"method": name} for name in (BASE, *sorted(methods().keys() - {BASE}))}
    rows: dict[str, dict[str, Any]] = {}
    for name, settings in plain.items():
        first = {"flow_matching_steps": 0} if "flow_matching_steps" in methods()[name].model_fields else {}
        rows[name] = settings | first
        rows |= {beside: given for beside, given in BESIDE.items() if given["method"] == name}
    return rows


class Stepper:
    """The middle of a run of one variant, a step at a time: batch, loss, backward pass, AdamW, averages."""

    def __init__(self, objective: dict[str, Any], rows: int) -> None:
        recipe = parse_recipe(
            {
                "kind": "image",
                "model": NETWORK.model_dump(),
                "objective": objective,
                "optimiser": {"lr": 1.0e-5},
                "run": {"steps": STEPS, "batch": rows, "sample_steps": [1]},
            },
            "train-speed",
        )
        self.training = Training(recipe, pictures(rows), Processes("cpu"), teachers(recipe))
        shake(self.training.flow_map)
        self.step = STEPS // 2
        self.flops: list[int] = []
        self.counting = 0.0  # seconds of counting, which no step needs
        count = self.training.alone.flops

        def counted(*given: Any) -> int | None:
            begun = time.perf_counter()
            found = count(*given)
            self.flops.append(found or 0)
            self.counting += time.perf_counter() - begun
            return found

        self.training.alone.flops = counted  # type: ignore[method-assign]

    def __call__(self) -> float:
        """Do a step, and return its seconds."""
        self.counting, begun = 0.0, time.perf_counter()
        self.step += 1
        self.training.step(self.step)
        return time.perf_counter() - begun - self.counting


def pictures(rows: int) -> Dataset:
    """A batch of noise."""
    images = np.random.default_rng(0).integers(0, 256, (rows, *SHAPE[1:], SHAPE[0]), dtype=np.uint8)
    classes = [str(label) for label in range(LABELS)]
    return Dataset(
        "noise", "image", classes, Split(images, np.arange(rows) % LABELS), None, {"name": "noise"}, "0" * 64
    )


def teachers(recipe: Recipe) -> Lenders:
    """A teacher of the same size for a method that needs one, and a weak one for autoguidance."""
    if recipe.objective.teacher != "required":
        return Lenders()
    weak = getattr(recipe.objective, "autoguidance", None) is not None
    return Lenders(teacher("strong"), teacher("weak") if weak else None)


def teacher(name: str) -> Lender:
    """A network of random weights; the name stands for their SHA-256."""
    config = CheckpointConfig(
        method=BASE,
        kind="image",
        shape=SHAPE,
        labels=tuple(str(label) for label in range(LABELS)),
        architecture=NETWORK,
        span="velocity",
        grids={},
        emas=(),
        step=1,
        recipe={},
        data={},
    )
    flow_map = build(NETWORK, SHAPE, LABELS, "velocity")
    shake(flow_map)
    return Lender(flow_map.eval().requires_grad_(False), config, {"sha256": name})


def shake(network: nn.Module) -> None:
    """Fresh networks are zero at the end, and zeros are quick."""
    for weight in network.parameters():
        if not weight.any():
            torch.nn.init.normal_(weight, std=0.02)


def memory(name: str, rows: int) -> int:
    """Bytes of resident memory that two steps take beyond the process before them. For a fresh process."""
    step = Stepper(variants()[name], rows)
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    for _ in range(2):
        step()
    return peak_memory(torch.device("cpu")) - before


def measured_memory(name: str, rows: int, threads: int) -> int:
    """`memory`, in a process of its own."""
    words = [sys.executable, "-m", "tests.speed.table", "--memory", name, "--rows", str(rows)]
    done = subprocess.run([*words, "--threads", str(threads)], check=True, capture_output=True, text=True)
    return int(json.loads(done.stdout))


def times(names: list[str], rows: int, rounds: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds of each variant's steps, taking turns, after one that warms up; and operations of a step on average."""
    steppers = {name: Stepper(variants()[name], rows) for name in names}
    found: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds + 1):
        for name, step in steppers.items():
            seconds = step()
            if turn:
                found[name].append(seconds)
    return found, {name: statistics.mean(step.flops) for name, step in steppers.items()}


def table(rows: int, rounds: int, threads: int) -> str:
    """The table as Markdown, under the line that says where it comes from."""
    torch.set_num_threads(threads)
    names = list(variants())
    found, flops = times(names, rows, rounds)
    held = {name: measured_memory(name, rows, threads) for name in names}
    base = found[BASE]
    lines = [
        f"`make train-speed`, {datetime.now(UTC):%Y-%m-%d}, {processor()}, {threads} "
        f"thread{'s' * (threads > 1)}, torch {torch.__version__}: the demo's DiT at 32x32, batch {rows}, float32, "
        f"each method with its defaults, no guidance, a teacher of the same size; {rounds} steps of each, taking "
        "turns; the ratio is the median of the ratios within a turn, in brackets its quartiles.",
        "",
        "| step | time | ratio | arithmetic | memory | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for name in names:
        low, middle, high = statistics.quantiles([mine / other for mine, other in zip(found[name], base)], n=4)
        lines.append(
            f"| {name} | {1000 * statistics.median(found[name]):.0f} ms | {middle:.2f} ({low:.2f} to {high:.2f}) "
            f"| {flops[name] / flops[BASE]:.2f} | {held[name] / 2**20:.0f} MiB | {held[name] / held[BASE]:.2f} |"
        )
    return "\n".join(lines)


def processor() -> str:
    """The CPU's name, as Linux tells it."""
    information = Path("/proc/cpuinfo")
    text = information.read_text() if information.exists() else ""
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(prog="make train-speed", description=__doc__)
    parser.add_argument("--rows", type=int, default=32, help="of a batch (default: 32)")
    parser.add_argument("--rounds", type=int, default=15, help="steps of each variant (default: 15)")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: 1)")
    parser.add_argument("--memory", metavar="VARIANT", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.memory:
        print(json.dumps(memory(args.memory, args.rows)))
        return
    text = table(args.rows, args.rounds, args.threads)
    print(text)
    page = PAGE.read_text("utf-8")
    head, _, rest = page.partition(BEGIN)
    partial = PAGE.with_name(f".{PAGE.name}.partial")
    partial.write_text(f"{head}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", "utf-8")
    partial.replace(PAGE)
    print(f"\nwritten into {PAGE}")


if __name__ == "__main__":
    main()
