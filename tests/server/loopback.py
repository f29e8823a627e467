"""A worker in a thread of the test, its engine in the test's hand, and the test in the place of the API process."""

from __future__ import annotations

import math
import queue
import socket
import threading
from typing import Any

from export.runtime.engines import Engine
from server.jobs import Job
from server.schedule.costs import Costs
from server.wire import Frame, Frames, pack
from server.worker.process import Worker

PATIENCE = 30.0
"""Seconds until a test gives up waiting for a frame."""


def flat_costs(max_rows: int) -> Costs:
    """Costs of a device on which larger ticks cost nothing more, so that ticks take up to `max_rows` rows."""
    return Costs.from_dict({"max_rows": max_rows, "ticks": {"1": [1.0, 10], str(max_rows): [1.0, 10]}})


def job(number: int, steps: int = 1, n: int = 1, label: int | None = 0, **fields: Any) -> Job:
    """A job of the seed 100 * number."""
    return Job(
        **{
            "id": number,
            "client": "test",
            "priority": "interactive",
            "arrival": 0.0,
            "due": float(number),
            "deadline": math.inf,
            "seed": 100 * number,
            "n": n,
            "label": label,
            "steps": steps,
            "guidance": None,
            "format": "npy",
            "layout": "whole",
            **fields,
        }
    )


class Loopback:
    """A worker over a pair of sockets. A context manager: leaving it ends the worker."""

    def __init__(self, engine: Engine, max_rows: int = 8) -> None:
        self._socket, theirs = socket.socketpair()
        self._frames: queue.SimpleQueue[Frame] = queue.SimpleQueue()
        self.worker = Worker(engine, theirs, flat_costs(max_rows), lambda costs: None)
        self._threads = [threading.Thread(target=self.worker.run), threading.Thread(target=self._read)]

    def __enter__(self) -> Loopback:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
        self._socket.close()

    def _read(self) -> None:
        frames = Frames()
        while data := self._socket.recv(2**18):
            for frame in frames.feed(data):
                self._frames.put(frame)

    def send(self, *jobs: Job) -> None:
        """Hand jobs over, all at once."""
        self._socket.sendall(b"".join(pack(one.header(), one.blobs()) for one in jobs))

    def tell(self, **header: object) -> None:
        """Send a frame without blobs."""
        self._socket.sendall(pack(header))

    def receive(self) -> Frame:
        """The next frame of the worker."""
        return self._frames.get(timeout=PATIENCE)
