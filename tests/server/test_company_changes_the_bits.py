"""`bitwise=true`: the same bytes in any company, on an engine whose bits depend on how many rows it evaluates."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from export.runtime.bundle import open_bundle
from server.jobs import PINNED_ROWS
from server.jobs import Path as Way

from .fake_line import House
from .fake_worker import FakeEngine
from .loopback import Loopback, job

GOAL = 7


class Sociable(FakeEngine):
    """Its bits depend on how many rows there are, in the network and in the decoder."""

    def jump(self, z, t, s, label, guidance=None):  # type: ignore[no-untyped-def]
        return super().jump(z, t, s, label, guidance) + np.float32(0.125) * len(z)

    def decode(self, z):  # type: ignore[no-untyped-def]
        return super().decode(z) + np.uint8(len(z))


def blobs(images: Path, alone: bool, **fields: object) -> list[bytes]:
    """What the job GOAL gives, alone or in company."""
    with Loopback(Sociable(open_bundle(images)), max_rows=8) as end:
        company = [] if alone else [job(number, steps=2, n=number) for number in (1, 2, 3)]
        end.send(*company, job(GOAL, **fields), *([] if alone else [job(9, n=2, bitwise=True)]))
        while True:
            header, found = end.receive()
            if header["id"] == GOAL:
                return found


@pytest.mark.parametrize(
    "fields",
    [{"n": 1}, {"n": 3, "steps": 4}, {"n": PINNED_ROWS + 3}, {"n": 5, "path": Way(12, 2)}],
    ids=["one", "steps", "more-than-a-batch", "between-labels"],
)
def test_company_does_not_change_it(images: Path, fields: dict[str, object]) -> None:
    assert blobs(images, True, bitwise=True, **fields) == blobs(images, False, bitwise=True, **fields)


def test_without_it_company_does_change_the_bits(images: Path) -> None:
    assert blobs(images, True) != blobs(images, False)


def test_one_of_many_is_the_one(images: Path) -> None:
    [alone] = blobs(images, True, bitwise=True, layout="each")
    assert blobs(images, True, bitwise=True, layout="each", n=4)[0] == alone


def test_rows_for_nobody_are_told(images: Path) -> None:
    with Loopback(FakeEngine(open_bundle(images))) as end:
        end.send(job(1, n=3, bitwise=True))
        [(rows, _, padding)] = end.receive()[0]["ticks"]
        assert (rows, padding) == (3, PINNED_ROWS - 3)


def test_the_answer_says_so_and_its_tag_is_strong(images: Path) -> None:
    async def scenario() -> None:
        house = House(images)
        model = house.line.model
        loose = replace(model, manifest=model.manifest.model_copy(update={"batch_invariant": {"fp32": False}}))
        for served, target, tag, header in (
            (loose, "", "W/", None),
            (loose, "&bitwise=true", '"', "true"),
            (loose, "&bitwise=false", "W/", None),
            (model, "&bitwise=true", '"', None),  # it is so anyway
        ):
            house.line.model = served
            client = await house.ask(f"/generate?seed=1{target}", "GET", cache_control="no-cache")
            (work,) = house.jobs()
            assert work.bitwise == (header is not None)
            assert work.rows_per_step == (PINNED_ROWS if work.bitwise else 1), "admission counts what is filled up"
            house.dispatch.finish(work)
            reply = await client.reply()
            assert reply.headers["etag"].startswith(tag)
            assert reply.headers.get("longjump-bitwise") == header
            house.cache._kept.clear()

    asyncio.run(scenario())
