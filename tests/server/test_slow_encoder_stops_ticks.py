"""However long one reply takes to encode, the ticks of the others go on, and the worker answers a ping."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from export.runtime.bundle import open_bundle
from export.runtime.images import Jpeg
from server.jobs import Job
from server.worker import imaging, writers

from .fake_worker import FakeEngine
from .loopback import PATIENCE, Loopback, job


def test_ticks_go_on_while_a_reply_is_encoded(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoding, go = threading.Event(), threading.Event()

    def slow_write(one: Job, shown: NDArray[np.generic], jpeg: Jpeg | None) -> list[bytes]:
        if one.id == 1:
            encoding.set()
            assert go.wait(PATIENCE)
        return imaging.write(one, shown, jpeg)

    monkeypatch.setattr(writers, "write", slow_write)
    with Loopback(FakeEngine(open_bundle(images)), max_rows=2) as end:
        end.send(job(1, n=2))
        assert encoding.wait(PATIENCE)
        end.send(job(2, 4), job(3, 2), job(4))
        ticks: list[list[float]] = []
        while sum(int(rows) for rows, *_ in ticks) < 2 + 4 + 2 + 1:
            end.tell(op="ping")
            header, _ = end.receive()
            assert header["op"] == "pong", "nothing leaves before the reply that is encoded"
            ticks += header["ticks"]
        go.set()
        answered = [end.receive()[0] for _ in range(4)]
        assert [header["op"] for header in answered] == ["done"] * 4
        assert answered[0]["id"] == 1


@pytest.mark.parametrize(("side", "on_the_spot"), [(8, True), (1024, False)])
def test_only_small_images_are_encoded_between_ticks(
    images: Path, monkeypatch: pytest.MonkeyPatch, side: int, on_the_spot: bool
) -> None:
    writing: list[str] = []

    def watched_write(one: Job, shown: NDArray[np.generic], jpeg: Jpeg | None) -> list[bytes]:
        writing.append(threading.current_thread().name)
        return imaging.write(one, shown, jpeg)

    monkeypatch.setattr(writers, "write", watched_write)
    engine = FakeEngine(open_bundle(images))
    engine.manifest = engine.manifest.model_copy(update={"image_shape": (side, side, 3)})
    with Loopback(engine) as end:
        end.send(job(1))
        end.receive()
    assert (writing != ["write-0"]) == on_the_spot
