"""Rows of one network evaluation have guidance scales of their own, and each picture is that of its own scale alone.

In both forms: a scale that the network was trained to take (`rows_per_step` 1), and two evaluations in the graph
(`rows_per_step` 2). The bundles are those of `bundles/`, which `bundles/build.py` trained.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from export.generate import draw, render, resolve
from export.runtime.bundle import open_bundle
from export.runtime.engines import Engine, open_engine
from export.runtime.manifest import Guidance

from .conftest import Start, eventually
from .loopback import Loopback, job

BUNDLES = Path(__file__).with_name("bundles")
FORMS = {
    "ayf-emd": Guidance(min=1, max=3, default=1.5, rows_per_step=1),
    "flow-matching": Guidance(min=0, max=4, default=2, rows_per_step=2),
}
KINDS = 24


def asked(method: str) -> list[tuple[float, int, int]]:
    """(scale, label, steps) of requests with one seed: no two have the same scale."""
    scale = FORMS[method]
    scales = np.linspace(scale.min, scale.max, KINDS).round(3).tolist()
    return [(each, place % 2, (1, 2, 4)[place % 3]) for place, each in enumerate(scales)]


def alone(engine: Engine, scale: float, label: int, steps: int) -> bytes:
    """The PNG that `longjump generate` writes."""
    request = resolve(engine.manifest, label=label, seed=5, steps=steps, guidance=scale)
    return render(engine.manifest, engine.fingerprint, request, "png", engine.decode(draw(engine, request)))


@pytest.fixture(params=FORMS)
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def engine(method: str) -> Engine:
    engine = open_engine(open_bundle(BUNDLES / method), 1)
    assert engine.manifest.guidance == FORMS[method]
    return engine


def test_scales_share_ticks_and_nothing_else(start: Start, method: str, engine: Engine) -> None:
    # An evaluation that costs much however few its rows are: ticks are filled, whatever else this machine does.
    slow = {"TEST_ENGINE": "real", "TEST_TICK_SECONDS": "0.01"}
    server = start(BUNDLES / method, "--max-rows", "8", "--cache-bytes", "0", held=True, **slow)
    targets = {each: f"/generate?seed=5&guidance={each[0]}&label={each[1]}&steps={each[2]}" for each in asked(method)}
    answers = {each: server.send(target) for each, target in targets.items()}
    eventually(lambda: server.accepted() == KINDS, "all accepted")
    server.open_gate()
    replies = {each: answer.result() for each, answer in answers.items()}
    assert {float(reply.headers["longjump-guidance"]) for reply in replies.values()} == {each[0] for each in replies}
    assert {each: reply.content for each, reply in replies.items()} == {each: alone(engine, *each) for each in replies}
    assert len({reply.content for reply in replies.values()}) == KINDS
    ticks, rows = server.metric("longjump_tick_rows_count"), server.metric("longjump_tick_rows_sum")
    assert rows == sum(steps for _, _, steps in replies)
    assert rows / ticks > 1.5, "the batches were not mixed, so this has shown nothing"


@pytest.mark.parametrize("spoilt", [False, True], ids=["as it is", "control"])
def test_one_tick_has_many_scales(engine: Engine, method: str, spoilt: bool) -> None:
    """The worker without a server: one evaluation of eight rows, each at its own scale. In the control all rows get
    that of the first, which the comparison must see."""
    seen: list[list[float]] = []

    class Watched:
        def __init__(self) -> None:
            self.manifest, self.decode = engine.manifest, engine.decode

        def jump(self, z, t, s, label, guidance):  # type: ignore[no-untyped-def]
            seen.append(guidance.tolist())
            return engine.jump(z, t, s, label, np.full_like(guidance, guidance[0]) if spoilt else guidance)

    scales = np.linspace(FORMS[method].min, FORMS[method].max, 8).round(3).tolist()
    with Loopback(Watched(), max_rows=32) as end:  # type: ignore[arg-type]
        end.send(*(job(number, seed=5, label=1, guidance=scale, format="png") for number, scale in enumerate(scales)))
        made: dict[int, bytes] = {}
        while len(made) < len(scales):
            header, (blob,) = end.receive()
            made[header["id"]] = blob
    assert [sorted(np.float32(scale) for scale in tick) for tick in seen] == [[np.float32(scale) for scale in scales]]
    same = [made[number] == alone(engine, scale, 1, 1) for number, scale in enumerate(scales)]
    assert same.count(True) == (1 if spoilt else 8)
