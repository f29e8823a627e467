"""Serve a bundle over HTTP: POST /generate gives a picture.

    longjump serve                       the demo that comes with longjump, on http://127.0.0.1:8000
    longjump serve BUNDLE --port 9000    a bundle made by `longjump export` or `longjump bundle`
    longjump serve ONE TWO               several; a request names its own with `model`, the first is the default

    curl -X POST 'localhost:8000/generate?steps=1&seed=7' -o a.png

A page for people is at /, and the API is described at /docs. SIGTERM and Ctrl-C drain: what was accepted is answered,
then it exits with 0. The engine runs in a worker process; if that dies it is started again and its requests run again.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import gc
import itertools
import logging
import math
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from server.arguments import port, positive, whole
from server.backend.supervisor import END_SECONDS, WORKER, Child, worker_command
from server.errands.flags import add_job_arguments, read_bounds, read_hooks
from server.fleet.arguments import add_commons_arguments, add_redis_arguments
from server.http.flags import add_safety_arguments, add_sight_arguments, guard
from server.workers import add_worker_arguments, check_names, count_workers, default_bundle, default_threads

if TYPE_CHECKING:
    from server.backend.lines import Lines
    from server.backend.roads import Roads
    from server.commons import Alone, Commons
    from server.fleet.commons import FleetCommons
    from server.fleet.lines import FleetLines
    from server.observe.metrics import Metrics
    from server.schedule.admission import Bounds

BACKLOG = 2048
"""Connections that the kernel holds until they are accepted."""

KEEP_ALIVE_SECONDS = 75
"""Longer than the 60 s of usual proxies, so that the proxy is the one to close an idle connection."""

MEBIBYTE = 2**20

LOG = logging.getLogger("longjump")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `longjump serve`."""
    parser.add_argument(
        "bundles", nargs="*", type=Path, metavar="BUNDLE", help="folders of the bundles (default: the demo)"
    )
    listening = parser.add_argument_group("listening")
    listening.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: %(default)s, this machine only)"
    )
    listening.add_argument("--port", type=port, default=8000, help="port; 0 takes a free one (default: %(default)s)")
    listening.add_argument(
        "--drain-seconds",
        type=positive,
        default=30,
        metavar="S",
        help="how long a stopping server finishes what it accepted (default: %(default)s)",
    )
    add_worker_arguments(parser)
    requests = parser.add_argument_group("requests", "What is beyond a bound of a bundle's queue gets 429.")
    requests.add_argument(
        "--deadline",
        type=positive,
        default=1000,
        metavar="MS",
        help="milliseconds that a request has which names no deadline_ms; what cannot be done in time gets 429 "
        "(default: %(default)s)",
    )
    requests.add_argument(
        "--max-images",
        type=positive,
        default=64,
        metavar="N",
        help="images of one request at most (default: %(default)s)",
    )
    requests.add_argument(
        "--max-waiting",
        type=positive,
        default=1024,
        metavar="N",
        help="requests accepted and not answered, at most (default: %(default)s)",
    )
    requests.add_argument(
        "--max-row-steps",
        type=positive,
        default=65_536,
        metavar="N",
        help="their images times steps, at most (default: %(default)s)",
    )
    requests.add_argument(
        "--max-bytes",
        type=positive,
        default=256 * MEBIBYTE,
        metavar="N",
        help="bytes of the images that came with them, at most (default: 256 MiB)",
    )
    requests.add_argument(
        "--max-upload",
        type=positive,
        default=10 * MEBIBYTE,
        metavar="N",
        help="bytes of an uploaded image at most (default: 10 MiB)",
    )
    requests.add_argument(
        "--cache-bytes",
        type=whole,
        default=64 * MEBIBYTE,
        metavar="N",
        help="bytes of answers kept for requests that name their seed; 0: none (default: 64 MiB)",
    )
    add_redis_arguments(parser, required=False)
    add_commons_arguments(parser)
    add_job_arguments(parser)
    add_safety_arguments(parser)
    add_sight_arguments(parser)


def run(args: argparse.Namespace, worker: Sequence[str] = WORKER) -> int:
    """Serve until a signal; 0 after a drain, 1 if some accepted request was not answered.

    `worker` is the command that starts a worker process (tests have their own).

    Raises ValueError or OSError if the bundle cannot be served or the address not be listened on.
    """
    started = time.monotonic()
    if args.redis is not None:
        return _run_for_a_fleet(args, started)
    bundles = [default_bundle(path) for path in args.bundles or [None]]
    check_names(bundles)
    threads = args.threads or default_threads(len(bundles) * count_workers(args))

    def command(bundle: Path, number: int) -> Sequence[str]:
        gpu = args.gpus[number % len(args.gpus)] if args.gpus else None
        return worker_command(worker, bundle, threads, args.max_rows, args.cost_cache, args.engine, args.precision, gpu)

    listener = _listen(args.host, args.port)
    # First of all the workers: they load their engines on other cores while this process loads the HTTP side.
    children: list[list[Child]] = [[] for _ in bundles]
    try:
        for bundle, own in zip(bundles, children, strict=True):
            for number in range(count_workers(args)):
                own.append(Child(command(bundle, number)))
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(
                _serve(args, lambda metrics: _open(args, bundles, children, command, metrics), listener, started)
            )
    finally:
        listener.close()
        for child in itertools.chain(*children):
            if child.process.poll() is None:
                child.kill()


