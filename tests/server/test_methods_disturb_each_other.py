"""Trained pictures of three methods in one server: flow, new noise and guidance, each as without a server.

The bundles are those of `bundles/`, which `bundles/build.py` trained.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from export.generate import draw, render, resolve
from export.runtime.bundle import open_bundle
from export.runtime.engines import open_engine

from .conftest import Server, Start

BUNDLES = Path(__file__).with_name("bundles")
METHODS = ("meanflow", "ayf-emd", "ctm")
STEPS = (1, 2, 4)


@pytest.fixture(scope="module")
def server(start_shared: Start) -> Server:
    first, *more = (BUNDLES / method for method in METHODS)
    return start_shared(first, *map(str, more), "--cache-bytes", "0", fake=False)


def query(method: str, steps: int, seed: int = 5, label: int = 0, **more: object) -> str:
    """The path of a request."""
    rest = "".join(f"&{name}={value}" for name, value in more.items())
    return f"/generate?model={method}&seed={seed}&label={label}&steps={steps}{rest}"


def alone(method: str, steps: int, seed: int = 5, label: int = 0, guidance: float | None = None) -> bytes:
    """The PNG that `longjump generate` writes."""
    bundle = open_bundle(BUNDLES / method)
    engine = open_engine(bundle, 1)
    request = resolve(bundle.manifest, label=label, seed=seed, steps=steps, guidance=guidance)
    pictures = engine.decode(draw(engine, request))
    return render(bundle.manifest, engine.fingerprint, request, "png", pictures)


def test_bundle_is_not_its_methods() -> None:
    """What the tests below rely on: sampler, guidance, teacher, and that all are small."""
    manifests = {method: open_bundle(BUNDLES / method).manifest for method in METHODS}
    for method, manifest in manifests.items():
        assert manifest.method == method
        assert sum(entry.bytes for entry in manifest.files.values()) < 200_000
        assert manifest.grid(1)[0].b == 0
        assert any(step.b > 0 for step in manifest.grid(2)) == (method == "ctm")
    assert manifests["ayf-emd"].guidance is not None
    assert manifests["meanflow"].guidance is None
    assert manifests["ctm"].t_max < 1
    assert manifests["ctm"].provenance["origin"]["teacher"]["method"] == "flow-matching"


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("method", METHODS)
def test_method_answers_otherwise_than_alone(server: Server, method: str, steps: int) -> None:
    reply = server.client.post(query(method, steps))
    assert reply.headers["content-type"] == "image/png"
    assert reply.content == alone(method, steps)


def test_company_of_other_methods_changes_a_picture(server: Server) -> None:
    """All methods, step counts, labels and many seeds at once: each as when asked alone, new noise and all."""
    asked = [
        (method, steps, seed, label) for method in METHODS for steps in STEPS for seed in range(4) for label in (0, 1)
    ]
    single = {each: server.client.post(query(*each)).content for each in asked}
    assert len(set(single.values())) == len(asked)
    with ThreadPoolExecutor(24) as pool:
        replies = list(pool.map(lambda each: server.client.post(query(*each)), asked))
    assert all(reply.status_code == 200 for reply in replies)
    assert {each: reply.content for each, reply in zip(asked, replies, strict=True)} == single


def test_new_noise_is_drawn_anew(server: Server) -> None:
    """CTM's second step adds noise: of the seed and the step, so that it repeats, and another seed has another."""
    first, again = (server.client.post(query("ctm", 2, seed=11)).content for _ in range(2))
    assert first == again
    assert server.client.post(query("ctm", 2, seed=12)).content != first


@pytest.mark.parametrize("scale", [1.0, 1.5, 3.0])
def test_strength_is_ignored(server: Server, scale: float) -> None:
    """Autoguidance is an input like guidance: its own picture for each strength, 1.5 where none is asked for."""
    reply = server.client.post(query("ayf-emd", 2, guidance=scale))
    assert float(reply.headers["longjump-guidance"]) == scale
    assert reply.content == alone("ayf-emd", 2, guidance=scale)
    default = server.client.post(query("ayf-emd", 2)).content
    assert (reply.content == default) == (scale == 1.5)


def test_scale_is_told_as_another(server: Server) -> None:
    """With the scale that is told the same bytes can be asked for again: 15 digits are another float32."""
    scale = 1.000000059604645
    assert np.float32(scale) != np.float32(f"{scale:.15g}"), "control"
    reply = server.client.post(query("ayf-emd", 2, guidance=scale))
    assert reply.headers["longjump-guidance"] == "1.000000059604645"
    assert server.client.post(query("ayf-emd", 2, guidance=1.67)).headers["longjump-guidance"] == "1.67"


def refused(reply: httpx.Response) -> str:
    assert reply.status_code == 422
    detail: str = reply.json()["detail"]
    return detail


def test_strength_beyond_the_range_is_run(server: Server) -> None:
    assert "a number from 1 to 3" in refused(server.client.post(query("ayf-emd", 1, guidance=3.5)))
    assert "ctm" in refused(server.client.post(query("ctm", 1, guidance=2)))
    assert server.client.post(query("ctm", 1, guidance=1)).status_code == 200


def test_time_that_a_map_does_not_know_is_asked(server: Server) -> None:
    """CTM's map ends at t = 80 / 81 and takes noise for what lies there; a variation between that and 1 is refused."""
    image = server.client.post(query("ctm", 1)).content
    fields = {"model": "ctm", "label": "0", "seed": "3"}

    def vary(strength: str) -> httpx.Response:
        return server.client.post(
            "/variations", data={**fields, "strength": strength}, files={"image": ("a.png", image, "image/png")}
        )

    assert vary("0.5").status_code == 200
    assert vary("1").status_code == 200
    assert "0.99" in refused(vary("0.99"))
