"""T(b) of every engine and precision of the bundle that runs here, beside the arithmetic floor and a bare loop.

The floor, of engines on the CPU, is the larger of two times: the graph's operations at the machine's rate of float32
matrix products, and its weights and activations at its bandwidth. The bare loop is the same ONNX file in ONNX Runtime
as it comes, with as many threads. It is a process of its own, for the same reasons as the floor of the other
measurements.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.runtime.target import write_file
from server.bench.contenders import environment
from server.bench.figures import Target
from server.bench.floor import BATCHES
from server.bench.setup import SETTLE_SECONDS, Setup

if TYPE_CHECKING:
    from export.runtime.bundle import Bundle
    from export.runtime.engines import Engine

LIMIT = 1.1
"""T(b) over that of the bare loop."""

LIMITS_SECONDS = 1.0
"""For which the machine's own limits are measured."""

STINT = 4
"""Runs of one thing in a row, of which the first is not counted: it finds the caches full of another's."""

ROUNDS = 3
"""The fewest, however long they take."""

HEADS = (
    "engine",
    "precision",
    "rows",
    "T(b) ms",
    "bare ms",
    "floor ms",
    "of the limit",
    "bound by",
    "decode",
    "PNG",
    "to z",
)


ENDS = ("decode", "encode", "encoder")
"""What is timed beside the network: the decoder, one PNG, the encoder of latents."""


def measure(setup: Setup) -> list[Target]:
    """All engines in turn, for `setup.seconds`; a target for each, of the median over batches."""
    command = [sys.executable, "-P", "-m", "server.bench.engines", str(setup.bundle)]
    command += [str(setup.threads), str(setup.seconds)]
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment(), check=False)
    if ran.returncode:
        raise OSError(f"the measurement of engines ended with {ran.returncode}")
    report = json.loads(ran.stdout)
    if setup.json is not None:
        write_file(setup.json, (json.dumps(report, indent=1) + "\n").encode())
    machine = report["machine"]
    rounds = report["rounds"]
    print(f"engines, {setup.threads} threads, {rounds} rounds in turn: medians; decode, PNG, encoder to z in ms")
    print(
        f"  the machine's limits (numpy): {machine['flops'] / 1e9:.1f} GFLOP/s of float32 products, "
        f"{machine['bytes'] / 1e9:.1f} GB/s; one row is {report['flops_per_row'] / 1e9:.3g} GFLOP"
    )
    for line in _table(report["cells"]):
        print(f"  {line}")
    for reason in report["left_out"]:
        print(f"  left out: {reason}")
    return [_target(key, report["cells"]) for key in dict.fromkeys(map(_key, report["cells"]))]


def _target(key: tuple[str, str], cells: Sequence[dict[str, Any]]) -> Target:
    own = [cell for cell in cells if _key(cell) == key and cell["bare"] is not None]
    ratios = [cell["network"] / cell["bare"] for cell in own]
    beside = ", ".join(f"{ratio:.2f} at {cell['rows']}" for ratio, cell in zip(ratios, own))
    ratio = statistics.median(ratios) if ratios else float("nan")
    return Target(f"T(b) of {' '.join(key)}, of a bare loop's", ratio, LIMIT, beside=beside or "no bare loop on a GPU")


def _key(cell: dict[str, Any]) -> tuple[str, str]:
    return cell["engine"], cell["precision"]


