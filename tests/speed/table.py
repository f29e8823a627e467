"""`make train-speed`: time and memory of a training step by each derivative backend, as a ratio to flow matching.

The demo's network and pictures' shape on a CPU. All variants take turns in one process, so that what else the machine
does falls on all of them; each one's memory is of a process of its own. It writes the table in docs/training.md.
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
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import torch

from models.build import DiTArchitecture, build
from trainer.device import peak_memory
from trainer.objectives.flow_matching import FlowMatching
from trainer.objectives.meanflow import MeanFlow
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.objective import Objective
from trainer.objectives.parts.tangent import Derivative
from trainer.objectives.parts.target import Batch, Condition
from trainer.objectives.parts.times import TwoTimes
from trainer.optimiser import Optimisers
from trainer.recipe import Optimiser
from trainer.step import Loss

PAGE = Path(__file__).parents[2] / "docs" / "training.md"
BEGIN, END = "<!-- make train-speed -->", "<!-- end -->"
SHAPE, LABELS = (3, 32, 32), 8
NETWORK = DiTArchitecture(patch=4, width=192, depth=6, heads=3)
JUMPS = 0.25
MEANFLOW = ("joint", "forward", "difference", "one-sided")


def objective(name: str) -> Objective:
    """Flow matching, or MeanFlow without guidance by the backend `name`."""
    if name == "flow matching":
        return FlowMatching()
    return MeanFlow(times=TwoTimes(jumps=JUMPS), derivative=Derivative.model_validate({"backend": name}))


def stepper(name: str, rows: int) -> tuple[Callable[[], None], Callable[[], int | None]]:
    """What does one step (loss, backward pass, AdamW), and what tells its floating-point operations afterwards."""
    torch.manual_seed(0)
    flow_map = build(NETWORK, SHAPE, LABELS, "any")
    for weight in flow_map.parameters():
        if not weight.any():  # fresh networks are zero at the end, and zeros are quick
            torch.nn.init.normal_(weight, std=0.02)
    method = objective(name)
    loss, optimisers = Loss(flow_map, method, LABELS), Optimisers(flow_map, Optimiser())
    x0, x1 = torch.randn(2, rows, *SHAPE).unbind()
    batch = Batch(x0, x1, Condition(torch.randint(LABELS, (rows,))), torch.zeros(rows, dtype=torch.bool))
    draws = method.draw(rows, torch.Generator().manual_seed(0), Moment(1, 1))

    def step() -> None:
        loss(batch, draws, Moment(1, 1))[0].backward()
        optimisers.step(1e-5)

    return step, lambda: loss.flops(batch, draws, Moment(1, 1))


def memory(name: str, rows: int) -> int:
    """Bytes of resident memory that two steps take beyond the process before them. For a fresh process."""
    step, _ = stepper(name, rows)
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    for _ in range(2):
        step()
    return peak_memory(torch.device("cpu")) - before


def measured_memory(name: str, rows: int, threads: int) -> int:
    """`memory`, in a process of its own."""
    words = [sys.executable, "-m", "tests.speed.table", "--memory", name, "--rows", str(rows)]
    done = subprocess.run([*words, "--threads", str(threads)], check=True, capture_output=True, text=True)
    return int(json.loads(done.stdout))


def times(names: list[str], rows: int, rounds: int) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Seconds of each variant's steps, taking turns, after two that warm up; and operations of a step."""
    steppers = {name: stepper(name, rows) for name in names}
    found: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds + 2):
        for name, (step, _) in steppers.items():
            begun = time.perf_counter()
            step()
            if turn > 1:
                found[name].append(time.perf_counter() - begun)
    return found, {name: flops() or 0 for name, (_, flops) in steppers.items()}


def table(rows: int, rounds: int, threads: int) -> str:
    """The table as Markdown, under the line that says where it comes from."""
    torch.set_num_threads(threads)
    names = ["flow matching", *MEANFLOW]
    found, flops = times(names, rows, rounds)
    held = {name: measured_memory(name, rows, threads) for name in names}
    base = found["flow matching"]
    lines = [
        f"`make train-speed`, {datetime.now(UTC):%Y-%m-%d}, {processor()}, {threads} "
        f"thread{'s' * (threads > 1)}, torch {torch.__version__}: the demo's DiT at 32x32, batch {rows}, float32, "
        f"{JUMPS:.0%} of the rows with s < t, no guidance; {rounds} steps of each, taking turns; the ratio is the "
        "median of the ratios within a turn, in brackets its quartiles.",
        "",
        "| step | time | ratio | arithmetic | memory | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for name in names:
        ratios = [mine / other for mine, other in zip(found[name], base)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        label = name if name == "flow matching" else f"MeanFlow, `{name}`"
        lines.append(
            f"| {label} | {1000 * statistics.median(found[name]):.0f} ms | {middle:.2f} ({low:.2f} to {high:.2f}) "
            f"| {flops[name] / flops['flow matching']:.2f} | {held[name] / 2**20:.0f} MiB "
            f"| {held[name] / held['flow matching']:.2f} |"
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
    parser.add_argument("--rounds", type=int, default=20, help="steps of each variant (default: 20)")
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
