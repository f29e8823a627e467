"""A request that shows every step sends each once and in order; a step shows where the sample is heading."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from export.runtime.bundle import open_bundle
from export.runtime.engines import open_engine
from export.runtime.sampler import heading

from .conftest import GRIDS
from .fake_worker import FakeEngine
from .loopback import Loopback, job


class Straight(FakeEngine):
    """A map whose flow lines are straight: from any z and t they lead to the same place, so every step heads there."""

    def jump(self, z, t, s, label, guidance=None):  # type: ignore[no-untyped-def]
        per_row = (-1, 1, 1, 1)
        end = np.full_like(z, 0.25) + label.reshape(per_row) * np.float32(0.1)
        return end + (z - end) * (s / t).reshape(per_row)


def pixels(blob: bytes) -> NDArray[np.uint8]:
    return np.load(io.BytesIO(blob))


def test_every_step_comes_once_and_in_order(images: Path) -> None:
    with Loopback(open_engine(open_bundle(images), 1)) as end:
        end.send(*(job(number, 4, every_step=number % 2 == 1) for number in range(1, 9)), job(9, 1, every_step=True))
        heard: dict[int, list[int | str]] = {}
        while sum("done" in events for events in heard.values()) < 9:
            header, blobs = end.receive()
            assert len(blobs) == 1
            event = header["step"] if header["op"] == "part" else header["op"]
            heard.setdefault(header["id"], []).append(event)
    for number, events in heard.items():
        assert events == ([1, 2, 3, "done"] if number % 2 == 1 and number < 9 else ["done"])


def test_parts_show_where_the_sample_is_heading(images: Path) -> None:
    with Loopback(Straight(open_bundle(images))) as end:
        end.send(job(1, 4, every_step=True))
        frames = [end.receive() for _ in range(4)]
    last = pixels(frames[-1][1][0])
    for _, blobs in frames[:-1]:
        assert np.abs(pixels(blobs[0]).astype(int) - last).max() <= 1


def test_last_step_is_the_same_with_and_without_parts(images: Path) -> None:
    with Loopback(open_engine(open_bundle(images), 1)) as end:
        end.send(job(1, 2, every_step=True))
        frames = [end.receive() for _ in range(2)]
        end.send(job(2, 2, seed=100))
        assert end.receive()[1] == frames[-1][1]
    assert frames[0][1] != frames[-1][1]


def test_heading_is_the_end_of_the_straight_line() -> None:
    z, jumped = np.float32([[5.0], [5.0], [5.0]]), np.float32([[4.0], [4.0], [4.0]])
    there = heading(z, jumped, np.float32([1.0, 0.5, 0.5]), np.float32([0.5, 0.25, 0.0]))
    assert there[:, 0].tolist() == [3.0, 3.0, 4.0]


def test_cancelled_request_shows_nothing_more(images: Path) -> None:
    engine = FakeEngine(open_bundle(images))
    with Loopback(engine) as end:
        end.send(job(1, 4, every_step=True))
        end.tell(op="cancel", id=1)
        end.tell(op="ping")
        while end.receive()[0]["op"] != "pong":
            pass
        end.send(job(2, 2))
        after = []
        while (header := end.receive()[0])["id"] != 2:
            after.append(header["op"])
        assert after in ([], ["part"]), "one that was being sent may still come"


@pytest.mark.parametrize("steps", [int(steps) for steps in GRIDS])
def test_parts_of_all_grids_can_be_decoded(images: Path, steps: int) -> None:
    with Loopback(FakeEngine(open_bundle(images))) as end:
        end.send(job(1, steps, every_step=True))
        assert [end.receive()[0]["op"] for _ in range(steps)] == ["part"] * (steps - 1) + ["done"]
