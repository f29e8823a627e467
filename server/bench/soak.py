"""Load a server at random for minutes, and watch its memory: it must stay flat.

    longjump soak                     the demo, 10 minutes
    longjump soak BUNDLE --seconds 60

Clients ask for one picture and for many, quickly and in many steps, again and again for the same, as a stream, from an
image, along a path, with deadlines that cannot be kept, and go away in the middle. Memory that holds no files and open
files of every process are watched. Exit code 1 if memory or files grow, if an answer is one that should not be, or if
the server does not stop in good order.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from export.runtime.bundle import open_bundle
from server.arguments import positive
from server.bench.client import Address
from server.bench.contenders import Contender, longjump
from server.bench.figures import median, slope
from server.bench.processes import open_files, own_memory
from server.bench.setup import SEED
from server.workers import default_bundle

WARM_SHARE = 0.25
"""Of the run, in which caches fill and allocators settle: not judged."""

SAMPLES = 120
"""Looks at the memory, evenly spread."""

GROWTH_MB = 8.0
"""Over the judged part of the run, by its slope. In the 7.5 minutes of the default run it is 100 bytes a request at
200 requests per second; allocators alone stay below it."""

MORE_FILES = 4
"""Open files after the run beyond those before it; idle both times."""

SAME_SEEDS = 50
"""How many seeds are asked for again and again."""

CACHE_BYTES = 4 * 2**20
"""Of the server's response cache: small, so that it is full before the judged part begins."""

EXPECTED = (200, 429, 504)
IMPOSSIBLE = 422
"""Expected too of a deadline that no server could keep."""

REFUSED_SECONDS = 0.02
"""Pause of a client that was refused: far less than it was told, but it lets others in."""

IDLE_SECONDS = 2.0


@dataclass(frozen=True)
class Act:
    """One thing that a client does."""

    kind: str
    method: str
    target: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    leave_after: float | None = None
    """Seconds after which the client goes away without its answer."""


class Script:
    """Draws what clients do."""

    def __init__(self, steps: Sequence[int], image: bytes) -> None:
        """`steps` are the bundle's; `image` is a PNG to start from."""
        self._few, self._many = min(steps), max(steps)
        self._image = image
        self.weights: dict[str, float] = {
            "one": 6,
            "many steps": 2,
            "grid": 0.3,
            "json": 0.3,
            "again": 3,
            "uncached": 1,
            "first then refined": 1,
            "every step": 0.5,
            "variation": 0.5,
            "path": 0.2,
            "hurried": 1,
            "leaves": 2,
        }
        """Kind -> how often."""

    def act(self, rng: random.Random, kind: str | None = None) -> Act:
        """The next thing to do; of a kind drawn by weight if none is given."""
        if kind is None:
            [kind] = rng.choices(list(self.weights), list(self.weights.values()))
        seed = rng.randrange(2**40)
        fast, slow = f"steps={self._few}", f"steps={self._many}"
        new, stream = f"/generate?seed={seed}&", {"accept": "text/event-stream"}
        if kind == "many steps":
            return Act(kind, "POST", new + slow)
        if kind == "grid":
            return Act(kind, "POST", new + f"{fast}&n=4&format=webp")
        if kind == "json":
            return Act(kind, "POST", new + f"{fast}&n=3", {"accept": "application/json"})
        if kind == "again":
            return Act(kind, "GET", f"/generate?{fast}&seed={rng.randrange(SAME_SEEDS)}")
        if kind == "uncached":
            return Act(kind, "GET", new + fast, {"cache-control": "no-store"})
        if kind == "first then refined":
            return Act(kind, "POST", new + f"{slow}&stream=first", stream)
        if kind == "every step":
            return Act(kind, "POST", new + f"{slow}&stream=every", stream)
        if kind == "variation":
            target = f"/variations?seed={seed}&{fast}&strength=0.5"
            return Act(kind, "POST", target, {"content-type": "image/png"}, self._image)
        if kind == "path":
            return Act(kind, "GET", f"/interpolate?seed={seed}&seed_to={seed + 1}&{fast}&n=4")
        if kind == "hurried":
            return Act(kind, "POST", new + f"{slow}&deadline_ms={rng.randint(1, 100)}")
        if kind == "leaves":
            return Act(kind, "POST", new + rng.choice((fast, slow)), leave_after=rng.uniform(0, 0.03))
        return Act(kind, "POST", new + fast)


class Clients:
    """Threads that act until they are stopped."""

    def __init__(self, address: Address, script: Script, count: int) -> None:
        self.counts: Counter[tuple[str, int]] = Counter()
        """(kind, status) -> how many; status 0 is one that the client did not wait for."""
        self.broken: list[str] = []
        """What went wrong on the way, in words."""
        self._address, self._script = address, script
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._act, args=(SEED + i,)) for i in range(count)]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _act(self, seed: int) -> None:
        rng = random.Random(seed)
        connection = http.client.HTTPConnection(*self._address, timeout=60)
        while not self._over.is_set():
            act = self._script.act(rng)
            try:
                status = perform(connection, act)
            except (OSError, http.client.HTTPException) as error:
                self.broken.append(f"{act.kind}: {type(error).__name__}: {error}")
                connection.close()
                continue
            self.counts[act.kind, status] += 1
            if status == 429:
                time.sleep(REFUSED_SECONDS)
        connection.close()


