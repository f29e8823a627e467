"""What a fleet asks of its Redis: commands, bytes and processor time, for each request and for each idle worker.

    python -m tests.bench.fleet_cost [--workers 1 4] [--requests 320]

A real Redis, API process and workers of the demo, with an engine that takes no time, all on this machine.
docs/operations.md sizes fleets by these.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from server.workers import DEMO
from tests.server.fleet.conftest import Fleet

IDLE_SECONDS = 10.0


class Cost(NamedTuple):
    """What Redis counted, per unit of something."""

    commands: float
    received: float
    sent: float
    cpu_ms: float

    def __str__(self) -> str:
        return (
            f"{self.commands:.1f} commands, {self.received:.0f} bytes in, {self.sent:.0f} out, "
            f"{self.cpu_ms:.2f} ms of Redis' processor time"
        )


def read(info: dict[str, Any]) -> Cost:
    """The counters now."""
    return Cost(
        info["total_commands_processed"],
        info["total_net_input_bytes"],
        info["total_net_output_bytes"],
        1000 * (info["used_cpu_user"] + info["used_cpu_sys"]),
    )


@contextmanager
def counted(fleet: Fleet, units: float, found: list[Cost]) -> Iterator[None]:
    """Add what Redis counts meanwhile, by `units`."""
    with fleet.redis.client() as client:
        before = read(client.info("all"))
        yield
        found.append(Cost(*((b - a) / units for a, b in zip(before, read(client.info("all"))))))


def measure(workers: int, requests: int) -> tuple[Cost, Cost, float, float]:
    """Of an idle second, of a request; requests per second, and bytes of a picture."""
    with tempfile.TemporaryDirectory() as folder:
        fleet, found = Fleet(Path(folder)), list[Cost]()
        try:
            for _ in range(workers):
                fleet.worker(DEMO, options=("--lease-seconds", "3"))
            url = fleet.api("--cache-bytes", "0").client.base_url
            time.sleep(3)
            with counted(fleet, IDLE_SECONDS, found):
                time.sleep(IDLE_SECONDS)
            start = time.monotonic()
            with counted(fleet, requests, found), ThreadPoolExecutor(8) as pool, httpx.Client(base_url=url) as client:
                replies = [*pool.map(lambda seed: client.post(f"/generate?steps=1&seed={seed}"), range(requests))]
            rate = requests / (time.monotonic() - start)
            assert {reply.status_code for reply in replies} == {200}
            return found[0], found[1], rate, sum(len(reply.content) for reply in replies) / requests
        finally:
            fleet.end()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4], metavar="N")
    parser.add_argument("--requests", type=int, default=320, metavar="N")
    args = parser.parse_args()
    for workers in args.workers:
        idle, each, rate, size = measure(workers, args.requests)
        print(f"{workers} workers, one API process, idle, a second: {idle}", flush=True)
        print(
            f"{workers} workers, {rate:.0f} one-step requests a second, pictures of {size:.0f} bytes, each: {each}",
            flush=True,
        )


if __name__ == "__main__":
    main()
