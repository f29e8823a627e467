"""Every method, on points and on pictures: trained, exported, served, and the same answer over HTTP as without it.

The commands run in this process, and one server has the bundles of all methods, because starting is what takes long.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest
from PIL import Image

import longjump
from export.generate import draw, render, resolve
from export.runtime.bundle import open_bundle
from export.runtime.engines import open_engine
from export.runtime.manifest import Manifest
from tests.once import read_operators_once
from tests.road.walk import serving
from trainer.objectives import methods
from trainer.recipe import load_recipe

pytestmark = pytest.mark.timeout(900)  # the first test of each kind of data trains and exports every method

TINY = {
    "points": ["run.batch=16", "model.width=16", "model.depth=1"],
    "facets": ["run.batch=8", "model.network=dit", "model.width=16", "model.depth=1", "model.heads=2"],
}
BRIEF = ["run.steps=4", "run.save_every=2", "run.log_every=1", "run.score=0"]
STEPS = (1, 2, 4)
SEED = 7
SIDES = (8, 8)
FIRST = "flow-matching"
"""The method of the teachers, hence trained before all others."""
WEAK = "step-00000002"
"""Its checkpoint half-way."""


@dataclass
class Road:
    """How far each method got on one kind of data."""

    folder: Path
    failed: dict[str, str] = field(default_factory=dict)
    url: str = ""

    @property
    def data(self) -> Path:
        return self.folder / "data.npz"

    def bundle(self, method: str) -> Path:
        return self.folder / "bundles" / method

    def manifest(self, method: str) -> Manifest:
        return open_bundle(self.bundle(method)).manifest

    def walk(self, data: str, method: str) -> None:
        """Train and export."""
        run, recipe = self.folder / "runs" / method, load_recipe(f"{data}/{method}")
        sets = [*BRIEF, *TINY[data]]
        if "flow_matching_steps" in type(recipe.objective).model_fields:
            sets.append("objective.flow_matching_steps=2")
        words = ["--data", str(self.data), "--out", str(run), "--device", "cpu"]
        words += [word for override in sets for word in ("--set", override)]
        if recipe.objective.teacher == "required":
            words += ["--teacher", str(self.folder / "runs" / FIRST)]
        if getattr(recipe.objective, "autoguidance", None) is not None:
            words += ["--weak-teacher", str(self.folder / "runs" / FIRST / WEAK)]
        command("train", f"{data}/{method}", *words)
        command("export", str(run), "--out", str(self.bundle(method)))

    def ask(self, query: str) -> tuple[str, bytes]:
        """Type and content of a reply."""
        with urlopen(Request(f"{self.url}/generate?{query}", method="POST"), timeout=60) as reply:
            return reply.headers["content-type"], reply.read()


def command(*words: str) -> str:
    """`longjump ...` in this process."""
    said, wrong = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(wrong):
        code = longjump.main(words)
    assert code == 0, wrong.getvalue()
    return said.getvalue()


@pytest.fixture(scope="module", params=TINY)
def road(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    """All methods on one kind of data, as far as they got, and a server of those that came through."""
    read_operators_once()
    data = request.param
    found = Road(tmp_path_factory.mktemp(data))
    rng, labels = np.random.default_rng(0), np.arange(32) % 2
    if data == "points":
        np.savez(found.data, x=rng.normal(0.7, 0.4, (32, 2)).astype(np.float32), labels=labels)
    else:
        np.savez(found.data, images=rng.integers(0, 256, (32, *SIDES, 3), dtype=np.uint8), labels=labels)
    with pytest.MonkeyPatch.context() as patch:
        for plot in ("samples_plot", "samples_image", "curves"):
            patch.setattr(f"trainer.card.{plot}", lambda *_: b"")
        for method in sorted(methods(), key=lambda name: name != FIRST):
            try:
                found.walk(data, method)
            except (Exception, SystemExit) as error:
                found.failed[method] = f"{type(error).__name__}: {error}"
    bundles = [found.bundle(method) for method in methods() if method not in found.failed]
    with serving(bundles, found.folder) as found.url:
        yield found


@pytest.mark.parametrize("method", methods())
def test_method_is_lost(road: Road, method: str) -> None:
    """At 1, 2 and 4 steps: new noise, guidance and what else there is are the same on both ways."""
    assert method not in road.failed, road.failed[method]
    bundle = open_bundle(road.bundle(method))
    manifest, engine = bundle.manifest, open_engine(bundle, 1)
    assert manifest.method == method
    assert manifest.span == methods()[method].span
    assert set(STEPS) <= set(manifest.steps)
    for steps in STEPS:
        request = resolve(manifest, label=0, seed=SEED, steps=steps)
        kind, content = road.ask(f"model={method}&label=0&seed={SEED}&steps={steps}")
        if manifest.kind == "points":
            assert kind.startswith("application/json")
            points = np.array(json.loads(content)["points"], np.float32)
            assert np.array_equal(points, draw(engine, request))
            assert np.isfinite(points).all()
        else:
            assert kind == "image/png"
            pictures = engine.decode(draw(engine, request))
            assert content == render(manifest, engine.fingerprint, request, "png", pictures)
            assert Image.open(io.BytesIO(content)).size == SIDES


@pytest.mark.parametrize("method", methods())
def test_steps_beyond_the_span_are_run(road: Road, method: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A number of steps that the bundle has no grid for: 422 over HTTP, one line on the command line."""
    assert method not in road.failed, road.failed[method]
    manifest = road.manifest(method)
    wrong = next(steps for steps in range(3, 1000) if steps not in manifest.steps)
    with pytest.raises(HTTPError) as refused:
        road.ask(f"model={method}&steps={wrong}")
    assert refused.value.code == 422
    assert f"{wrong} is not a number of steps that {method} supports" in refused.value.read().decode()
    words = [str(road.bundle(method)), "--steps", str(wrong), "-o", str(road.folder / "no.npy")]
    assert longjump.main(["generate", *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"longjump generate: error: steps={wrong} is not supported; {method} supports ")
    assert said.count("\n") == 1


@pytest.mark.parametrize("method", methods())
def test_teacher_is_forgotten(road: Road, method: str) -> None:
    """The bundle says what it was distilled from, in the manifest and in the card; others name no teacher."""
    assert method not in road.failed, road.failed[method]
    origin: dict[str, Any] = road.manifest(method).provenance.get("origin", {})
    card = (road.bundle(method) / "README.md").read_text()
    if methods()[method].teacher == "required":
        assert origin["teacher"]["method"] == FIRST
        assert len(origin["teacher"]["sha256"]) == 64
        assert "distilled from" in card
        assert str(road.folder) not in card + str(origin)
    else:
        assert "teacher" not in origin
        assert "distilled" not in card
