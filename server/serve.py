"""Serve a bundle over HTTP: POST /generate gives a picture.

    longjump serve                       the demo that comes with longjump, on http://127.0.0.1:8000
    longjump serve BUNDLE --port 9000    a bundle made by `longjump export` or `longjump bundle`
    longjump serve ONE TWO               several; a request names its own with `model`, the first is the default

    curl -X POST 'localhost:8000/generate?steps=1&seed=7' -o a.png

The API is described at /docs. SIGTERM and Ctrl-C drain: what was accepted is answered, then it exits with 0. The
engine runs in a worker process; if that dies it is started again and its requests run again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import gc
import json
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from export.runtime.cores import available_cores
from server.backend.supervisor import END_SECONDS, WORKER, Child, worker_command

if TYPE_CHECKING:
    from server.backend.lines import Lines

DEMO = Path(__file__).with_name("demo")

BACKLOG = 2048
"""Connections that the kernel holds until they are accepted."""

KEEP_ALIVE_SECONDS = 75
"""Longer than the 60 s of usual proxies, so that the proxy is the one to close an idle connection."""

ROOM_TICKS = 4
"""Samples that the worker is given ahead, in ticks: enough that it never waits for the API process."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `longjump serve`."""
    parser.add_argument(
        "bundles", nargs="*", type=Path, metavar="BUNDLE", help="folders of the bundles (default: the demo)"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: %(default)s, this machine only)"
    )
    parser.add_argument("--port", type=_port, default=8000, help="port; 0 takes a free one (default: %(default)s)")
    parser.add_argument(
        "--threads",
        type=positive,
        metavar="N",
        help="threads of one network evaluation (default: the cores but one, divided among the bundles)",
    )
    parser.add_argument(
        "--max-rows",
        type=positive,
        default=4,
        metavar="N",
        help="samples that share one network evaluation at most (default: %(default)s)",
    )
    parser.add_argument(
        "--max-waiting",
        type=positive,
        default=256,
        metavar="N",
        help="requests in a bundle's queue at most; beyond that they get 429 (default: %(default)s)",
    )
    parser.add_argument(
        "--max-images",
        type=positive,
        default=64,
        metavar="N",
        help="images of one request at most (default: %(default)s)",
    )
    parser.add_argument(
        "--drain-seconds",
        type=positive,
        default=30,
        metavar="S",
        help="how long a stopping server finishes what it accepted (default: %(default)s)",
    )


def run(args: argparse.Namespace, worker: Sequence[str] = WORKER) -> int:
    """Serve until a signal; 0 after a drain, 1 if some accepted request was not answered.

    `worker` is the command that starts a worker process (tests have their own).

    Raises ValueError or OSError if the bundle cannot be served or the address not be listened on.
    """
    started = time.monotonic()
    bundles = [default_bundle(path) for path in args.bundles or [None]]
    check_names(bundles)
    threads = args.threads or default_threads(len(bundles))
    commands = [worker_command(worker, bundle, threads, args.max_rows) for bundle in bundles]
    listener = _listen(args.host, args.port)
    # First of all the workers: they load their engines on other cores while this process loads the HTTP side.
    children: list[Child] = []
    try:
        children += map(Child, commands)
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(args, children, commands, listener, started))
    finally:
        listener.close()
        for child in children:
            if child.process.poll() is None:
                child.kill()


