"""Try traffic on a server that does not exist: its admission and scheduling, with a device that takes T(b).

    longjump simulate                                    90 % one-step, 10 % eight-step, at 70 % of capacity
    longjump simulate --load 2                           twice what the workers can do
    longjump simulate --steps 1:1 --rate 200 --workers 2
    longjump simulate --costs ~/.cache/longjump/costs/<fingerprint>-1.json

A tick of b rows takes alpha + beta * b, or what the file of a served bundle says. Capacity is what the workers can do
in ticks at the knee of T(b), in row-steps. Left out are HTTP, decoding and encoding: on an idle server of the same T(b)
they come on top of every latency here.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from server.arguments import number, positive, share
from server.schedule.costs import Costs
from server.schedule.simulator import Outcome, Run, measured, simulate, traffic

Mix = list[tuple[int, float]]
"""(steps, share of the requests)"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `longjump simulate`."""
    asked = parser.add_argument_group("traffic")
    asked.add_argument(
        "--steps",
        type=mix,
        default="1:0.9,8:0.1",
        metavar="K:SHARE,...",
        help="step counts and their shares of the requests (default: %(default)s)",
    )
    how_much = asked.add_mutually_exclusive_group()
    how_much.add_argument("--load", type=number, default=0.7, metavar="X", help="of capacity (default: %(default)s)")
    how_much.add_argument("--rate", type=number, metavar="R", help="requests per second, in place of --load")
    asked.add_argument("--seconds", type=number, default=30.0, metavar="S", help="(default: %(default)s)")
    asked.add_argument("--clients", type=positive, default=1, metavar="N", help="who share it (default: %(default)s)")
    asked.add_argument("--deadline", type=number, metavar="MS", help="of every request (default: the server's)")
    asked.add_argument("--seed", type=int, default=0, metavar="N", help="of the arrivals (default: %(default)s)")
    server = parser.add_argument_group("server")
    server.add_argument("--workers", type=positive, default=1, metavar="N", help="(default: %(default)s)")
    server.add_argument(
        "--max-rows", type=positive, default=16, metavar="N", help="bound of a tick (default: %(default)s)"
    )
    server.add_argument("--alpha-ms", type=number, default=1.0, metavar="MS", help="of a tick (default: %(default)s)")
    server.add_argument("--beta-ms", type=number, default=3.0, metavar="MS", help="of a row (default: %(default)s)")
    server.add_argument("--costs", type=Path, metavar="FILE", help="measured T(b), in place of alpha and beta")
    server.add_argument(
        "--jitter", type=share, default=0.1, metavar="X", help="relative spread of a tick's time (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Simulate and print; 0. ValueError for a file that holds no costs, or a load that makes no requests."""
    tick_seconds = device(args)
    costs = measured(args.max_rows, tick_seconds)
    capacity = args.workers / costs.row_seconds
    row_steps = sum(steps * part for steps, part in args.steps)
    rate = args.load * capacity / row_steps if args.rate is None else args.rate
    deadline = None if args.deadline is None else args.deadline / 1000
    arrivals = list(traffic(args.steps, rate, args.seconds, args.clients, deadline, args.seed))
    if not arrivals:
        raise ValueError(f"{rate:g} requests per second for {args.seconds:g} s made no request; ask for more")
    print(
        f"{args.workers} worker(s), T(1) = {1000 * tick_seconds(1):.1f} ms, knee {costs.knee} of {args.max_rows} rows, "
        f"capacity {capacity:.0f} row-steps/s\n"
        f"{rate:.0f} requests/s, {rate * row_steps:.0f} row-steps/s: {rate * row_steps / capacity:.2f} of capacity\n"
    )
    random_numbers = random.Random(args.seed)
    # The mean of the factor is 1, so that capacity stays what it is.
    spread, shift = args.jitter, -(args.jitter**2) / 2
    result = simulate(
        arrivals, costs, lambda rows: tick_seconds(rows) * random_numbers.lognormvariate(shift, spread), args.workers
    )
    print(report(result, [steps for steps, _ in args.steps], tick_seconds, args.seconds, capacity))
    return 0


def device(args: argparse.Namespace) -> Callable[[int], float]:
    """T(b) in seconds, by the file or by alpha and beta."""
    if args.costs is None:
        return lambda rows: (args.alpha_ms + args.beta_ms * rows) / 1000
    try:
        costs = Costs.from_dict(json.loads(args.costs.expanduser().read_bytes()))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{args.costs} holds no costs that a server measured: {error}") from None
    if not costs.known:
        raise ValueError(f"{args.costs} holds no measurement; serve the bundle for a while first")
    return costs.tick_seconds


def report(
    result: Run, steps: Sequence[int], tick_seconds: Callable[[int], float], seconds: float, capacity: float
) -> str:
    """The table, and what the whole came to. Goodput counts what was done in time while requests came."""
    head = ("steps", "asked", "answered", "late", "refused", "expired", "idle ms", "p50 ms", "p99 ms", "p99/idle")
    rows: list[tuple[str, ...]] = [head]
    for count in steps:
        outcomes = [one for one in result.outcomes if one.wanted.steps == [count]]
        idle = 1000 * count * tick_seconds(1)
        latencies = sorted(1000 * one.latency for one in outcomes if one.fate == "answered")
        p50, p99 = (percentile(latencies, part) for part in (0.5, 0.99))
        late = sum(one.fate == "answered" and not one.in_time for one in outcomes)
        counts = [len(outcomes), len(latencies), late, *(_fates(outcomes, fate) for fate in ("refused", "expired"))]
        times = [f"{idle:.1f}", *("-" if value is None else f"{value:.1f}" for value in (p50, p99))]
        rows.append((str(count), *map(str, counts), *times, "-" if p99 is None else f"{p99 / idle:.1f}"))
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(text.rjust(width) for text, width in zip(row, widths)) for row in rows]
    in_time = [one for one in result.outcomes if one.in_time and one.finished is not None and one.finished <= seconds]
    goodput = sum((one.steps or 0) * one.wanted.rows for one in in_time) / seconds
    mean = sum(result.tick_rows) / len(result.tick_rows) if result.tick_rows else 0.0
    lines += ["", f"goodput {goodput:.0f} row-steps/s, {goodput / capacity:.2f} of capacity; mean tick {mean:.1f} rows"]
    return "\n".join(lines)


def percentile(ordered: Sequence[float], part: float) -> float | None:
    """The smallest of the sorted values that is not below `part` of them; None of none."""
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else None


def mix(text: str) -> Mix:
    """An argument like 1:0.9,8:0.1; shares are scaled to a sum of 1."""
    try:
        parts = [part.split(":") for part in text.split(",")]
        found = [(positive(steps), number(part)) for steps, part in parts]
    except (ValueError, argparse.ArgumentTypeError):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list like 1:0.9,8:0.1 (steps:share)") from None
    if len({steps for steps, _ in found}) < len(found):
        raise argparse.ArgumentTypeError(f"{text!r} names a step count twice")
    total = sum(part for _, part in found)
    return [(steps, part / total) for steps, part in found]


def _fates(outcomes: Sequence[Outcome], fate: str) -> int:
    return sum(one.fate == fate for one in outcomes)
