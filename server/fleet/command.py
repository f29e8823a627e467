"""Serve bundles to a fleet: run what API processes elsewhere were asked for.

    longjump worker --redis redis://HOST:6379                    the demo that comes with longjump
    longjump worker --redis redis://HOST:6379 BUNDLE [BUNDLE..]  bundles made by `longjump export` or `longjump bundle`

Any number of these, on any machines, beside any number of `longjump serve --redis redis://HOST:6379`. Work is taken
from Redis as there is room for it; what a worker had that dies is run by another. SIGTERM and Ctrl-C drain: what was
taken is finished, then it exits with 0; a second one hands what is left to others. docs/fleet.md tells how it works.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import logging
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from server.arguments import port, positive
from server.backend.supervisor import END_SECONDS, WORKER, Child, worker_command
from server.fleet.arguments import add_redis_arguments
from server.workers import add_worker_arguments, check_names, count_workers, default_bundle, default_threads

if TYPE_CHECKING:
    from server.backend.lines import Lines
    from server.fleet.connection import Redis

WIDE = 2**40
"""A bound that is none: the fleet's queue is bounded where work is admitted."""

LOG = logging.getLogger("longjump")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `longjump worker`."""
    parser.add_argument(
        "bundles", nargs="*", type=Path, metavar="BUNDLE", help="folders of the bundles (default: the demo)"
    )
    add_redis_arguments(parser, required=True)
    parser.add_argument(
        "--lease-seconds",
        type=positive,
        default=3,
        metavar="S",
        help="a worker that gives no sign of life for so long is taken for dead, and others run what it had "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--drain-seconds",
        type=positive,
        default=30,
        metavar="S",
        help="how long a stopping worker finishes what it took; the rest goes to others (default: %(default)s)",
    )
    add_worker_arguments(parser)
    parser.add_argument("--log-format", choices=("text", "json"), default="text", help="of what goes to stderr")
    parser.add_argument(
        "--metrics-port", type=port, metavar="N", help="answer /livez, /readyz and /metrics here (default: nowhere)"
    )
    parser.add_argument(
        "--metrics-host",
        default="127.0.0.1",
        metavar="HOST",
        help="address of --metrics-port (default: %(default)s, this machine only)",
    )


def run(args: argparse.Namespace, worker: Sequence[str] = WORKER) -> int:
    """Work until a signal; 0 after a drain, also if something was handed to others.

    `worker` is the command that starts a worker process (tests have their own).

    Raises ValueError or OSError if a bundle cannot be served or Redis lets nobody in.
    """
    started = time.monotonic()
    bundles = [default_bundle(path) for path in args.bundles or [None]]
    check_names(bundles)
    threads = args.threads or default_threads(len(bundles) * count_workers(args))

    def command(bundle: Path, number: int) -> Sequence[str]:
        gpu = args.gpus[number % len(args.gpus)] if args.gpus else None
        return worker_command(worker, bundle, threads, args.max_rows, args.cost_cache, args.engine, args.precision, gpu)

    children: list[list[Child]] = [[] for _ in bundles]
    try:
        for bundle, own in zip(bundles, children, strict=True):
            for number in range(count_workers(args)):
                own.append(Child(command(bundle, number)))
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_work(args, bundles, children, command, started))
    finally:
        for child in itertools.chain(*children):
            if child.process.poll() is None:
                child.kill()


async def _work(
    args: argparse.Namespace,
    bundles: Sequence[Path],
    children: Sequence[Sequence[Child]],
    command: Callable[[Path, int], Sequence[str]],
    started: float,
) -> int:
    from server.backend.line import Line, Setup
    from server.backend.lines import Lines
    from server.fleet.agent import Agent
    from server.fleet.connection import Redis
    from server.fleet.keys import Keys
    from server.fleet.lines import own_name
    from server.fleet.where import where
    from server.observe.fleet import AgentSeries, RedisSeries
    from server.observe.logs import set_up
    from server.observe.metrics import Metrics
    from server.observe.page import open_page
    from server.schedule.admission import DEADLINES, Bounds

    set_up(args.log_format, command="worker")
    name = own_name()
    keys = Keys(args.fleet)
    redis = Redis(where(args), f"longjump-worker-{name}", LOG.info)
    await redis.check()
    metrics = Metrics()
    setup = Setup(
        command=command,
        workers=count_workers(args),
        max_rows=args.max_rows,
        bounds=Bounds(WIDE, WIDE, WIDE),
        deadline=DEADLINES["interactive"],
        hang_seconds=args.hang_seconds,
        observer=metrics,
        say=LOG.info,
    )
    lines = Lines([Line(own, bundle, setup) for bundle, own in zip(bundles, children, strict=True)], setup)
    metrics.watch(lines)
    agent = Agent(redis, keys, name, args.lease_seconds)
    metrics.add(RedisSeries(redis, agent.pipe.seconds), AgentSeries(agent))
    loop = asyncio.get_running_loop()
    stop, hurry = asyncio.Event(), asyncio.Event()

    def signalled() -> None:
        if stop.is_set():
            hurry.set()
        else:
            LOG.info(f"draining for up to {args.drain_seconds} s: what was taken is finished (again to stop at once)")
            stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signalled)

    joining = asyncio.gather(*(agent.join(line) for line in lines.lines))
    joining.add_done_callback(lambda done: _announce(done, name, redis.shown, args.fleet, started))

    def unready() -> str | None:
        return lacking(lines, joining, redis)

    page = None
    if args.metrics_port is not None:
        page = await open_page(args.metrics_host, args.metrics_port, metrics, unready)
    gc.freeze()
    stopped = loop.create_task(stop.wait())
    await asyncio.wait((lines.failed, stopped), return_when=asyncio.FIRST_COMPLETED)
    failed = lines.failed.done()
    lines.draining = True
    joining.cancel()
    draining = loop.create_task(agent.drain(args.drain_seconds))
    hurrying = loop.create_task(hurry.wait())
    await asyncio.wait((draining, hurrying), return_when=asyncio.FIRST_COMPLETED)
    if not draining.done():
        draining.cancel()
        await asyncio.wait({draining})
        left = await agent.drain(0.0)
    else:
        left = draining.result()
    for task in (hurrying, stopped):
        task.cancel()
    if page is not None:
        page.close()
    await agent.close()
    await lines.stop(0.0 if left or failed else END_SECONDS)
    if failed:
        lines.failed.result()
    LOG.info(f"stopped; {left} requests were handed to other workers" if left else "stopped")
    return 0


def lacking(lines: Lines, joining: asyncio.Future[list[None]], redis: Redis) -> str | None:
    """Why no work should come to this worker, or None."""
    if lines.draining:
        return "it is draining: it finishes what it took and exits"
    if not lines.up:
        return lines.lacking
    if not joining.done():
        return "it is joining the fleet"
    if joining.cancelled() or joining.exception() is not None:
        return "it could not join the fleet; its log says why"
    return f"Redis at {redis.shown} does not answer" if redis.away else None


def _announce(joined: asyncio.Future[list[None]], name: str, redis: str, fleet: str, started: float) -> None:
    if joined.cancelled():
        return
    if (error := joined.exception()) is not None:
        LOG.error("this worker could not join the fleet %r on %s, and gets no work", fleet, redis, exc_info=error)
        return
    LOG.info(f"ready as {name} in the fleet {fleet!r} on {redis}, in {time.monotonic() - started:.2f} s")
