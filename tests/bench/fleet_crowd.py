"""Fifty worker machines and one Redis: what an open stream of requests costs it, and whether one is lost.

    python -m tests.bench.fleet_crowd [--workers 50] [--rate 1000] [--seconds 20]

One real Redis, kept as deploy/redis/redis.conf keeps it; API processes and worker machines as in
`tests.bench.fleet_simulated`. The clients send a Poisson stream of one-image requests of 2, 4 and 8 steps, five
row-steps in the mean, a tenth of it batch work, whatever comes back. Each request must be answered once, with its own
bytes. Exit 1 if one is not. docs/operations.md sizes fleets by the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import quantiles
from typing import Any

from server.fleet.keys import Keys
from tests.bench.fleet_cost import Cost, read
from tests.bench.fleet_simulated import ALPHA, BETA, MEAN_STEPS
from tests.server.fleet.redis_server import RedisServer

IDLE_SECONDS = 5.0
MOST = 8
"""Kinds of commands that are shown."""


class Process:
    """One of `tests.bench.fleet_simulated`."""

    def __init__(self, *command: object) -> None:
        module = [sys.executable, "-m", "tests.bench.fleet_simulated"]
        self._process = subprocess.Popen(
            [*module, *map(str, command)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def line(self) -> str:
        """What it says next. OSError if it ended."""
        assert self._process.stdout is not None
        text = self._process.stdout.readline()
        if not text:
            raise OSError(f"a simulated process ended with {self._process.wait()}")
        return text

    def go(self) -> None:
        """Let it begin."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def counted(self) -> dict[str, Any]:
        """What it counted in the end."""
        found: dict[str, Any] = json.loads(self.line())
        return found

    def end(self) -> None:
        """Close its stdin: agents drain and count."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def cpu(self) -> float:
        """Seconds of processor time until now."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        """At once."""
        self._process.kill()
        self._process.wait(30)


class Window:
    """What Redis and the processes did between two moments."""

    def __init__(self, server: RedisServer, processes: dict[str, list[Process]]) -> None:
        self._server = server
        self._processes = processes
        self.seconds = 0.0
        self.cost = Cost(0, 0, 0, 0)
        self.commands = Counter[str]()
        self.cores: dict[str, float] = {}

    @contextmanager
    def open(self) -> Iterator[None]:
        """Look before and after."""
        before, cpu, start = self._info(), self._cpu(), time.monotonic()
        yield
        self.seconds = time.monotonic() - start
        after = self._info()
        self.cost = Cost(*((b - a) / self.seconds for a, b in zip(read(before), read(after))))
        for name, told in after.items():
            if name.startswith("cmdstat_"):
                self.commands[name.removeprefix("cmdstat_")] = told["calls"] - before.get(name, {"calls": 0})["calls"]
        self.cores = {name: (b - cpu[name]) / self.seconds for name, b in self._cpu().items()}

    def _info(self) -> dict[str, Any]:
        with self._server.client() as client:
            return {**client.info("all"), **client.info("commandstats")}

    def _cpu(self) -> dict[str, float]:
        return {kind: sum(one.cpu() for one in some) for kind, some in self._processes.items()}


def share(numbers: int, among: int) -> list[int]:
    """So many, as evenly as can be."""
    return [numbers // among + (n < numbers % among) for n in range(among)]


def entries(server: RedisServer) -> int:
    """Requests and answers that are still in Redis."""
    with server.client() as client:
        streams = [key for kind in ("work", "reply") for key in client.keys(f"{Keys().named(kind)}:*")]
        return sum(client.xlen(key) for key in streams)


def measure(args: argparse.Namespace, folder: Path) -> int:
    """Run it and print; 1 if anything was lost."""
    kept = ("--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory", "512mb")
    with ExitStack() as stack:
        server = RedisServer(folder, *kept)
        stack.callback(server.kill)
        with server.client() as client:
            version = client.info("server")["redis_version"]
        machines = [Process("agents", server.url, some) for some in share(args.workers, args.worker_processes)]
        rate = args.rate / args.api_processes
        told = (server.url, args.workers, rate, args.seconds)
        apis = [Process("api", *told, seed + 1) for seed in range(args.api_processes)]
        for process in (*machines, *apis):
            stack.callback(process.kill)
        for process in (*machines, *apis):
            process.line()
        idle, busy = (Window(server, {"API": apis, "workers": machines}) for _ in range(2))
        with idle.open():
            time.sleep(IDLE_SECONDS)
        with busy.open():
            for process in apis:
                process.go()
            asked = [process.counted() for process in apis]
        left = entries(server)
        for process in machines:
            process.end()
        ended = sum((Counter(process.counted()) for process in machines), Counter[str]())
    return report(args, version, asked, ended, left, idle, busy)


def report(
    args: argparse.Namespace,
    version: str,
    asked: list[dict[str, Any]],
    ended: Counter[str],
    left: int,
    idle: Window,
    busy: Window,
) -> int:
    """Print what was found; 1 if a request was not answered once."""
    counted = sum((Counter(one["counted"]) for one in asked), Counter[str]())
    sent, answered, steps = counted["sent"], counted["answered"], sum(one["row_steps"] for one in asked)
    times, late = (_spread([value for one in asked for value in one[name]]) for name in ("seconds", "late"))
    print(
        f"Redis {version}; {args.workers} simulated workers in {args.worker_processes} processes, T(b) = "
        f"{1000 * ALPHA:g} + {1000 * BETA:g} b ms; {args.api_processes} API processes"
    )
    names = ("answered", "refused", "expired", "errors", "wrong", "lost")
    print(
        f"sent {sent} in {args.seconds:g} s, {sent / args.seconds:.0f} requests and {steps / args.seconds:.0f} "
        f"row-steps a second: {', '.join(f'{name} {counted[name]}' for name in names)}"
    )
    print(
        f"  workers ended {ended['done']}, {ended['overtaken']} a second time; taken over {ended['reclaimed']}, dead "
        f"letters {sum(n for name, n in ended.items() if name.startswith('buried'))}; left in Redis {left}"
    )
    print(f"  seconds to the answer: {times}; a request was sent late by {late}")
    cost, n = busy.cost, busy.seconds / max(1, sent)
    print(
        f"Redis, {busy.seconds:.1f} s: {cost.commands:.0f} commands a second, {cost.received / 1e6:.2f} MB in, "
        f"{cost.sent / 1e6:.2f} MB out, {cost.cpu_ms / 1000:.2f} of a core; a request: {Cost(*(n * x for x in cost))}"
    )
    shown = ", ".join(f"{name} {times / max(1, sent):.2f}" for name, times in busy.commands.most_common(MOST))
    print(f"  commands of a request: {shown}")
    print(f"  idle: {idle.cost.commands:.0f} commands a second, {idle.cost.cpu_ms / 1000:.3f} of a core")
    cores = ", ".join(f"{name} {cores:.2f}" for name, cores in busy.cores.items())
    print(f"cores of the simulation: {cores}; idle: {', '.join(f'{k} {v:.2f}' for k, v in idle.cores.items())}")
    return int(answered != sent or left > 0 or sum(ended[name] for name in ("overtaken", "reclaimed", "left")) > 0)


def _spread(values: list[float]) -> str:
    if len(values) < 2:
        return "unknown"
    cuts = quantiles(values, n=100)
    return f"{cuts[49]:.3f} (p50), {cuts[98]:.3f} (p99)"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=50, metavar="N")
    parser.add_argument("--rate", type=float, default=1000.0, metavar="R", help="requests per second (row-steps: 5 R)")
    parser.add_argument("--seconds", type=float, default=20.0, metavar="S")
    parser.add_argument("--worker-processes", type=int, default=1, metavar="N")
    parser.add_argument("--api-processes", type=int, default=1, metavar="N")
    args = parser.parse_args()
    assert MEAN_STEPS == 5
    print(f"load average {Path('/proc/loadavg').read_text().split()[0]} at the start")
    with tempfile.TemporaryDirectory() as folder:
        return measure(args, Path(folder))


if __name__ == "__main__":
    sys.exit(main())
