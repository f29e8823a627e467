"""When all steps in one graph beat the loop of jumps: `python -m tests.bench.unrolled BUNDLE [--rounds N]`.

BUNDLE has generate_<N>.onnx for some N (`longjump export BUNDLE --out B --unroll 1,2,4,8`). For each N the loop and the
graph take turns on one thread, noise and decoder included; printed are milliseconds of both, and the median of the
ratio within a round, of time and of processor time, which other programs disturb less.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from export.generate import Request, draw
from export.runtime.bundle import Bundle, open_bundle
from export.runtime.engines import Engine, open_engine
from export.runtime.manifest import unrolled_file
from export.runtime.unrolled import Unrolled, open_unrolled

ROWS = (1, 8)
STINT = 4
"""Runs in a row, of which the first is not counted."""


def stint(task: Callable[[], object]) -> tuple[float, float]:
    """The least seconds and processor seconds of a stint."""
    pairs = []
    for _ in range(STINT):
        start, spent = time.perf_counter(), time.process_time()
        task()
        pairs.append((time.perf_counter() - start, time.process_time() - spent))
    wall, cpu = zip(*pairs[1:], strict=True)
    return min(wall), min(cpu)


def by_loop(engine: Engine, request: Request) -> object:
    """Pictures by one jump after another."""
    return engine.decode(draw(engine, request))


def by_graph(unrolled: Unrolled, request: Request) -> object:
    """The same by one run."""
    return unrolled.generate(request.seeds, request.labels, request.guidance)


def measure(bundle: Bundle, rounds: int) -> list[str]:
    """The lines of the table."""
    engine = open_engine(bundle, threads=1)
    lines = ["| steps | rows | loop (ms) | one graph (ms) | of the loop: time, CPU |", "|---|---|---|---|---|"]
    for steps in bundle.manifest.steps:
        if unrolled_file(steps) not in bundle.manifest.files:
            continue
        unrolled = open_unrolled(bundle, steps, threads=1)
        for rows in ROWS:
            request = Request(range(rows), [0] * rows, steps, bundle.manifest.check_guidance(None))
            tasks = [partial(by_loop, engine, request), partial(by_graph, unrolled, request)]
            pairs = [[stint(task) for task in tasks] for _ in range(rounds)]
            loops, graphs = ([pair[side][0] for pair in pairs] for side in (0, 1))
            ratios = [statistics.median(graph[part] / loop[part] for loop, graph in pairs) for part in (0, 1)]
            lines.append(
                f"| {steps} | {rows} | {1000 * statistics.median(loops):.1f} | {1000 * statistics.median(graphs):.1f} "
                f"| {ratios[0]:.3f}, {ratios[1]:.3f} |"
            )
    return lines


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    before = os.getloadavg()[0]
    print("\n".join(measure(open_bundle(args.bundle), args.rounds)))
    print(f"\none thread, {args.rounds} rounds; load average {before:.1f} before, {os.getloadavg()[0]:.1f} after")


if __name__ == "__main__":
    main()
