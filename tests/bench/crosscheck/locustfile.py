"""locust on the OpenAI route at a constant rate: its users take turns at slots that lie evenly in time.

Environment: RATE (requests per second), STEPS, SEED, and REPORT, the file that gets the figures as JSON. locust's own
percentiles are rounded to whole or tens of milliseconds; these are of the same times, unrounded.
"""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any

from locust import FastHttpUser, events, task

SETTLE = 2.0
"""Seconds after the start that do not count: users are still starting."""

begun = time.monotonic()
gap = 1 / float(os.environ["RATE"])
slots = iter(begun + SETTLE / 2 + i * gap for i in range(2**31))
seeds = iter(range(int(os.environ["SEED"]), 2**31))
times: list[float] = []
failed: list[str] = []


class Client(FastHttpUser):
    """One of a few who share the slots."""

    def wait_time(self) -> float:
        """Seconds until the next free slot."""
        return max(0.0, next(slots) - time.monotonic())

    def on_start(self) -> None:
        """The first request waits for a slot too."""
        self.wait()

    @task
    def image(self) -> None:
        """Ask for one image."""
        body = {"prompt": "none", "steps": int(os.environ["STEPS"]), "seed": next(seeds), "response_format": "b64_json"}
        self.client.post("/v1/images/generations", json=body, headers={"Cache-Control": "no-store"})


@events.request.add_listener
def note(response_time: float, exception: Exception | None, **_: Any) -> None:
    """Keep a time in seconds."""
    if time.monotonic() - begun < SETTLE:
        return
    if exception is None:
        times.append(response_time / 1000)
    else:
        failed.append(str(exception))


@events.quitting.add_listener
def report(**_: Any) -> None:
    """Write the figures."""
    ordered = sorted(times)
    figures = {
        "count": len(ordered),
        "seconds": time.monotonic() - begun - SETTLE,
        "p50": ordered[math.ceil(0.5 * len(ordered)) - 1] if ordered else None,
        "p99": ordered[math.ceil(0.99 * len(ordered)) - 1] if ordered else None,
        "failed": len(failed),
    }
    Path(os.environ["REPORT"]).write_text(json.dumps(figures), encoding="utf-8")
