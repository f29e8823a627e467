"""Every engine does what `Engine` promises: ONNX Runtime on what is here, both TensorRT libraries as far as a fake can
show it."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import onnxruntime as ort
import pytest

from export.check import trial_rows
from export.runtime.bundle import Bundle
from export.runtime.engines import Drawing, Engine, open_engine
from export.runtime.engines.choice import PROVIDERS
from export.runtime.engines.libraries import LIBRARIES
from export.runtime.engines.machine import Gpu, find_gpu
from export.runtime.engines.trial import zeros
from export.runtime.flags import CPU, CUDA
from export.runtime.gpu.noise import NO_SEED
from export.runtime.manifest import Manifest
from export.runtime.noise import INITIAL_STEP
from export.runtime.sampler import noise_rows
from export.tensorrt.add import add_engines
from export.tensorrt.cache import EngineCache
from export.tensorrt.compile import batch_ranges
from export.tensorrt.order import Order

from .fake_device import FakeDevice
from .gpu import GPU, install, install_cuda

HERE = [CPU, CUDA] if PROVIDERS[CUDA] in ort.get_available_providers() and isinstance(find_gpu(), Gpu) else [CPU]
"""Engines of ONNX Runtime that this machine can run."""

SHAPES = {"image": (3, 4, 4), "points": (2,)}


@pytest.fixture(params=[*HERE, *LIBRARIES, *({CUDA} - {*HERE})])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def load(name: str, make_bundle: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Engine]:
    """Opens the engine under test for a bundle of a kind."""

    def load(kind: str) -> Engine:
        bundle = make_bundle(kind, z_shape=SHAPES[kind])
        if name in LIBRARIES:
            install(monkeypatch, name)
            library = LIBRARIES[name]
            order = Order(library, __import__(library.module), ("current",), GPU, batch_ranges(8))
            bundle = add_engines(bundle, order, lambda line: None, EngineCache(None))
        elif name not in HERE:
            install_cuda(monkeypatch)
        return open_engine(bundle, 1, name)

    return load


def rows(manifest: Manifest, count: int) -> tuple[np.ndarray, ...]:
    made = trial_rows(count, manifest.z_shape, len(manifest.labels), manifest.span)
    return made.z, made.t, made.s, made.label


def expected(z: np.ndarray, t: np.ndarray, s: np.ndarray, label: np.ndarray) -> np.ndarray:
    """The jump of conftest's graph."""
    column = (-1,) + (1,) * (z.ndim - 1)
    moved: np.ndarray = z - (t - s).reshape(column) * (z - np.float32(0.1) * label.reshape(column))
    return moved


def test_it_is_the_one_that_it_says(load: Callable[[str], Engine], name: str) -> None:
    engine = load("image")
    assert engine.choice.name == name
    assert engine.choice.entry in engine.manifest.engines
    assert len(engine.fingerprint) == 16
    assert int(engine.fingerprint, 16) >= 0


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("batch", [1, 2, 8, 21])
def test_jump_moves_each_row_by_its_own_inputs(load: Callable[[str], Engine], kind: str, batch: int) -> None:
    """More rows than a compiled engine takes at once included."""
    engine = load(kind)
    inputs = rows(engine.manifest, batch)
    z_s = engine.jump(*inputs)
    assert z_s.dtype == np.float32
    np.testing.assert_allclose(z_s, expected(*inputs), atol=1e-5)
    shifted = engine.jump(*(np.roll(values, 1, axis=0) for values in inputs))
    assert batch == 1 or not np.allclose(shifted, z_s, atol=1e-5)  # the control: rows do differ


def test_inputs_stay_and_the_result_is_new(load: Callable[[str], Engine]) -> None:
    engine = load("image")
    inputs = rows(engine.manifest, 3)
    before = [values.copy() for values in inputs]
    first = engine.jump(*inputs)
    kept = first.copy()
    engine.jump(*zeros(engine.manifest, 3))
    for values, old in zip(inputs, before):
        np.testing.assert_array_equal(values, old)
    np.testing.assert_array_equal(first, kept)
    assert first.flags.writeable


def test_rows_need_not_lie_together(load: Callable[[str], Engine]) -> None:
    engine = load("image")
    inputs = rows(engine.manifest, 6)
    apart = engine.jump(*(values[::2] for values in inputs))
    np.testing.assert_array_equal(apart, engine.jump(*(values[::2].copy() for values in inputs)))


def test_threads_do_not_disturb_each_other(load: Callable[[str], Engine]) -> None:
    engine = load("image")
    inputs = [tuple(values[i : i + 2] for values in rows(engine.manifest, 8)) for i in range(0, 8, 2)]
    alone = [engine.jump(*one) for one in inputs]
    wrong: list[int] = []

    def run(number: int) -> None:
        for _ in range(20):
            if engine.jump(*inputs[number]).tobytes() != alone[number].tobytes():
                wrong.append(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_noise_made_by_the_engine_is_the_same(load: Callable[[str], Engine], name: str) -> None:
    """For rows with a seed, beside rows without; by the engines that make it."""
    engine = load("image")
    assert isinstance(engine, Drawing) == (name != CPU)
    if not isinstance(engine, Drawing):
        return
    _, t, s, label = rows(engine.manifest, 13)
    noise = noise_rows(range(100, 113), INITIAL_STEP, engine.manifest.z_shape)
    seeds = np.arange(100, 113, dtype=np.uint64)
    unread = np.full_like(noise, np.nan)
    np.testing.assert_array_equal(engine.draw(seeds, unread, t, s, label), engine.jump(noise, t, s, label))
    given = np.array([3, 9])
    seeds[given], unread[given] = NO_SEED, noise[given[::-1]]
    noise[given] = noise[given[::-1]]
    np.testing.assert_array_equal(engine.draw(seeds, unread, t, s, label), engine.jump(noise, t, s, label))


def test_pictures_are_decoded(load: Callable[[str], Engine]) -> None:
    engine = load("image")
    z = np.linspace(-1.5, 1.5, 96, dtype=np.float32).reshape(2, 3, 4, 4)
    images = engine.decode(z)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, np.clip(np.rint(127.5 * z + 127.5), 0, 255).transpose(0, 2, 3, 1))


def test_points_are_not(load: Callable[[str], Engine]) -> None:
    engine = load("points")
    with pytest.raises(ValueError, match="makes points, not images"):
        engine.decode(np.zeros((1, 2), dtype=np.float32))


def test_it_can_be_warmed_and_timed(load: Callable[[str], Engine]) -> None:
    engine = load("image")
    engine.warm()
    assert all(engine.cost(batch) > 0 for batch in (1, 3))


def test_engines_have_fingerprints_of_their_own(
    make_bundle: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = make_bundle()
    prints, device = set(), FakeDevice()
    for backend, library in LIBRARIES.items():
        install(monkeypatch, backend, device=device)
        order = Order(library, __import__(library.module), ("current",), GPU, batch_ranges(2))
        bundle = add_engines(bundle, order, lambda line: None, EngineCache(None))
    for name in (CPU, *LIBRARIES):
        prints.add(open_engine(bundle, 1, name).fingerprint)
    assert len(prints) == 3