def _table(cells: Sequence[dict[str, Any]]) -> list[str]:
    """The cells as aligned text."""
    rows: list[tuple[str, ...]] = [HEADS]
    for cell in cells:
        times = [f"{1000 * cell[name]:.2f}" if cell[name] is not None else "-" for name in ("network", "bare", "floor")]
        share = f"{cell['floor'] / cell['network']:.0%}" if cell["floor"] is not None else "-"
        ends = [f"{1000 * cell[name]:.2f}" if cell[name] is not None else "-" for name in ENDS]
        rows.append((*_key(cell), str(cell["rows"]), *times, share, cell["bound"] or "-", *ends))
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def run(bundle: Bundle, threads: int, seconds: float) -> dict[str, Any]:
    """The report: what the machine can do, T(b) and the rest for each engine, precision and batch, in seconds."""
    from export.runtime.arithmetic import count
    from export.runtime.engines.trial import zeros
    from export.runtime.manifest import jump_file
    from server.bench.limits import limits

    machine = limits(threads, LIMITS_SECONDS)
    engines, left_out = _open_all(bundle, threads)
    fp32 = bundle.read(jump_file("fp32"))
    tasks: dict[tuple[int, int], dict[str, Callable[[], object]]] = {}
    cells: list[dict[str, Any]] = []
    for number, engine in enumerate(engines):
        bare = _bare(bundle, engine, threads)
        for rows in BATCHES:
            inputs = zeros(bundle.manifest, rows)
            feed = {name: value for name, value in inputs._asdict().items() if value is not None}
            work = count(fp32, feed)
            moved = bundle.manifest.files[engine.choice.entry.file].bytes + work.activations
            floors = {"arithmetic": work.flops / machine.flops, "memory": moved / machine.bytes}
            bound = max(floors, key=lambda name: floors[name])
            cell: dict[str, Any] = {
                "engine": engine.choice.name,
                "precision": engine.choice.entry.precision,
                "rows": rows,
            }
            cell |= {"flops": work.flops, "bytes": moved, "bound": bound, "floor": floors[bound]}
            if bare is None:
                cell |= {"bound": None, "floor": None}  # numpy's limits are not a GPU's
            cells.append(cell)
            tasks[number, rows] = _tasks(engine, bare, inputs, feed)
    times, rounds = _in_turn(tasks, seconds)
    for cell, found in zip(cells, times.values(), strict=True):
        cell |= {name: found.get(name) for name in ("network", "bare", *ENDS)}
    return {
        "bundle": bundle.manifest.name,
        "digest": bundle.manifest.digest,
        "threads": threads,
        "rounds": rounds,
        "machine": machine._asdict(),
        "flops_per_row": cells[0]["flops"] / BATCHES[0],
        "cells": cells,
        "left_out": left_out,
    }


def _open_all(bundle: Bundle, threads: int) -> tuple[list[Engine], list[str]]:
    """Every engine in every precision that runs here, warm, and a reason for each engine that does not."""
    from export.runtime.engines import open_engine
    from export.runtime.flags import CPU, ENGINES

    engines, left_out = [], {}
    offered = {entry.backend for entry in bundle.manifest.engines}
    for name in ENGINES:
        if name not in offered and name.split("-")[0] not in offered:
            continue
        for precision in bundle.manifest.precisions:
            try:
                engines.append(open_engine(bundle, threads, name, precision))
                engines[-1].warm()
            except (ValueError, OSError, ModuleNotFoundError) as error:
                if name == CPU:
                    raise
                left_out[name] = str(error)
    return engines, list(left_out.values())


def _bare(bundle: Bundle, engine: Engine, threads: int) -> Any:
    """The engine's own file in ONNX Runtime with nothing set but the threads; None for an engine on a GPU."""
    import onnxruntime as ort

    from export.runtime.flags import CPU

    if engine.choice.name != CPU:
        return None
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    model = bundle.read(engine.choice.entry.file)
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _tasks(engine: Engine, bare: Any, inputs: Any, feed: dict[str, Any]) -> dict[str, Callable[[], object]]:
    """What is timed for one engine and batch."""
    from export.runtime.images import encode

    tasks: dict[str, Callable[[], object]] = {"network": lambda: engine.jump(*inputs)}
    if bare is not None:
        tasks["bare"] = lambda: bare.run(None, feed)
    if engine.manifest.kind == "image":
        z = engine.jump(*inputs)
        images = engine.decode(z)
        tasks["decode"] = lambda: engine.decode(z)
        tasks["encode"] = lambda: encode(images[0], "png")
        if engine.manifest.encodes:
            tasks["encoder"] = lambda: engine.encode(images)
    return tasks


def _in_turn(
    tasks: dict[tuple[int, int], dict[str, Callable[[], object]]], seconds: float
) -> tuple[dict[tuple[int, int], dict[str, float]], int]:
    """The median seconds of each task, in rounds over all of them, and how many rounds there were."""
    times: dict[tuple[int, int], dict[str, list[float]]] = {
        key: {name: [] for name in named} for key, named in tasks.items()
    }
    begin, rounds = time.monotonic(), 0
    while rounds < ROUNDS or time.monotonic() < begin + seconds:
        for key, named in tasks.items():
            for name, task in named.items():
                time.sleep(SETTLE_SECONDS)  # the threads of the one before stop spinning
                for place in range(STINT):
                    start = time.perf_counter()
                    task()
                    if place:
                        times[key][name].append(time.perf_counter() - start)
        rounds += 1
    medians = {key: {name: statistics.median(each) for name, each in named.items()} for key, named in times.items()}
    return medians, rounds


def main(arguments: Sequence[str]) -> None:
    """The process: prints the report as JSON."""
    bundle, threads, seconds = arguments
    os.environ["OPENBLAS_NUM_THREADS"] = threads  # before numpy is imported
    from export.runtime.bundle import open_bundle

    print(json.dumps(run(open_bundle(Path(bundle)), int(threads), float(seconds))))


if __name__ == "__main__":
    main(sys.argv[1:])
