"""Requests are decoded together; one that the decoder cannot bear fails by itself, and the worker lives on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from export.runtime.bundle import open_bundle
from server.jobs import Vary

from .fake_worker import FakeEngine
from .loopback import Loopback, job


class Picky(FakeEngine):
    """Cannot decode what the label 2 makes, and decodes only whole ticks of more than one request."""

    def jump(self, z, t, s, label, guidance=None):  # type: ignore[no-untyped-def]
        moved = super().jump(z, t, s, label, guidance)
        moved[label == 2] = np.nan
        return moved

    def decode(self, z: NDArray[np.float32]) -> NDArray[np.uint8]:
        if np.isnan(z).any():
            raise ArithmeticError("not a picture")
        return super().decode(z)


@pytest.mark.parametrize("n", [1, 3])
def test_undecodable_image_fails_alone(images: Path, n: int) -> None:
    with Loopback(Picky(open_bundle(images)), max_rows=16) as end:
        end.send(job(1, n=n), job(2, n=n, label=2), job(3, n=n), job(4, n=n, label=1))
        answers = {header["id"]: header for header, _ in (end.receive() for _ in range(4))}
        assert {one: answers[one]["op"] for one in answers} == {1: "done", 2: "failed", 3: "done", 4: "done"}
        assert answers[2]["reason"] == "ArithmeticError: not a picture"
        end.send(job(5))
        assert end.receive()[0]["op"] == "done"


def test_job_that_cannot_be_taken_in_fails_alone(images: Path) -> None:
    with Loopback(FakeEngine(open_bundle(images))) as end:
        end.send(job(1, steps=3), job(2, vary=Vary(2.0, bytes(8 * 8 * 3))), job(3))
        answers = {header["id"]: header for header, _ in (end.receive() for _ in range(3))}
        assert {one: answers[one]["op"] for one in answers} == {1: "failed", 2: "failed", 3: "done"}
        assert "steps=3 is not supported" in answers[1]["reason"]
        assert "strength=2" in answers[2]["reason"]
