"""What the Redis road costs, and what a second worker brings: `python -m tests.bench.fleet [idle] [scale]`.

idle: one one-step request at a time, in turn to `longjump serve BUNDLE` and to `longjump serve --redis` with one worker
of the same bundle, all on this machine: the difference is what the road adds.

scale: a closed loop over one worker, then over two, of an engine that sleeps T(b) = ALPHA + BETA b and costs no
processor time: the ratio is how much of the second worker the fleet uses. On a busy machine: LONGJUMP_BENCH_SLOWER=6
in the environment and more seconds, so that the engine stays the limit.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from server.bench import sleeping
from server.bench.arrivals import endless
from server.bench.client import Address, Connection, Load
from server.bench.contenders import Contender, environment, longjump, post_patient_query, post_query
from server.bench.idle import UNTIMED
from server.bench.setup import SETTLE_SECONDS, Setup
from server.workers import DEMO
from tests.server.fleet.redis_server import RedisServer

SLOWER = "LONGJUMP_BENCH_SLOWER"
"""Environment variable: how many times longer the engine sleeps."""

ALPHA = 0.02 * float(os.environ.get(SLOWER, "1"))
BETA = 0.005 * float(os.environ.get(SLOWER, "1"))
"""Seconds. At most 160 rows per second and worker: what this machine's HTTP side does with a part of a core."""

CONNECTIONS = 96
WORKER = "worker"
"""Argument with which this module is a worker process."""


class Slow(sleeping.SleepingEngine):
    """Sleeps longer than the engine that it is made of."""

    def jump(self, z, t, s, label, guidance=None):  # type: ignore[no-untyped-def]
        """Sleep as long as a network would compute for these rows."""
        time.sleep(ALPHA + BETA * len(z) - sleeping.ALPHA - sleeping.BETA * len(z))
        return super().jump(z, t, s, label, guidance)

    def cost(self, rows: int) -> float:
        """T(rows)."""
        return ALPHA + BETA * rows


@contextmanager
def agent(url: str, bundle: Path, costs: Path, *, sleeps: bool = False) -> Iterator[None]:
    """A `longjump worker` of the bundle."""
    front_door = [sys.executable, str(Path("longjump.py").resolve()), "worker"]
    command = [sys.executable, "-m", "tests.bench.fleet", "agent"] if sleeps else front_door
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [*command, str(bundle), "--redis", url, "--threads", "1", "--cost-cache", str(costs)],
            stdout=said, stderr=said, env=environment(),
        )  # fmt: skip
        try:
            for _ in range(6000):
                if b"ready as" in os.pread(said.fileno(), 2**16, 0):
                    break
                if process.poll() is not None:
                    raise OSError(os.pread(said.fileno(), 2**16, 0).decode())
                time.sleep(0.01)
            yield
        finally:
            process.terminate()
            process.wait(30)


def api(url: str) -> Contender:
    """`longjump serve --redis`."""
    front_door = (sys.executable, str(Path("longjump.py").resolve()), "serve")
    options = ("--redis", url, "--port", "0", "--cache-bytes", "0")
    return Contender("fleet", (*front_door, *options), post_query, post_patient_query)


def idle(bundle: Path, requests: int, folder: Path) -> None:
    """Print what the road adds to an idle one-step request."""
    with ExitStack() as stack:
        redis = RedisServer(folder)
        stack.callback(redis.kill)
        costs = folder / "costs"
        options = ("--threads", "1", "--cost-cache", str(costs), "--cache-bytes", "0")
        embedded = stack.enter_context(longjump(bundle, options).start())
        stack.enter_context(agent(redis.url, bundle, costs))
        fleet = stack.enter_context(api(redis.url).start())
        pairs = [stack.enter_context(closing(Connection(one.address))) for one in (embedded, fleet)]
        seconds: list[list[float]] = [[], []]
        for number in range(-UNTIMED, requests):
            for times, connection in zip(seconds, pairs):
                time.sleep(SETTLE_SECONDS)
                start = time.perf_counter()
                status, _, _ = connection.ask(post_query(1, number + UNTIMED))
                if status != 200:
                    raise OSError(f"answered {status}")
                if number >= 0:
                    times.append(time.perf_counter() - start)
        one, other = (1000 * statistics.median(times) for times in seconds)
        differences = sorted(1000 * (b - a) for a, b in zip(*seconds))
        print(f"idle one-step request, {requests} in turn, medians: embedded {one:.2f} ms, over Redis {other:.2f} ms")
        low, high = differences[len(differences) // 4], differences[3 * len(differences) // 4]
        print(f"  the road adds {other - one:.2f} ms (of pairs {low:.2f} to {high:.2f}), ratio {other / one:.2f}")


def scale(bundle: Path, seconds: float, folder: Path) -> None:
    """Print the rates of one worker and of two."""
    rates = []
    for workers in (1, 2):
        with ExitStack() as stack:
            redis = RedisServer(folder)
            stack.callback(redis.kill)
            for _ in range(workers):
                stack.enter_context(agent(redis.url, bundle, folder / "sleeping", sleeps=True))
            server = stack.enter_context(api(redis.url).start())
            rates.append(rate(server.address, bundle, seconds, folder))
    one, two = rates
    print(f"engine that sleeps, closed loop of {CONNECTIONS}, {seconds:g} s: one worker {one:.0f}/s, two {two:.0f}/s")
    print(f"  ratio {two / one:.2f} (the engine alone: {16 / (ALPHA + 16 * BETA):.0f}/s a worker)")


def rate(address: Address, bundle: Path, seconds: float, folder: Path) -> float:
    """Answers per second."""
    setup = Setup(bundle, 1, 1, seconds, 1, 1, (1, 1), True, folder)
    asks = endless(setup.few, post_patient_query, setup.rng(), 0)
    with Load(address, CONNECTIONS) as load:
        load.closed_loop(asks, seconds / 4)
    with Load(address, CONNECTIONS) as load:
        answers = load.closed_loop(asks, seconds)
    others = {answer.status for answer in answers} - {200}
    if others:
        raise OSError(f"answered {sorted(others)}")
    return len(answers) / seconds


def main() -> int:
    """Measure, or be an agent or a worker process."""
    if sys.argv[1:2] == [WORKER]:
        from server.worker.process import start

        del sys.argv[1]
        start(Slow)
    if sys.argv[1:2] == ["agent"]:
        from server.fleet import command

        parser = argparse.ArgumentParser()
        command.add_arguments(parser)
        return command.run(parser.parse_args(sys.argv[2:]), worker=(sys.executable, "-m", "tests.bench.fleet", WORKER))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", help="idle, scale (default: both)")
    parser.add_argument("--bundle", type=Path, default=DEMO)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=10.0)
    args = parser.parse_args()
    load = re.search(r"[\d.]+", Path("/proc/loadavg").read_text())
    print(f"load average {load[0] if load else '?'} at the start")
    with tempfile.TemporaryDirectory() as folder:
        if not args.what or "idle" in args.what:
            idle(args.bundle, args.requests, Path(folder))
        if not args.what or "scale" in args.what:
            scale(args.bundle, args.seconds, Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
