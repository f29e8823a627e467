"""Clients of a drill: numbered requests with seeds, and what became of each."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx

from export.runtime.bundle import open_bundle

from ...conftest import make_job
from ...fake_worker import FakeEngine
from ...loopback import Loopback

DEADLINE = 20.0
"""Seconds that a request of a drill has, unless the drill is about time."""

PATIENCE = 20.0
"""Seconds after its deadline at which a client gives up: who has heard nothing by then was lost."""

LABELS = ("cat", "dog", "owl")

Fate = Literal["answered", "refused", "errored", "lost", "wrong"]
"""answered: with the bytes of an undisturbed server, once. refused: 429 or 503 that says why and when to come again.
errored: told that it failed, or its connection broke. lost: nothing in time. wrong: anything else."""


@dataclass(frozen=True)
class Asked:
    """One request."""

    number: int
    steps: int
    label: int
    batch: bool
    streamed: bool
    deadline: float

    @property
    def target(self) -> str:
        """The path and query."""
        told = f"seed={self.number}&steps={self.steps}&label={LABELS[self.label]}&deadline_ms={1000 * self.deadline:g}"
        return f"/generate?{told}" + "&priority=batch" * self.batch + "&stream=every" * self.streamed


@dataclass(frozen=True)
class Heard:
    """What came of it."""

    asked: Asked
    fate: Fate
    words: str
    """Why, if it was not answered."""


@dataclass(frozen=True)
class Counts:
    """All requests of one drill."""

    sent: int
    answered: int
    refused: int
    errored: int
    lost: int
    wrong: int

    @classmethod
    def of(cls, heard: Sequence[Heard]) -> Counts:
        """Count them."""
        by = Counter(one.fate for one in heard)
        return cls(len(heard), *(by[fate] for fate in ("answered", "refused", "errored", "lost", "wrong")))

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in vars(self).items())


class Sent:
    """Requests that are on their way."""

    def __init__(self, futures: Sequence[Future[Heard]]) -> None:
        self._futures = futures

    @property
    def over(self) -> int:
        """How many of them have their answer."""
        return sum(future.done() for future in self._futures)

    def so_far(self) -> list[Heard]:
        """The answers that are there."""
        return [future.result() for future in self._futures if future.done()]

    def heard(self) -> list[Heard]:
        """Wait for all."""
        return [future.result() for future in self._futures]


class Clients:
    """Sends requests from a thread of its own."""

    def __init__(self, bundle: Path) -> None:
        """`bundle` is what the fleet serves, with the engine of fake_worker.py."""
        self._engine = FakeEngine(open_bundle(bundle))
        self._numbers = itertools.count(1)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        # No connection serves two requests: that it broke is then the news of one.
        self._http = httpx.AsyncClient(timeout=None, limits=httpx.Limits(max_keepalive_connections=0))

    def close(self) -> None:
        """End it."""
        asyncio.run_coroutine_threadsafe(self._http.aclose(), self._loop).result(PATIENCE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def send(self, addresses: Sequence[httpx.URL | str], count: int, *, deadline: float = DEADLINE) -> Sent:
        """Send so many requests of all kinds at once, to the addresses in turn."""
        return Sent([self._one(address, deadline) for address, _ in zip(itertools.cycle(addresses), range(count))])

    def _one(self, address: httpx.URL | str, deadline: float) -> Future[Heard]:
        number = next(self._numbers)
        streamed = number % 5 == 4
        asked = Asked(
            number, 4 if streamed else (1, 2, 4)[number % 3], number // 3 % 3, number % 4 == 2, streamed, deadline
        )
        return asyncio.run_coroutine_threadsafe(self._ask(str(address), asked), self._loop)

    async def _ask(self, address: str, asked: Asked) -> Heard:
        limit = asked.deadline + PATIENCE
        try:
            async with asyncio.timeout(limit):
                answer = await self._http.post(address.rstrip("/") + asked.target)
        except TimeoutError:
            return Heard(asked, "lost", f"nothing in {limit:g} s")
        except httpx.TransportError as error:
            return Heard(asked, "errored", f"{type(error).__name__}: {error}")
        fate, words = self._judge(asked, answer)
        return Heard(asked, fate, words)

    def _judge(self, asked: Asked, answer: httpx.Response) -> tuple[Fate, str]:
        if answer.status_code != 200:
            return _told(answer.json(), "retry-after" in answer.headers)
        content = answer.content
        if asked.streamed:
            shown = _events(answer.text)
            name, last = shown[-1] if shown else ("nothing", {})
            if name == "error":
                return _told(last, True)
            steps = [data["steps"] for _, data in shown]
            if steps != sorted(set(steps)) or [data["last"] for _, data in shown] != [False] * (len(shown) - 1) + [
                True
            ]:
                return "wrong", f"a stream showed the steps {steps}"
            content = base64.b64decode(last["base64"])
        if content != self._expected(asked):
            return "wrong", "other bytes than an undisturbed server gives"
        return "answered", ""

    def _expected(self, asked: Asked) -> bytes:
        """What a worker without a fleet makes of it."""
        with Loopback(self._engine) as alone:
            alone.send(make_job(1, seed=asked.number, steps=asked.steps, label=asked.label))
            while True:
                header, blobs = alone.receive()
                if header["op"] == "done":
                    return bytes(blobs[0])


def _told(problem: dict[str, object], when: bool) -> tuple[Fate, str]:
    """The fate of a request that was answered with a problem document; `when`: it says when to come again."""
    status, words = problem["status"], f"{problem['status']}: {problem['detail']}"
    if not problem["detail"]:
        return "wrong", f"{status} without words"
    if status in (429, 503):
        return ("refused" if when else "wrong"), words
    return ("errored" if status in (500, 504) else "wrong"), words


def _events(text: str) -> list[tuple[str, dict[str, object]]]:
    found = []
    for event in text.split("\n\n"):
        if event and not event.startswith(":"):
            name, data = event.split("\n")
            found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found