async def _serve(
    args: argparse.Namespace,
    children: Sequence[Child],
    commands: Sequence[Sequence[str]],
    listener: socket.socket,
    started: float,
) -> int:
    from server.backend.dispatch import Dispatch
    from server.backend.lines import Line, Lines
    from server.backend.model import read_hello
    from server.backend.queue import MemoryQueue
    from server.backend.supervisor import Supervisor
    from server.http.api import build_api
    from server.http.front import build_front, shortcut
    from server.http.generate import Generate
    from server.observe.metrics import Metrics

    metrics = Metrics()
    room = ROOM_TICKS * args.max_rows

    def line(child: Child, command: Sequence[str]) -> Line:
        queue = MemoryQueue(args.max_waiting)
        dispatch = Dispatch(queue, metrics.ticked)
        return Line(queue, dispatch, Supervisor(child, lambda: Child(command), dispatch, read_hello, room, _say))

    lines = Lines([line(child, command) for child, command in zip(children, commands, strict=True)])
    metrics.watch(lines)
    generate = Generate(lines, metrics, args.max_images)
    front = build_front(shortcut(generate, build_api(generate, lines, metrics)), KEEP_ALIVE_SECONDS)

    loop = asyncio.get_running_loop()
    unanswered = 0

    def give_up() -> None:
        nonlocal unanswered
        unanswered += lines.close("the server was stopped before it could answer")
        front.force_exit = True

    def drain() -> None:
        lines.draining = front.should_exit = True
        loop.call_later(args.drain_seconds, give_up)

    def stop() -> None:
        if lines.draining:
            give_up()
            return
        _say(f"draining for up to {args.drain_seconds} s: what was accepted is finished (again to stop at once)")
        drain()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)

    url = _url(listener)
    supervising = [loop.create_task(line.supervisor.run()) for line in lines.lines]
    serving = loop.create_task(front.serve([listener]))
    # What is loaded now stays: the collector need not walk through it again, in the middle of some request.
    gc.freeze()
    lines.http_seconds = time.monotonic() - started
    announcing = loop.create_task(_announce(lines, url, started))
    await asyncio.wait({*supervising, serving}, return_when=asyncio.FIRST_COMPLETED)
    failed = next((task for task in supervising if task.done()), None)
    if failed is not None:
        # Only by an error: no worker can be brought up. Answer who waits for it, finish the rest, then say why.
        lines.lines[supervising.index(failed)].dispatch.close("no worker could be started")
        drain()
    await serving
    announcing.cancel()
    patience = 0.0 if unanswered or failed is not None else END_SECONDS
    await asyncio.gather(*(line.supervisor.stop(patience) for line in lines.lines))
    await asyncio.wait(supervising)
    if failed is not None:
        failed.result()
    _say(f"stopped; {unanswered} requests were not answered" if unanswered else "stopped")
    return 1 if unanswered else 0


async def _announce(lines: Lines, url: str, started: float) -> None:
    """Say when and where the server is ready."""
    await lines.ready()
    for model in lines.models:
        manifest = model.manifest
        shape = "x".join(map(str, manifest.image_shape[:2] if manifest.image_shape else manifest.z_shape))
        labels = f"{len(manifest.labels)} labels" if manifest.labels else "no labels"
        steps = ", ".join(map(str, manifest.steps))
        _say(f"{model.name}: {shape} {manifest.kind}, {labels}, steps {steps}, fingerprint {model.fingerprint}")
    _say(f"ready on {url} in {time.monotonic() - started:.2f} s; docs at {url}/docs; Ctrl-C stops")


def default_threads(bundles: int = 1) -> int:
    """Threads of a network evaluation: one core is left to HTTP, decoding and encoding, which would wait otherwise."""
    return max(1, (available_cores() - 1) // bundles)


def check_names(bundles: Sequence[Path]) -> None:
    """ValueError if two bundles have one name, by which requests would choose."""
    folders: dict[str, Path] = {}
    for bundle in bundles:
        try:
            name = str(json.loads((bundle / "manifest.json").read_bytes())["name"])
        except (OSError, ValueError, TypeError, KeyError):
            continue  # its worker says what is wrong with it
        if name in folders:
            raise ValueError(
                f"{folders[name]} and {bundle} are both called {name!r}, and requests choose by name; "
                "export one again with another --name"
            )
        folders[name] = bundle


def default_bundle(path: Path | None) -> Path:
    """The folder to serve. FileNotFoundError that says what to do if it is not there."""
    if path is None:
        if not (DEMO / "manifest.json").exists():
            raise FileNotFoundError(f"there is no demo bundle at {DEMO}; name one: longjump serve BUNDLE")
        return DEMO
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such bundle")
    return path


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


def _say(text: str) -> None:
    """One line for the person who started the server. That nobody can read it any more must not stop the server."""
    with contextlib.suppress(OSError):
        print(f"longjump serve: {text}", file=sys.stderr, flush=True)


def positive(text: str) -> int:
    """An argument that is a whole number of at least 1."""
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return number


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to 65535)")
    return int(text)
