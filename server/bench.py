"""Measure a bundle on this machine: launch to ready, and an idle one-step request against the raw engine.

    longjump bench             the demo
    longjump bench BUNDLE      another bundle

The floor is what no server can save: noise, the engine's call, decode and PNG in this process, without a server. It
and the request over HTTP are measured in turn, with a pause between, so that both see the same machine. Close other
programs first: the figures are of the machine as it is.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from server.serve import default_bundle, default_threads, positive

if TYPE_CHECKING:
    from export.runtime.engines import Engine

SETTLE_SECONDS = 0.02
"""Between two measurements, so that neither pays for the other's spinning threads."""

LAUNCH_PARTS = {
    "process": "worker: its Python",
    "imports": "worker: imports",
    "bundle": "worker: read and verify the bundle",
    "engine": "worker: load the engine",
    "warm": "worker: first call",
    "http": "meanwhile, the API process",
}
"""What /readyz says about the start, in order."""

LAUNCH_SECONDS = 60
"""After which a launch counts as failed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `longjump bench`."""
    parser.add_argument(
        "bundle", nargs="?", type=Path, metavar="BUNDLE", help="folder of the bundle (default: the demo)"
    )
    parser.add_argument("--launches", type=positive, default=5, metavar="N", help="launches (default: %(default)s)")
    parser.add_argument("--requests", type=positive, default=200, metavar="N", help="requests (default: %(default)s)")
    parser.add_argument(
        "--threads",
        type=positive,
        default=default_threads(),
        metavar="N",
        help="as for longjump serve, and for the floor (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Measure and print; 0."""
    bundle = default_bundle(args.bundle)
    command = [sys.executable, *_front_door(), "serve", str(bundle), "--port", "0"]
    command += ["--threads", str(args.threads)]
    launches = [measure_launch(command) for _ in range(args.launches)]
    _print_launches(launches)
    _print_requests(measure_requests(command, bundle, args.threads, args.requests))
    return 0


class Launched:
    """A server process of ours, from launch to end."""

    def __init__(self, command: Sequence[str]) -> None:
        """Start `command` and wait until it says that it is ready. OSError if it ends instead."""
        start = time.monotonic()
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        said = []
        for line in self.process.stderr:
            said.append(line)
            found = re.search(r"ready on http://([\d.]+):(\d+) ", line)
            if found:
                self.seconds = time.monotonic() - start
                self.address = (found[1], int(found[2]))
                return
        self.process.wait()
        raise OSError(f"the server ended with {self.process.returncode} before it was ready: {''.join(said)}")

    def __enter__(self) -> Launched:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()


class Client:
    """The least an HTTP client can do, so that it measures the server and not itself: one kept connection."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.create_connection(address, timeout=LAUNCH_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, method: str, target: str) -> tuple[bytes, bytes]:
        """One request; the head and body of its answer, which must be 200."""
        self._socket.sendall(f"{method} {target} HTTP/1.1\r\nhost: bench\r\n\r\n".encode())
        data = b""
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._receive()
        head = data[:end].lower()
        length = re.search(rb"content-length: (\d+)", head)
        if not head.startswith(b"http/1.1 200") or length is None:
            raise OSError(f"{method} {target} was answered {data[:500].decode(errors='replace')}")
        body = data[end + 4 :]
        while len(body) < int(length[1]):
            body += self._receive()
        return head, body

    def _receive(self) -> bytes:
        data = self._socket.recv(2**20)
        if not data:
            raise OSError("the server closed the connection")
        return data


def measure_launch(command: Sequence[str]) -> dict[str, float]:
    """Seconds from launch to ready and of its parts."""
    with Launched(command) as server:
        [parts] = json.loads(Client(server.address).ask("GET", "/readyz")[1])["startup_seconds"].values()
    return {"launch to ready": server.seconds, **{part: parts[part] for part in LAUNCH_PARTS}}


def measure_requests(command: Sequence[str], bundle: Path, threads: int, count: int) -> list[dict[str, float]]:
    """`count` pairs of one request over HTTP and one floor, with their parts, in seconds."""
    from export.runtime.bundle import open_bundle
    from export.runtime.engines import open_engine

    engine = open_engine(open_bundle(bundle), threads)
    engine.warm()
    steps = engine.manifest.steps[0]
    pairs = []
    with Launched(command) as server:
        client = Client(server.address)
        for seed in range(-10, count):
            time.sleep(SETTLE_SECONDS)
            floor = measure_floor(engine, abs(seed), steps)
            time.sleep(SETTLE_SECONDS)
            start = time.perf_counter()
            head, _ = client.ask("POST", f"/generate?steps={steps}&seed={abs(seed)}")
            total = time.perf_counter() - start
            stages = re.findall(rb"(\w+);dur=([\d.]+)", head)
            pair = {**floor, "http": total, **{f"http {k.decode()}": float(v) / 1000 for k, v in stages}}
            # The network's own time varies more than all the rest, so it is also taken out of both.
            pair["beyond"] = (total - pair["http network"]) - (floor["floor"] - floor["floor network"])
            if seed >= 0:  # the first ten warm caches on both sides
                pairs.append(pair)
    return pairs


def measure_floor(engine: Engine, seed: int, steps: int) -> dict[str, float]:
    """Seconds of one sample without a server: noise, engine calls, decode, encode."""
    import numpy as np

    from export.runtime.images import encode, encode_npy
    from export.runtime.noise import draw_label, normal
    from export.runtime.sampler import sample

    manifest = engine.manifest
    start = time.perf_counter()
    normal(seed, 0, manifest.z_shape)
    noise = time.perf_counter() - start
    guidance = None if manifest.guidance is None else manifest.guidance.default
    start = time.perf_counter()
    label = draw_label(seed, len(manifest.labels))
    z = sample(engine.jump, manifest.z_shape, manifest.grid(steps), [seed], [label], guidance)
    sampled = time.perf_counter()
    if manifest.kind == "image":
        image = engine.decode(z)[0]
        decoded = time.perf_counter()
        encode(image, "png")
    else:
        decoded = sampled
        encode_npy(np.asarray(z))
    end = time.perf_counter()
    return {
        "floor": end - start,
        "floor noise": noise,
        "floor network": sampled - start - noise,
        "floor decode": decoded - sampled,
        "floor encode": end - decoded,
    }


def _front_door() -> list[str]:
    """How to start `longjump` with this interpreter: the installed module, or the file beside our folder."""
    return [str(Path(__file__).resolve().parent.parent / "longjump.py")]


def _print_launches(launches: Sequence[dict[str, Any]]) -> None:
    print(f"launch to ready, {len(launches)} launches                 median      (least to most)")
    for name in launches[0]:
        values = [launch[name] for launch in launches]
        text = f"  {LAUNCH_PARTS[name]}" if name in LAUNCH_PARTS else name
        print(f"{text:<42}{statistics.median(values):8.3f} s  ({min(values):.3f} to {max(values):.3f})")


def _print_requests(pairs: Sequence[dict[str, float]]) -> None:
    parts = ("http queue", "http network", "http decode", "http encode")
    rows = [
        ("raw floor", [pair["floor"] for pair in pairs]),
        ("  noise", [pair["floor noise"] for pair in pairs]),
        ("  network", [pair["floor network"] for pair in pairs]),
        ("  decode", [pair["floor decode"] for pair in pairs]),
        ("  encode", [pair["floor encode"] for pair in pairs]),
        ("over HTTP", [pair["http"] for pair in pairs]),
        ("  parse, queue, way to the worker", [pair["http queue"] for pair in pairs]),
        ("  network, with noise", [pair["http network"] for pair in pairs]),
        ("  decode", [pair["http decode"] for pair in pairs]),
        ("  encode", [pair["http encode"] for pair in pairs]),
        ("  way back, HTTP, client", [pair["http"] - sum(pair[part] for part in parts) for pair in pairs]),
        ("beyond the floor", [pair["http"] - pair["floor"] for pair in pairs]),
        ("beyond the floor, network left out", [pair["beyond"] for pair in pairs]),
    ]
    print(f"\nidle one-step request, {len(pairs)} in turn            median      (quartiles)")
    for text, values in rows:
        low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
        print(f"{text:<42}{1000 * middle:8.3f} ms ({1000 * low:.3f} to {1000 * high:.3f})")
    ratio = statistics.median(pair["http"] for pair in pairs) / statistics.median(pair["floor"] for pair in pairs)
    print(f"{'over HTTP / raw floor':<42}{ratio:8.3f}")
