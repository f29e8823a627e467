"""Measure a bundle's server on this machine, each figure beside its target and its floor or peers of the same run.

    longjump bench                            the demo, everything (about six minutes)
    longjump bench BUNDLE --only idle kill    another bundle, some measurements
    longjump bench BUNDLE --only engines      T(b) of its engines and precisions, and how far that is from the limit
    longjump bench --peers                    mosec and a plain FastAPI application beside it (a source checkout only)

    launch      longjump serve to ready, with its parts
    memory      proportional memory of all processes
    idle        one request at a time, in turn with a raw engine
    throughput  a closed loop, in rounds with raw engines of the same split
    mixed       90 % of the fewest and 10 % of the most steps, open loop at 70 % of capacity
    overload    twice the capacity, open loop: over an engine that only sleeps, then over the real one
    kill        kill -9 of all workers under load
    engines     T(b) of each engine and precision, decoder, encoder and PNG, beside a bare loop and the arithmetic floor

The floor is the raw engine in processes of their own: noise, engine call, decode, PNG, one after another, without a
server. Clients share the machine with the server. Open loops draw their arrivals before the run, and count latency
from the intended sending. Close other programs first: the figures are of the machine as it is.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from export.runtime.bundle import open_bundle
from export.runtime.target import check_target
from server import serve
from server.arguments import positive
from server.bench import engines, idle, kill, launch, memory, mixed, overload, throughput
from server.bench.figures import Target, table
from server.bench.peers import find_peers
from server.bench.processes import used_by_all, used_by_us
from server.bench.setup import Setup
from server.workers import default_bundle, default_threads

MEASUREMENTS = {
    "launch": launch.measure,
    "memory": memory.measure,
    "idle": idle.measure,
    "throughput": throughput.measure,
    "mixed": mixed.measure,
    "overload": overload.measure,
    "kill": kill.measure,
    "engines": engines.measure,
}
"""In the order in which they run: memory while no raw engine shares libraries with the server."""


DISTURBED = 0.05
"""Of a core, in use by other programs, from which on figures are marked."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `longjump bench`."""
    parser.add_argument(
        "bundle", nargs="?", type=Path, metavar="BUNDLE", help="folder of the bundle (default: the demo)"
    )
    parser.add_argument(
        "--only", nargs="+", choices=MEASUREMENTS, metavar="NAME", help="these measurements (default: all)"
    )
    defaults = argparse.ArgumentParser()
    serve.add_arguments(defaults)
    parser.add_argument(
        "--cpu-workers",
        type=positive,
        default=defaults.get_default("cpu_workers"),
        metavar="N",
        help="as for longjump serve, and processes of the floor (default: %(default)s)",
    )
    parser.add_argument(
        "--threads",
        type=positive,
        metavar="N",
        help="as for longjump serve, and for each process of the floor (default: as there)",
    )
    parser.add_argument("--launches", type=positive, default=5, metavar="N", help="launches (default: %(default)s)")
    parser.add_argument(
        "--requests", type=positive, default=200, metavar="N", help="idle requests (default: %(default)s)"
    )
    parser.add_argument(
        "--seconds",
        type=_seconds,
        default=10.0,
        metavar="S",
        help="of one stretch of load; mixed load takes three (default: %(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the engines' times there too")
    parser.add_argument(
        "--peers", action="store_true", help="measure the peers too (pip install mosec; about twice the time)"
    )


def run(args: argparse.Namespace) -> int:
    """Measure and print; 0, whether the targets are met or not."""
    check_json(args.json, args.only)
    bundle = default_bundle(args.bundle)
    manifest = open_bundle(bundle, engines=False).manifest
    threads = args.threads or default_threads(args.cpu_workers)
    targets: list[Target] = []
    with TemporaryDirectory() as folder:
        setup = Setup(
            bundle,
            args.cpu_workers,
            threads,
            args.seconds,
            args.launches,
            args.requests,
            (min(manifest.steps), max(manifest.steps)),
            manifest.kind == "image",
            Path(folder),
            find_peers(bundle, args.cpu_workers, threads) if args.peers else (),
            args.json,
        )
        print(f"{manifest.name}: {setup.workers} worker processes of {setup.threads} threads")
        with setup.ours.start() as first:
            print(f"first start, which measures T(b): {first.seconds:.2f} s")
        for name, measure in MEASUREMENTS.items():
            if args.only is None or name in args.only:
                print(flush=True)
                targets += _undisturbed(measure, setup)
    print(f"\n{table(targets)}\n{sum(target.met for target in targets)} of {len(targets)} targets met")
    return 0


def check_json(file: Path | None, only: Sequence[str] | None) -> None:
    """Raise ValueError or OSError, before anything is measured, unless --json can be written and has what to hold."""
    if file is None:
        return
    if only is not None and "engines" not in only:
        raise ValueError(f"--json {file} is for the times of engines; add them: --only {' '.join(only)} engines")
    check_target(file)


def _undisturbed(measure: Callable[[Setup], list[Target]], setup: Setup) -> list[Target]:
    """Measure, and say so if other programs took part of the machine: the figures are not of this server then."""
    begin, others = time.monotonic(), used_by_all() - used_by_us()
    targets = measure(setup)
    share = (used_by_all() - used_by_us() - others) / (time.monotonic() - begin)
    if share > DISTURBED:
        print(f"DISTURBED: other programs used {share:.0%} of a core meanwhile")
    return targets


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0 and below 3600")
    return seconds
