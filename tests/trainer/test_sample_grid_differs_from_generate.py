"""samples.png is what the runtime makes of the averaged weights with the same seeds: one sampler, nothing picked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from export.decode import build_decode
from export.runtime.engines.session import open_session
from export.runtime.grids import Step, flow_grid, renoise_grid
from export.runtime.images import tile
from export.runtime.noise import normal
from models.build import DiTArchitecture, build
from models.checkpoint import load_checkpoint
from models.flow_map import FlowMap
from trainer.card import COLUMNS, ROWS, samples_image, steps_shown
from trainer.data.dataset import open_dataset
from trainer.loop import train
from trainer.recipe import Recipe
from trainer.sampling import draw, numpy_jump, to_images

SHAPE = (1, 4, 4)


@pytest.fixture
def shaken() -> FlowMap:
    """A tiny network with random weights: a fresh one would leave the noise as it is."""
    torch.manual_seed(0)
    flow_map = build(DiTArchitecture(patch=2, width=8, depth=1, heads=2), SHAPE, 2, "any")
    for parameter in flow_map.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return flow_map.eval()


def by_hand(flow_map: FlowMap, grid: tuple[Step, ...], seed: int, label: int) -> NDArray[np.float32]:
    """One sample in torch, a row at a time: z <- a * jump(z, t, s) + b * n."""
    z = torch.from_numpy(normal(seed, 0, SHAPE))[None]
    for number, step in enumerate(grid, start=1):
        with torch.no_grad():
            z = flow_map.jump(z, torch.tensor([step.t]), torch.tensor([step.s]), torch.tensor([label]))
        z = step.a * z
        if step.b:
            z = z + step.b * torch.from_numpy(normal(seed, number, SHAPE))
    return z[0].numpy()


@pytest.mark.parametrize("grid", [flow_grid(1), flow_grid(3), renoise_grid([1.0, 0.4])], ids=["1", "3", "renoise"])
def test_samples_come_from_other_noise(shaken: FlowMap, grid: tuple[Step, ...]) -> None:
    labels = [0, 1, 2, 1, 0]
    samples = draw(shaken, SHAPE, grid, labels, seed=7)
    assert samples.dtype == np.float32
    for index, label in enumerate(labels):
        expected = by_hand(shaken, grid, 7 + index, label)
        np.testing.assert_allclose(samples[index], expected, atol=1e-5)
        other = by_hand(shaken, grid, 8 + index, label)  # negative control: the next seed
        assert np.abs(samples[index] - other).max() > 0.1


def test_pixels_differ_from_the_decode_graph() -> None:
    """to_images is the bundle's decode graph, also at halves, out of range, and for grey."""
    rng = np.random.default_rng(0)
    for channels in (1, 3):
        shape = (channels, 5, 6)
        z = rng.normal(size=(4, *shape)).astype(np.float32)
        z.flat[:6] = [-1, 1, -3, 3, 0, (100.5 - 127.5) / 127.5]
        (graph,) = open_session(build_decode(shape), "decode").run(None, {"z": z})
        images = to_images(z)
        assert images.shape == (4, 5, 6, 3)
        np.testing.assert_array_equal(images, graph)


def test_guidance_is_ignored(shaken: FlowMap) -> None:
    z, time, label = np.zeros((1, *SHAPE), np.float32), np.ones(1, np.float32), np.zeros(1, np.int64)
    with pytest.raises(ValueError, match="guidance"):
        numpy_jump(shaken)(z, time, 0 * time, label, time)


@pytest.mark.parametrize(("name", "steps"), [("facets/meanflow", [1, 2, 4]), ("facets/flow-matching", [1, 8, 32])])
def test_grid_shows_other_weights_or_steps(
    tmp_path: Path, tiny: Callable[..., Recipe], grey: Path, pixels: Any, name: str, steps: list[int]
) -> None:
    """The file in a checkpoint: a row per class, seeds 0, 1, 2, ..., the default average, its own grids."""
    counts = {"facets/meanflow": "[1, 2, 4, 8]", "facets/flow-matching": "[1, 2, 4, 8, 16, 32]"}[name]
    recipe = tiny(name, "run.steps=3", f"run.sample_steps={counts}", "optimiser.lr=0.1", "optimiser.warmup_steps=0")
    folder = train(recipe, open_dataset(grey), tmp_path / "run")
    flow_map, config = load_checkpoint(folder)
    assert steps_shown(config) == steps
    labels = [0] * COLUMNS + [1] * COLUMNS
    gap = np.full((2 * 8, 8, 3), 255, np.uint8)

    def expected(flow_map: FlowMap) -> NDArray[np.uint8]:
        parts = [tile(to_images(draw(flow_map, config.shape, flow_grid(n), labels)), columns=COLUMNS) for n in steps]
        return np.concatenate([parts[0], gap, parts[1], gap, parts[2]], axis=1)

    found = pixels((folder / "samples.png").read_bytes())
    np.testing.assert_array_equal(found, expected(flow_map))
    assert not np.array_equal(found, expected(load_checkpoint(folder, "model")[0]))  # negative control
    assert not np.array_equal(found, expected(load_checkpoint(folder, "0.100")[0]))


def test_thousand_classes_stop_the_run(tmp_path: Path, tiny: Callable[..., Recipe], grey: Path, pixels: Any) -> None:
    """The grid has a bounded number of rows, whatever the data."""
    folder = train(tiny("facets/meanflow", "run.steps=1"), open_dataset(grey), tmp_path / "run")
    flow_map, config = load_checkpoint(folder)
    many = config.model_copy(update={"labels": tuple(map(str, range(1000))), "grids": {"1": config.grids["1"]}})
    flow_map = build(config.architecture, config.shape, 1000, config.span)  # type: ignore[arg-type]
    assert pixels(samples_image(many, flow_map)).shape == (ROWS * 8, COLUMNS * 8, 3)
