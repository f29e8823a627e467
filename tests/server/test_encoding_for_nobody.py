"""A request cancelled while it waits to be decoded or encoded is dropped there, and those beside it are not."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from export.runtime.bundle import open_bundle
from export.runtime.images import Jpeg
from server.worker import imaging, writers
from server.worker.ticks import Finished

from .conftest import eventually
from .fake_worker import FakeEngine
from .loopback import PATIENCE, Loopback, job


class SlowDecoder(FakeEngine):
    """Decodes when the test lets it."""

    def __init__(self, bundle: Path) -> None:
        super().__init__(open_bundle(bundle))
        self.decoding = threading.Semaphore(0)
        self.go = threading.Event()
        self.decoded = 0

    def decode(self, z: NDArray[np.float32]) -> NDArray[np.uint8]:
        self.decoding.release()
        assert self.go.wait(PATIENCE)
        self.decoded += len(z)
        return super().decode(z)


def test_waiting_to_be_decoded(images: Path) -> None:
    engine = SlowDecoder(images)
    with Loopback(engine) as end:
        end.send(job(1), job(2))  # they finish in one tick, or in two: the first then holds the lane
        end.send(job(3, n=3))
        assert engine.decoding.acquire(timeout=PATIENCE)
        end.tell(op="cancel", id=3)
        end.tell(op="ping")
        while end.receive()[0]["op"] != "pong":
            pass
        engine.go.set()
        end.send(job(4))
        answered = []
        while 4 not in answered:
            header, _ = end.receive()
            assert header["op"] == "done"
            answered.append(header["id"])
    assert 3 not in answered


def test_waiting_to_be_encoded(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoding, go = threading.Semaphore(0), threading.Event()
    encoded = []

    def slow_write(one: object, shown: NDArray[np.generic], jpeg: Jpeg | None) -> list[bytes]:
        encoding.release()
        assert go.wait(PATIENCE)
        encoded.append(one.id)  # type: ignore[attr-defined]
        return imaging.write(one, shown, jpeg)  # type: ignore[arg-type]

    monkeypatch.setattr(writers, "write", slow_write)
    with Loopback(FakeEngine(open_bundle(images))) as end:
        end.send(job(1, n=2), job(2, n=2), job(3, n=2))
        assert encoding.acquire(timeout=PATIENCE)
        end.tell(op="cancel", id=1)
        end.tell(op="cancel", id=2)
        end.tell(op="ping")
        cancelled = [end.receive()[0] for _ in range(2)]
        assert [(one["op"], one["id"], one["stage"]) for one in cancelled] == [
            ("cancelled", 1, "encoding"),
            ("cancelled", 2, "encoding"),
        ]
        pong = end.receive()[0]
        assert (pong["op"], pong["writing"]) == ("pong", True), "so that a stuck encoder shows"
        go.set()
        header, _ = end.receive()
        assert (header["op"], header["id"]) == ("done", 3)
        assert encoded == [1, 3], "one was being encoded when it was cancelled, two had not begun"
        eventually(lambda: not end.worker._writers._wanted, "nothing is remembered of them")


def test_cancelled_while_it_is_sent(images: Path) -> None:
    """A request has one end: the one that is on its way."""
    told: list[str] = []

    def send(header: dict[str, Any], blobs: object) -> None:
        told.append(header["op"])
        assert not lanes.cancel(header["id"])

    lanes = writers.Writers(FakeEngine(open_bundle(images)), send, lambda one, error: told.append(str(error)))
    lanes.write([Finished(job(1), [0], np.zeros((1, 3, 8, 8), np.float32), 0.0, 0.0)], idle=True)
    assert told == ["done"]
    assert not lanes.cancel(1)


def test_reply_that_is_too_long_fails_once(images: Path) -> None:
    told: list[str] = []

    def send(header: dict[str, Any], blobs: object) -> None:
        raise ValueError("too long")

    lanes = writers.Writers(FakeEngine(open_bundle(images)), send, lambda one, error: told.append(str(error)))
    lanes.write([Finished(job(1), [0], np.zeros((1, 3, 8, 8), np.float32), 0.0, 0.0)], idle=True)
    assert told == ["too long"]
