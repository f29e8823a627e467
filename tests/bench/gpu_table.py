"""Every engine on an NVIDIA GPU beside PyTorch, and what HTTP leaves of it: the tables for docs/engines.md, in one run.

    python -m tests.bench.gpu_table [--seconds S]

Some ten minutes on a machine with a GPU; elsewhere it prints `not run` and why. It wants the extras gpu, tensorrt and
train, and not cpu. The networks are of the demo's size, and a DiT-B/4 for 32x32 pictures, both with random weights. A
figure is the median time of one jump, from arrays in memory to arrays in memory; the variants take turns, so that all
see the same machine.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.gpu.present import missing

if TYPE_CHECKING:
    from export.runtime.bundle import Bundle
    from models.flow_map import FlowMap

SIZES = {"demo": (192, 6, 3), "DiT-B/4": (768, 12, 12)}
"""Width, depth, heads."""

BATCHES = (1, 8, 32, 64)
WARM, ROUNDS = 3, 15
HTTP_LIMIT = 0.8

Jump = Callable[..., Any]


def engines(bundle: Bundle, precision: str) -> dict[str, Jump]:
    """The jumps of a bundle in one precision; what does not load is left out with a word."""
    from export.runtime.engines import open_engine
    from export.runtime.engines.device import CupyDevice
    from export.runtime.engines.feed import named
    from export.runtime.engines.session import open_session
    from export.runtime.gpu.bound import BoundGraph
    from export.runtime.gpu.buckets import buckets
    from export.runtime.gpu.jump import OUTPUT, jump_tensors
    from export.runtime.manifest import jump_file

    model, file = bundle.read(jump_file(precision)), jump_file(precision)
    tensors = jump_tensors(bundle.manifest)
    output = tensors.pop(OUTPUT)

    def plain() -> Jump:
        session = open_session(model, file, None, "CUDAExecutionProvider", {"use_tf32": "0"})
        return lambda *inputs: session.run((OUTPUT,), named(*inputs))[0]

    def bound(capture: bool, draws: bool = False) -> Jump:
        graph = BoundGraph(model, file, CupyDevice(), tensors, output, buckets(BATCHES[-1]), capture, draws)
        if graph.captured != capture:
            raise ValueError(f"{file}: ONNX Runtime makes no CUDA graph of it")
        seeds = np.arange(BATCHES[-1], dtype=np.uint64)
        return lambda z, *inputs: graph.run(named(z, *inputs), seeds[: len(z)] if draws else None)

    ways: dict[str, Callable[[], Jump]] = {
        "ORT CUDA": plain,
        "+ binding": lambda: bound(False),
        "+ graphs": lambda: bound(True),
        "z not sent": lambda: bound(True, draws=True),
        "TensorRT-RTX": lambda: open_engine(bundle, None, "tensorrt-rtx", precision).jump,
        "TensorRT": lambda: open_engine(bundle, None, "tensorrt", precision).jump,
    }
    found = {}
    for name, load in ways.items():
        try:
            found[name] = load()
        except Exception as error:  # a table of what runs
            print(f"    {name}, {precision}: left out: {' '.join(str(error).split())[:200]}")
    return found


def torch_jumps(flow_map: FlowMap, precision: str) -> dict[str, Jump]:
    """PyTorch's, eager and compiled; fp16 by autocast."""
    import torch

    from models.numpy_jump import numpy_jump

    flow_map.cuda().eval()
    eager = numpy_jump(flow_map)
    compiled = copy.deepcopy(flow_map)
    compiled.jump = torch.compile(compiled.jump)  # type: ignore[method-assign]

    def cast(jump: Jump) -> Jump:
        def run(*inputs: Any) -> Any:
            with torch.autocast("cuda", torch.float16, enabled=precision == "fp16"):
                return jump(*inputs)

        return run

    return {"PyTorch": cast(eager), "PyTorch compiled": cast(numpy_jump(compiled))}


