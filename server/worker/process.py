"""The worker process: owns the engine, turns jobs into encoded bytes, and lives as long as its socket.

One thread owns the device. Between ticks it reads what has arrived; when there is nothing to do it sleeps in recv, so
an idle request is taken up without a hop between threads. Finished requests are decoded and encoded beside the next
tick; a lone image is written on the spot, which is quicker than handing it over.

Started by `server.backend.supervisor` with a socket in --fd. When the other end goes away, for whatever reason, it
exits.
"""

from __future__ import annotations

import time

STARTED = time.monotonic()

# Only now: the start-up report counts these imports.
import argparse  # noqa: E402
import contextlib  # noqa: E402
import gc  # noqa: E402
import itertools  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import socket  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
from collections import deque  # noqa: E402
from collections.abc import Callable, Sequence  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any, NoReturn  # noqa: E402

from export.runtime.bundle import Bundle, open_bundle  # noqa: E402
from export.runtime.cores import available_cores  # noqa: E402
from export.runtime.engines import Engine, open_engine  # noqa: E402
from server.jobs import CancelStage, Job  # noqa: E402
from server.schedule.costs import Costs  # noqa: E402
from server.wire import Frames, pack  # noqa: E402
from server.worker.cost_cache import CostCache, default_folder, measure  # noqa: E402
from server.worker.ticks import Tick, Ticks  # noqa: E402
from server.worker.writers import Writers  # noqa: E402

IMPORTED = time.monotonic()

READ_BYTES = 2**18

MAX_TICK_LOG = 4096
"""Ticks that one frame tells of at most; older ones are in no metric."""

SAVE_SECONDS = 60.0
"""Between two writings of the cost cache."""

EngineOpener = Callable[[Bundle, int | None], Engine]


class Worker:
    """Runs the jobs that come over `sock` on `engine`, in ticks whose size `costs` gives."""

    def __init__(self, engine: Engine, sock: socket.socket, costs: Costs, save: Callable[[Costs], None]) -> None:
        """`save` is called with the costs now and then, in a thread of the writers."""
        self._socket = sock
        self._frames = Frames()
        self._costs = costs
        self._save = save
        self._ticks = Ticks(engine, costs)
        self._writers = Writers(engine, self._send, self._send_failure)
        self._sending = threading.Lock()
        # A deque, because one thread adds while another takes out. Told with replies, so it needs a bound: clients may
        # all go away before theirs.
        self._tick_log: deque[tuple[int, float, int]] = deque(maxlen=MAX_TICK_LOG)

    def run(self) -> None:
        """Serve until the other end closes the socket."""
        saved = time.monotonic()
        while self._read(wait=not self._ticks):
            if not self._ticks:
                continue
            self._leave(self._ticks.run())
            now = time.monotonic()
            if now - saved > SAVE_SECONDS:
                saved = now
                self._writers.beside(self._save, self._costs)

    def _leave(self, tick: Tick) -> None:
        """Send on its way what a tick brought to an end."""
        self._tick_log.extend(tick.costs)
        for job in tick.expired:
            self._send({"op": "expired", "id": job.id})
        for job, error in tick.failed:
            self._send_failure(job, error)
        if tick.parts:
            self._writers.show(tick.parts)
        if tick.finished:
            self._writers.write(tick.finished, idle=not self._ticks)

    def _read(self, wait: bool) -> bool:
        """Take in what has arrived, after waiting for something if `wait`; False at the end of the stream."""
        flags = 0 if wait else socket.MSG_DONTWAIT
        while True:
            try:
                data = self._socket.recv(READ_BYTES, flags)
            except BlockingIOError:
                return True
            except ConnectionError:
                return False
            if not data:
                return False
            for header, blobs in self._frames.feed(data):
                self._take(header, blobs)
            if len(data) < READ_BYTES:
                return True
            flags = socket.MSG_DONTWAIT

    def _take(self, header: dict[str, Any], blobs: list[bytes]) -> None:
        match header["op"]:
            case "job":
                job = Job.from_frame(header, blobs)
                try:
                    self._ticks.add(job)
                except Exception as error:
                    self._send_failure(job, error)
            case "cancel":
                stage: CancelStage | None = self._ticks.cancel(header["id"])
                if self._writers.cancel(header["id"]) and stage is None:
                    stage = "encoding"
                if stage is not None:
                    self._send({"op": "cancelled", "id": header["id"], "stage": stage})
            case "ping":
                self._send({"op": "pong", "written": self._writers.written, "writing": self._writers.writing})

    def _send_failure(self, job: Job, error: Exception) -> None:
        reason = f"{type(error).__name__}: {error}"
        with contextlib.suppress(OSError):  # a log that cannot be written stops nothing
            print(f"longjump worker: job {job.id} failed: {reason}", file=sys.stderr, flush=True)
        self._send({"op": "failed", "id": job.id, "reason": reason})

    def _send(self, header: dict[str, Any], blobs: Sequence[bytes] = ()) -> None:
        with self._sending:
            header["ticks"] = [self._tick_log.popleft() for _ in range(len(self._tick_log))]
            frame = pack(header, blobs)
            with contextlib.suppress(ConnectionError):  # the reading thread sees it too and ends the process
                self._socket.sendall(frame)


