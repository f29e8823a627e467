"""A variation starts from the image, noised to t = strength, and goes down a grid that its map knows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from export.runtime.bundle import open_bundle
from export.runtime.engines import open_engine
from export.runtime.grids import Span, Step, check_jump, flow_grid, variation_grid
from export.runtime.noise import normal
from export.runtime.sampler import advance
from server.jobs import Job, Vary
from server.worker.request import as_sample
from server.worker.ticks import Finished, Ticks

from .fake_worker import FakeEngine
from .loopback import flat_costs, job


def picture(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def run(bundle: Path, *jobs: Job) -> dict[int, Finished]:
    ticks = Ticks(open_engine(open_bundle(bundle), 1), flat_costs(16))
    for one in jobs:
        ticks.add(one)
    finished = {}
    while ticks:
        finished |= {done.job.id: done for done in ticks.run().finished}
    return finished


def test_variation_is_the_grid_from_the_noised_image(images: Path) -> None:
    image = picture(1)
    done = run(images, job(1, 3, n=2, label=1, vary=Vary(0.6, image.tobytes())), job(2, 4))[1]
    engine = open_engine(open_bundle(images), 1)
    x = image.transpose(2, 0, 1).astype(np.float32) / np.float32(127.5) - np.float32(1)
    for sample in range(2):
        noise = normal(100 + sample, 0, (3, 8, 8))
        z = (np.float32(0.4) * x + np.float32(0.6) * noise)[None]
        for step in variation_grid("any", 1.0, 0.6, 3):
            t, s = np.float32([step.t]), np.float32([step.s])
            z = advance(engine.jump(z, t, s, np.array([1])), step.a, step.b, None)
        np.testing.assert_allclose(done.z[sample], z[0], atol=1e-5)
        assert np.abs(done.z[sample] - z[0]).max() < np.abs(done.z[sample] - done.z[1 - sample]).max()


def test_strength_1_is_generation(images: Path) -> None:
    done = run(images, job(1, 4, n=2), job(2, 4, n=2, seed=100, vary=Vary(1.0, picture(1).tobytes())))
    np.testing.assert_array_equal(done[1].z, done[2].z)


def test_weak_variation_stays_near_the_image(images: Path) -> None:
    image = picture(1)
    weak, strong = (run(images, job(1, 1, vary=Vary(one, image.tobytes())))[1].z for one in (1 / 64, 0.9))
    x = as_sample(Vary(0.5, image.tobytes()), FakeEngine(open_bundle(images)))
    assert np.abs(weak - x).mean() < 0.1
    assert np.abs(strong - x).mean() > 0.3


@pytest.mark.parametrize("bundle", ["images", "guided"])
def test_image_becomes_the_z_that_decodes_to_it(bundle: str, request: pytest.FixtureRequest) -> None:
    opened = open_bundle(request.getfixturevalue(bundle))
    colour = picture(2)
    engine = FakeEngine(opened)
    shown = engine.decode(as_sample(Vary(0.5, colour.tobytes()), engine)[None])[0]
    if opened.manifest.z_shape[0] == 3:
        np.testing.assert_array_equal(shown, colour)
    else:
        luma = colour @ np.array([0.299, 0.587, 0.114])
        assert np.abs(shown - luma[..., None]).max() <= 0.6
        grey = np.repeat(colour[..., :1], 3, axis=2)
        shown = engine.decode(as_sample(Vary(0.5, grey.tobytes()), engine)[None])[0]
        np.testing.assert_array_equal(shown, grey)


def test_model_that_is_not_of_pixels_is_refused(points: Path, images: Path) -> None:
    assert open_bundle(images).manifest.pixels
    engine = FakeEngine(open_bundle(points))
    assert not engine.manifest.pixels
    with pytest.raises(ValueError, match="its bundle has no encoder"):
        as_sample(Vary(0.5, bytes(12)), engine)
    latent = open_bundle(images).manifest.model_copy(update={"z_shape": (4, 1, 1)})
    assert not latent.pixels
    assert not latent.encodes


@pytest.mark.parametrize(
    ("span", "t_max", "strength", "steps"),
    [
        ("any", 1.0, 0.37, 5),
        ("velocity", 0.99, 0.99, 3),
        ("endpoint", 1.0, 0.8, 4),
        ("endpoint", 0.98, 1.0, 2),
        ("dyadic", 1.0, 0.75, 3),
        ("dyadic", 1.0, 0.5, 64),
        ("dyadic", 1.0, 1 / 128, 1),
    ],
)
def test_variation_grid_is_one_that_the_map_knows(span: Span, t_max: float, strength: float, steps: int) -> None:
    grid = variation_grid(span, t_max, strength, steps)
    assert (len(grid), grid[0].t) == (steps, strength)
    time = strength
    for step in grid:
        check_jump(step.t, step.s, span, t_max)
        assert step.t == pytest.approx(time)
        assert np.hypot(step.a * step.s, step.b) == pytest.approx(step.arrives)
        time = step.arrives
    assert time == 0.0


def test_whole_variation_is_the_flow_grid() -> None:
    assert variation_grid("any", 1.0, 1.0, 4) == flow_grid(4)
    assert variation_grid("endpoint", 1.0, 0.5, 2) == (Step(0.5, 0.0, 0.75, 0.25), Step(0.25, 0.0, 1.0, 0.0))


@pytest.mark.parametrize(
    ("span", "t_max", "strength", "steps", "message"),
    [
        ("any", 1.0, 0.0, 1, r"strength=0 is not in \(0, 1\]"),
        ("any", 1.0, 1.5, 1, r"strength=1.5 is not in"),
        ("any", 1.0, float("nan"), 1, r"strength=nan is not in"),
        ("any", 1.0, 0.5, 0, r"at least 1 step, not 0"),
        ("any", 0.9, 0.95, 1, r"strength=0.95: the map knows no time between t_max=0.9 and 1"),
        ("dyadic", 1.0, 0.6, 3, r"strengths for steps=3 are 0.75, 0.375, 0.1875"),
        ("dyadic", 1.0, 0.5, 200, r"at most 128 steps"),
        ("endpoint", 0.5, 1.0, 4, r"strength=1 in 4 steps: the jump starts at t=0.75"),
    ],
)
def test_strength_that_the_map_does_not_know(
    span: Span, t_max: float, strength: float, steps: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        variation_grid(span, t_max, strength, steps)