def medians(jumps: dict[str, Jump], bundle: Bundle, rows: int) -> dict[str, float]:
    """Seconds of a jump of each, taking turns."""
    from export.runtime.engines.trial import zeros

    inputs = zeros(bundle.manifest, rows)
    inputs = inputs._replace(z=np.random.default_rng(0).standard_normal(inputs.z.shape).astype(np.float32))
    times: dict[str, list[float]] = {name: [] for name in jumps}
    for number in range(WARM + ROUNDS):
        for name, jump in jumps.items():
            start = time.perf_counter()
            jump(*inputs)
            if number >= WARM:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(found) for name, found in times.items()}


def through_http(bundle: Bundle, seconds: float, folder: Path) -> tuple[float, float]:
    """One-step pictures per second of the engine in a loop of its largest batch, decoded; and through HTTP as PNGs."""
    from export.runtime.engines import Drawing, open_engine
    from export.runtime.engines.trial import zeros
    from server.bench.contenders import longjump
    from server.bench.setup import Setup
    from server.bench.throughput import rate

    engine = open_engine(bundle)
    engine.warm()
    assert isinstance(engine, Drawing)
    inputs, seeds = zeros(bundle.manifest, BATCHES[-1]), np.arange(BATCHES[-1], dtype=np.uint64)
    end, made = time.perf_counter() + seconds, 0
    while time.perf_counter() < end:
        engine.decode(engine.draw(seeds, *inputs))
        made += BATCHES[-1]
    setup = Setup(bundle.path, 1, 1, seconds, 1, 1, (1, 1), True, folder)
    contender = longjump(bundle.path, ("--max-rows", str(BATCHES[-1]), "--cost-cache", str(folder)))
    with contender.start() as server:
        return made / seconds, rate(setup, contender, server.address, setup.few)


def compiled_too(bundle: Bundle) -> Bundle:
    """The bundle with an engine of each TensorRT library that is here."""
    from export.runtime.engines.libraries import LIBRARIES, library_stamp, load_library
    from export.runtime.engines.machine import Gpu, find_gpu
    from export.tensorrt.add import add_engines
    from export.tensorrt.cache import EngineCache
    from export.tensorrt.compile import batch_ranges
    from export.tensorrt.order import Order

    gpu = find_gpu()
    assert isinstance(gpu, Gpu)
    for library in LIBRARIES.values():
        if library_stamp(library) is not None:
            order = Order(library, load_library(library), ("current",), gpu, batch_ranges(BATCHES[-1]))
            try:
                bundle = add_engines(bundle, order, print, EngineCache(None))
            except ValueError as error:
                print(f"    {library.backend}: left out: {error}")
    return bundle


def main() -> int:
    """Print the tables, or why not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="of one stretch of load (default: %(default)s)")
    args = parser.parse_args()
    if gone := missing():
        print(f"not run: {gone}")
        return 0
    from export.runtime.bundle import open_bundle
    from export.runtime.engines.machine import find_gpu
    from tests.bench.cpu_options import write_dit

    print(f"{find_gpu()}, {time.strftime('%Y-%m-%d')}: milliseconds of one jump, memory to memory, medians of {ROUNDS}")
    with TemporaryDirectory() as place:
        for name, (width, depth, heads) in SIZES.items():
            folder = Path(place) / name.replace("/", "-")
            flow_map = write_dit(folder, width, depth, heads)
            bundle = compiled_too(open_bundle(folder))
            for precision in ("fp32", "fp16"):
                jumps = {**engines(bundle, precision), **torch_jumps(flow_map, precision)}
                print(f"\n| {name}, {precision}: rows | {' | '.join(jumps)} |\n|---|{'---|' * len(jumps)}")
                for rows in BATCHES:
                    found = medians(jumps, bundle, rows)
                    print(f"| {rows} | {' | '.join(f'{1000 * found[each]:.3f}' for each in jumps)} |", flush=True)
            own, served = through_http(bundle, args.seconds, Path(place) / "costs")
            met = "met" if served >= HTTP_LIMIT * own else "MISSED"
            print(
                f"\n{name}: {own:.0f} pictures/s by the engine, {served:.0f} through HTTP as PNGs: {served / own:.2f}"
            )
            print(f"  of at least {HTTP_LIMIT}: {met}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
