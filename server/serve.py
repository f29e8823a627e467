"""Serve a bundle over HTTP: POST /generate gives a picture.

    longjump serve                       the demo that comes with longjump, on http://127.0.0.1:8000
    longjump serve BUNDLE --port 9000    a bundle made by `longjump export` or `longjump bundle`

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
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from server.supervisor import END_SECONDS, WORKER, Child, worker_command

if TYPE_CHECKING:
    from server.supervisor import Supervisor

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
        "bundle", nargs="?", type=Path, metavar="BUNDLE", help="folder of the bundle (default: the demo)"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: %(default)s, this machine only)"
    )
    parser.add_argument("--port", type=_port, default=8000, help="port; 0 takes a free one (default: %(default)s)")
    parser.add_argument(
        "--threads", type=positive, metavar="N", help="threads of one network evaluation (default: one per core)"
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
        help="requests in the queue at most; beyond that they get 429 (default: %(default)s)",
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
    command = worker_command(worker, default_bundle(args.bundle), args.threads, args.max_rows)
    listener = _listen(args.host, args.port)
    # First of all the worker: it loads its engine on another core while this process loads the HTTP side.
    child = Child(command)
    try:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(args, child, command, listener, started))
    finally:
        listener.close()
        if child.process.poll() is None:
            child.kill()


async def _serve(
    args: argparse.Namespace, child: Child, command: Sequence[str], listener: socket.socket, started: float
) -> int:
    from server.api import build_api
    from server.dispatch import Dispatch
    from server.front import build_front, shortcut
    from server.generate import Generate
    from server.metrics import Metrics
    from server.model import read_hello
    from server.queue import MemoryQueue
    from server.supervisor import Supervisor

    metrics = Metrics()
    queue = MemoryQueue(args.max_waiting)
    dispatch = Dispatch(queue, metrics.ticked)
    supervisor = Supervisor(child, lambda: Child(command), dispatch, read_hello, ROOM_TICKS * args.max_rows, _say)
    metrics.watch(queue, supervisor)
    generate = Generate(supervisor, dispatch, metrics, args.max_images)
    front = build_front(shortcut(generate, build_api(generate, supervisor, metrics)), KEEP_ALIVE_SECONDS)

    loop = asyncio.get_running_loop()
    unanswered = 0

    def give_up() -> None:
        nonlocal unanswered
        unanswered += dispatch.close("the server was stopped before it could answer")
        front.force_exit = True

    def stop() -> None:
        if supervisor.draining:
            give_up()
            return
        _say(f"draining for up to {args.drain_seconds} s: what was accepted is finished (again to stop at once)")
        loop.call_later(args.drain_seconds, give_up)
        supervisor.draining = front.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)

    url = _url(listener)
    supervising = loop.create_task(supervisor.run())
    serving = loop.create_task(front.serve([listener]))
    # What is loaded now stays: the collector need not walk through it again, in the middle of some request.
    gc.freeze()
    supervisor.http_seconds = time.monotonic() - started
    announcing = loop.create_task(_announce(supervisor, url, started))
    await asyncio.wait({supervising, serving}, return_when=asyncio.FIRST_COMPLETED)
    if supervising.done():
        # Only by an error: no worker can be brought up. Answer who waits, then say why.
        dispatch.close("no worker could be started")
        supervisor.draining = front.should_exit = True
        await serving
        announcing.cancel()
        supervising.result()
    announcing.cancel()
    await supervisor.stop(0.0 if unanswered else END_SECONDS)
    await supervising
    _say(f"stopped; {unanswered} requests were not answered" if unanswered else "stopped")
    return 1 if unanswered else 0


async def _announce(supervisor: Supervisor, url: str, started: float) -> None:
    """Say when and where the server is ready."""
    await supervisor.ready.wait()
    model = supervisor.model
    if model is None:
        return
    manifest = model.manifest
    shape = "x".join(map(str, manifest.image_shape[:2] if manifest.image_shape else manifest.z_shape))
    labels = f"{len(manifest.labels)} labels" if manifest.labels else "no labels"
    steps = ", ".join(map(str, manifest.steps))
    _say(f"{model.name}: {shape} {manifest.kind}, {labels}, steps {steps}, fingerprint {model.fingerprint}")
    _say(f"ready on {url} in {time.monotonic() - started:.2f} s; docs at {url}/docs; Ctrl-C stops")


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