def perform(connection: http.client.HTTPConnection, act: Act) -> int:
    """Do it; the status of the answer, which is read to its end, or 0."""
    connection.request(act.method, act.target, act.body, act.headers)
    if act.leave_after is not None:
        time.sleep(act.leave_after)
        connection.close()
        return 0
    response = connection.getresponse()
    body = response.read()
    if response.headers.get_content_type() == "text/event-stream" and b"event: error" in body:
        return int(json.loads(body.rpartition(b"event: error")[2].partition(b"data:")[2])["status"])
    return response.status


def growth_mb(times: Sequence[float], sizes: Sequence[float]) -> float:
    """By how much a size grew over `times`, as its slope says: MB if `sizes` are."""
    return slope(times, sizes) * (times[-1] - times[0])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `longjump soak`."""
    parser.add_argument(
        "bundle", nargs="?", type=Path, metavar="BUNDLE", help="folder of the bundle (default: the demo)"
    )
    parser.add_argument("--seconds", type=positive, default=600, metavar="S", help="length (default: %(default)s)")
    parser.add_argument("--clients", type=positive, default=8, metavar="N", help="clients (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Load, watch, judge and print; 0, or 1 if something is not as it should be."""
    bundle = default_bundle(args.bundle)
    steps = open_bundle(bundle, engines=False).manifest.steps
    with TemporaryDirectory() as costs, _server(bundle, costs).start() as server:
        script = _script(server.address, steps)
        files = sum(map(open_files, server.processes))
        begin = time.monotonic()
        times: list[float] = []
        sizes: list[list[float]] = []
        with Clients(server.address, script, args.clients) as clients:
            processes = server.processes
            print(f"{args.clients} clients for {args.seconds} s; own memory in MB (API process, then workers)")
            for number in range(1, SAMPLES + 1):
                time.sleep(max(0.0, begin + args.seconds * number / SAMPLES - time.monotonic()))
                times.append(time.monotonic() - begin)
                sizes.append([own_memory(pid) / 2**20 for pid in processes])
                if number % 10 == 0:
                    text = "  ".join(f"{size:7.1f}" for size in sizes[-1])
                    print(f"  {times[-1]:6.0f} s  {text}  {clients.counts.total()} requests", flush=True)
        time.sleep(IDLE_SECONDS)
        alive = server.processes
        more_files = sum(map(open_files, alive)) - files
        faults = _faults(clients, times, sizes)
        if alive != processes:
            faults.append(f"processes {processes} have become {alive}")
        if more_files > MORE_FILES:
            faults.append(f"{more_files} files more are open after the run than before")
        server.process.send_signal(signal.SIGTERM)
        if (code := server.process.wait(60)) != 0:
            faults.append(f"the server exited with {code}")
    _print_counts(clients.counts)
    print(f"open files: {more_files:+d}")
    print("\n".join(f"FAULT: {fault}" for fault in faults) or "memory is flat, and every answer one that may be")
    return 1 if faults else 0


def _server(bundle: Path, costs: str) -> Contender:
    return longjump(bundle, ("--cache-bytes", str(CACHE_BYTES), "--cost-cache", costs))


def _script(address: Address, steps: Sequence[int]) -> Script:
    """What clients do with this bundle: what it refuses, a variation of points say, is left out and told."""
    connection = http.client.HTTPConnection(*address, timeout=60)
    connection.request("POST", f"/generate?steps={min(steps)}&seed=0")
    script = Script(steps, connection.getresponse().read())
    for kind in list(script.weights):
        with contextlib.closing(http.client.HTTPConnection(*address, timeout=60)) as once:
            status = perform(once, script.act(random.Random(0), kind))
        if status in (400, 404, 405, 422) and kind != "hurried":
            print(f"left out: {kind!r}, which is answered {status}")
            del script.weights[kind]
    connection.close()
    return script


def _faults(clients: Clients, times: Sequence[float], sizes: Sequence[Sequence[float]]) -> list[str]:
    """What is wrong with the answers and the memory, in words."""
    faults = [
        f"{count} times {kind!r} was answered {status}"
        for (kind, status), count in clients.counts.items()
        if status not in (0, *EXPECTED) and (kind, status) != ("hurried", IMPOSSIBLE)
    ]
    faults += [f"{count} times {text}" for text, count in Counter(clients.broken).most_common(10)]
    judged = [i for i, at in enumerate(times) if at >= WARM_SHARE * times[-1]]
    for number, name in enumerate(["the API process", *(f"worker {i}" for i in range(1, len(sizes[0])))]):
        found = [sizes[i][number] for i in judged]
        grown = growth_mb([times[i] for i in judged], found)
        print(f"{name}: {median(found):.1f} MB in the middle, {grown:+.2f} MB by its slope, at most {GROWTH_MB:g}")
        if grown > GROWTH_MB:
            faults.append(f"{name} grew by {grown:.1f} MB")
    return faults


def _print_counts(counts: Counter[tuple[str, int]]) -> None:
    for kind in sorted({kind for kind, _ in counts}):
        of_kind = {status or "left": count for (one, status), count in sorted(counts.items()) if one == kind}
        print(f"  {kind:<20}" + "  ".join(f"{status}: {count}" for status, count in of_kind.items()))