def main(argv: Sequence[str] | None = None, opener: EngineOpener | None = None) -> int:
    """Open the bundle, warm the engine, say hello, and work until the socket closes.

    `opener` gives another engine than the bundle's own. A bundle that cannot be served is reported over the socket, in
    one line for the person, with exit code 2.
    """
    parser = argparse.ArgumentParser(description="internal: started by longjump serve")
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--engine")
    parser.add_argument("--precision")
    parser.add_argument("--gpu")
    parser.add_argument("--max-rows", type=int, required=True)
    parser.add_argument("--cost-cache", type=Path, default=default_folder())
    args = parser.parse_args(argv)
    # Ctrl-C and a service manager signal the whole group. The API process drains; until it closes the socket, we work.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if args.gpu is not None:  # before an engine's library looks
        os.environ["CUDA_VISIBLE_DEVICES"] = args.gpu
    sock = socket.socket(fileno=args.fd)
    threads = args.threads or available_cores()
    marks = [time.monotonic()]
    try:
        bundle = open_bundle(args.bundle, engines=False)
        marks.append(time.monotonic())
        if opener is not None:
            engine = opener(bundle, args.threads)
        else:
            engine = open_engine(bundle, args.threads, args.engine, args.precision)
        marks.append(time.monotonic())
        engine.warm()
        cache = CostCache(args.cost_cache, engine.fingerprint, threads)
        costs = cache.load(args.max_rows)
        if costs is None:
            costs = measure(engine, args.max_rows)
            cache.save(costs)
        marks.append(time.monotonic())
    except (ValueError, OSError, ModuleNotFoundError) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        with contextlib.suppress(ConnectionError):
            sock.sendall(pack({"op": "refused", "reason": str(error), "missing": missing}))
        return 2
    opened, loaded, warmed = (after - before for before, after in itertools.pairwise(marks))
    hello = {
        "op": "hello",
        "manifest": bundle.manifest.model_dump(mode="json"),
        "fingerprint": engine.fingerprint,
        "started": STARTED,
        "startup": {"imports": IMPORTED - STARTED, "bundle": opened, "engine": loaded, "warm": warmed},
        "costs": costs.to_dict(),
        "threads": threads,
        "engine": engine.choice.describe(),
        "warning": engine.choice.warning,
    }
    try:
        sock.sendall(pack(hello))
    except ConnectionError:
        return 0
    gc.freeze()  # what is loaded stays: the collector need not walk through it in the middle of a tick
    Worker(engine, sock, costs, cache.save).run()
    cache.save(costs)
    return 0


def start(opener: EngineOpener | None = None) -> NoReturn:
    """`main` as a process."""
    code = main(opener=opener)
    sys.stderr.flush()
    os._exit(code)  # a thread still encoding for nobody must not keep the process alive


if __name__ == "__main__":
    start()
