"""Load a server for a while, and see how long its answers take.

    longjump loadtest run --rate 50                        the server on this machine, one step
    longjump loadtest run http://10.0.0.7:8000 --rate 200 --steps 1:0.9,8:0.1 --slo 100 --seconds 60
    longjump loadtest run --concurrency 16 --steps 4       peak throughput: 16 clients that wait for their answers
    longjump loadtest run --trace requests.csv             recorded traffic: columns at, steps, label, format, seed

With --rate or --trace the loop is open: requests go out at times that are drawn before the run, whatever the server
does, and latency counts from the time at which a request should have been sent. A client that could not keep its
schedule says so, and the run is not valid. With --concurrency the loop is closed: a stall of the server then stops the
load as well, and hides in a single slow reply; use it for throughput, not for latency.

Every request has its own seed and `Cache-Control: no-store`, so nothing comes from a cache.

Exit code: 0; 1 if the figures are not to be trusted (the client was late, the server went away, no good reply, replies
that are wrong); 2 for an error in what was asked; 130 after Ctrl-C, which still shows and writes what was measured.
"""

from __future__ import annotations

import argparse
import contextlib
import secrets
import sys
from pathlib import Path

from loadtest import arguments
from loadtest.result import write
from loadtest.settings import Settings

URL = "http://127.0.0.1:8000"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `longjump loadtest run`."""
    parser.add_argument("url", nargs="?", default=URL, metavar="URL", help="of the server (default: %(default)s)")
    load = parser.add_argument_group("load (one of the first three)")
    load.add_argument("--rate", type=arguments.number, metavar="R", help="open loop: requests per second")
    load.add_argument("--concurrency", type=arguments.positive, metavar="N", help="closed loop: requests in flight")
    load.add_argument("--trace", type=Path, metavar="FILE", help="open loop: a CSV file of recorded requests")
    load.add_argument(
        "--arrivals",
        choices=("poisson", "constant", "bursty"),
        default="poisson",
        help="how they are spread (default: %(default)s)",
    )
    load.add_argument(
        "--cv",
        type=arguments.number,
        default=3.0,
        metavar="X",
        help="of bursty arrivals: the coefficient of variation of their gaps; 1 is Poisson (default: %(default)g)",
    )
    load.add_argument(
        "--speed", type=arguments.number, default=1.0, metavar="X", help="a trace this many times as fast"
    )
    load.add_argument(
        "--processes", type=arguments.positive, default=1, metavar="N", help="client processes (default: %(default)s)"
    )
    load.add_argument(
        "--connections",
        type=arguments.positive,
        default=2048,
        metavar="N",
        help="the most that are open at once (default: %(default)s)",
    )
    load.add_argument("--seed", type=arguments.seed, metavar="N", help="of arrivals, mix and images (default: drawn)")
    asked = parser.add_argument_group("requests")
    asked.add_argument(
        "--steps",
        type=arguments.steps,
        default={1: 1.0},
        metavar="MIX",
        help="step counts, with shares: 1 or 1,8 or 1:0.9,8:0.1, or auto (default: 1)",
    )
    arguments.add_requests(asked)
    asked.add_argument(
        "--route",
        choices=("generate", "openai"),
        default="generate",
        help="POST /generate, or /v1/images/generations (default: %(default)s)",
    )
    asked.add_argument(
        "--timeout",
        type=arguments.number,
        default=30.0,
        metavar="S",
        help="seconds until a request has failed (default: %(default)g)",
    )
    window = parser.add_argument_group("measured window")
    window.add_argument("--seconds", type=arguments.number, metavar="S", help="(default: 30, or the whole trace)")
    window.add_argument(
        "--requests", type=arguments.positive, metavar="N", help="end it when N were sent, if that is sooner"
    )
    window.add_argument(
        "--warmup",
        type=arguments.warmup,
        default="auto",
        metavar="S",
        help="seconds before it, or auto: until latency is stable (default: auto; for a trace 0)",
    )
    window.add_argument(
        "--max-warmup",
        type=arguments.number,
        default=10.0,
        metavar="S",
        help="the longest that auto waits (default: %(default)g)",
    )
    window.add_argument(
        "--slo", type=arguments.milliseconds, metavar="MS", help="goodput counts good replies within it: 50, 50ms, 0.2s"
    )
    window.add_argument(
        "--max-lateness",
        type=arguments.milliseconds,
        metavar="MS",
        help="that 1 %% of the requests, and two, may exceed (default: no figure up to p99 moves by 5 %% and 1 ms)",
    )
    arguments.add_verify(window)
    output = parser.add_argument_group("output")
    output.add_argument("--out", type=Path, metavar="FILE", help="write the result as JSON")
    output.add_argument("--quiet", action="store_true", help="no progress on stderr")


def run(args: argparse.Namespace) -> int:
    """Run it; the exit code."""
    from loadtest.measure import measure
    from loadtest.progress import ProgressLine
    from loadtest.table import render

    settings = settings_of(args)
    if args.out is not None:
        check_out(args.out)
    with ProgressLine(sys.stderr) if not args.quiet else contextlib.nullcontext() as line:
        result = measure(settings, None if line is None else line.show, sys.argv[1:])
    # Written first: a closed terminal must not cost the result.
    if args.out is not None:
        write(result, args.out)
    print(render(result))
    if args.out is not None:
        print(f"\nwritten to {args.out}")
    if result.interrupted:
        return 130
    return 0 if result.trustworthy else 1


def settings_of(args: argparse.Namespace) -> Settings:
    """The settings that the arguments describe. ValueError if they do not go together."""
    fields, headers = dict(args.field), dict(args.header)
    if args.rate is None and args.concurrency is None and args.trace is None:
        raise ValueError("say how much load: --rate 50 (requests per second), --concurrency 16 or --trace FILE")
    return Settings(
        url=args.url if "://" in args.url else f"http://{args.url}",
        rate=args.rate,
        concurrency=args.concurrency,
        arrivals=args.arrivals,
        cv=args.cv,
        trace=args.trace,
        speed=args.speed,
        seconds=args.seconds,
        requests=args.requests,
        warmup=args.warmup,
        max_warmup=args.max_warmup,
        steps=args.steps,
        labels=args.labels,
        formats=args.formats,
        model=args.model,
        fields=fields,
        headers=headers,
        route=args.route,
        seed=secrets.randbits(32) if args.seed is None else args.seed,
        slo=args.slo,
        timeout=args.timeout,
        max_lateness=args.max_lateness,
        connections=args.connections,
        processes=args.processes,
        verify=args.verify,
    )


def check_out(path: Path) -> None:
    """Raise ValueError if a result could not be written to `path`: better now than after the run."""
    if path.is_dir():
        raise ValueError(f"--out {path} is a folder; give a file, such as {path / 'run.json'}")
    if not path.parent.is_dir():
        raise ValueError(f"--out {path}: there is no folder {path.parent}")
    if path.exists() and not path.is_file():
        raise ValueError(f"--out {path} is no ordinary file; give the name of one")