def _run_for_a_fleet(args: argparse.Namespace, started: float) -> int:
    """`run`, where the workers are agents elsewhere."""
    if args.bundles:
        raise ValueError(
            "--redis: the bundles are where the workers are (longjump worker --redis URL BUNDLE); name none here"
        )
    if args.bundle_folder is not None:
        raise ValueError("--bundles is for workers of this machine; with --redis, start a worker with the new bundle")
    listener = _listen(args.host, args.port)
    try:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(args, lambda metrics: _open_fleet(args, metrics), listener, started))
    finally:
        listener.close()


async def _open_fleet(args: argparse.Namespace, metrics: Metrics) -> tuple[FleetLines, FleetCommons]:
    """The lines of workers elsewhere, and what their API processes share."""
    from server.fleet.commons import open_commons
    from server.fleet.lines import open_lines
    from server.observe.fleet import RedisSeries

    lines = await open_lines(args, _bounds(args), metrics)
    metrics.add(RedisSeries(lines.redis, lines.pipe.seconds))
    return lines, open_commons(args, lines)


def _bounds(args: argparse.Namespace) -> Bounds:
    from server.schedule.admission import Bounds

    return Bounds(args.max_waiting, args.max_row_steps, args.max_bytes)


async def _open(
    args: argparse.Namespace,
    bundles: Sequence[Path],
    children: Sequence[Sequence[Child]],
    command: Callable[[Path, int], Sequence[str]],
    metrics: Metrics,
) -> tuple[Lines, Alone]:
    """The lines of worker processes of this machine."""
    from server.backend.line import Line, Setup
    from server.backend.lines import Lines
    from server.commons import Alone

    setup = Setup(
        command=command,
        workers=count_workers(args),
        max_rows=args.max_rows,
        bounds=_bounds(args),
        deadline=args.deadline / 1000,
        hang_seconds=args.hang_seconds,
        observer=metrics,
        say=LOG.info,
    )
    lines = Lines([Line(own, bundle, setup) for bundle, own in zip(bundles, children, strict=True)], setup)
    return lines, Alone(read_bounds(args))


async def _serve(
    args: argparse.Namespace,
    open_roads: Callable[[Metrics], Awaitable[tuple[Roads, Commons]]],
    listener: socket.socket,
    started: float,
) -> int:
    from server.application import build_app
    from server.http.front import build_front
    from server.observe.logs import set_up
    from server.observe.metrics import Metrics

    log = set_up(args.log_format)
    metrics = Metrics()
    lines, commons = await open_roads(metrics)
    metrics.watch(lines)
    app, api, office = build_app(
        lines,
        metrics,
        commons,
        max_images=args.max_images,
        cache_bytes=args.cache_bytes,
        max_upload=args.max_upload,
        playground=not args.no_playground,
        hooks=read_hooks(args),
    )
    front = build_front(guard(app, api, args, lines, commons.limiter, metrics, log), KEEP_ALIVE_SECONDS)

    loop = asyncio.get_running_loop()
    unanswered = 0
    last = math.inf

    def give_up() -> None:
        nonlocal unanswered
        unanswered += lines.close("the server was stopped before it could answer")
        front.force_exit = True

    def drain() -> None:
        nonlocal last
        lines.draining = front.should_exit = True
        last = loop.time() + args.drain_seconds
        loop.call_later(args.drain_seconds, give_up)

    def stop() -> None:
        if lines.draining:
            give_up()
            return
        LOG.info(f"draining for up to {args.drain_seconds} s: what was accepted is finished (again to stop at once)")
        drain()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)

    office.start()
    serving = loop.create_task(front.serve([listener]))
    # What is loaded now stays: the collector need not walk through it again, in the middle of some request.
    gc.freeze()
    lines.http_seconds = time.monotonic() - started
    announcing = loop.create_task(_announce(lines, _url(listener), started))
    await asyncio.wait({lines.failed, serving}, return_when=asyncio.FIRST_COMPLETED)
    failed = lines.failed.done()
    if failed:
        drain()  # no worker can be brought up: finish what others do, then say why
    await serving
    announcing.cancel()
    if lost := await office.close(0.0 if unanswered or failed else min(args.drain_seconds, last - loop.time())):
        unanswered += lost
        LOG.warning(f"{lost} jobs were not finished, and end with this process")
    await commons.close()
    await lines.stop(0.0 if unanswered or failed else END_SECONDS)
    if failed:
        lines.failed.result()
    LOG.info(f"stopped; {unanswered} requests were not answered" if unanswered else "stopped")
    return 1 if unanswered else 0


async def _announce(lines: Roads, url: str, started: float) -> None:
    """Say when and where the server is ready."""
    await lines.ready()
    for model in lines.models:
        manifest = model.manifest
        shape = "x".join(map(str, manifest.image_shape[:2] if manifest.image_shape else manifest.z_shape))
        labels = f"{len(manifest.labels)} labels" if manifest.labels else "no labels"
        steps = ", ".join(map(str, manifest.steps))
        LOG.info(f"{model.name}: {shape} {manifest.kind}, {labels}, steps {steps}, fingerprint {model.fingerprint}")
    LOG.info(f"ready on {url} in {time.monotonic() - started:.2f} s; docs at {url}/docs; Ctrl-C stops")


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket. OSError that names the address and what to do."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        hint = "; is another server running? --port 0 takes a free one" if error.errno == errno.EADDRINUSE else ""
        raise OSError(f"cannot listen on {host} port {port}: {error.strerror}{hint}") from None


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if listener.family == socket.AF_INET6 else f"http://{host}:{port}"
