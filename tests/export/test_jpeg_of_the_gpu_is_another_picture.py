"""Where nvImageCodec is and an engine on a GPU, it writes the JPEGs, from the right bytes; where it fails, Pillow does.

On stand-ins for the GPU and for nvImageCodec.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import longjump
from export.runtime.bundle import Bundle
from export.runtime.engines import Engine, Printing, open_engine
from export.runtime.engines.cuda import CudaEngine
from export.runtime.engines.libraries import LIBRARIES, load_library
from export.runtime.flags import CPU, CUDA
from export.runtime.gpu import jpeg
from export.runtime.images import Format, encode
from export.runtime.sampler import sample
from export.tensorrt.add import add_engines
from export.tensorrt.cache import EngineCache
from export.tensorrt.compile import batch_ranges
from export.tensorrt.order import Order
from server.worker.imaging import write
from server.worker.ticks import Finished
from server.worker.writers import Writers

from ..server.loopback import job
from .fake_nvimgcodec import NO_GPU, VERSION, install_nvimgcodec
from .gpu import GPU, install, install_cuda

MakeBundle = Callable[..., Bundle]


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    smooth = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(smooth).resize((width, height), Image.Resampling.BICUBIC))


def by_the_gpu(data: bytes) -> bool:
    return b"fake nvJPEG" in data


def shown(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data))).astype(int)


@pytest.fixture
def engine(make_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch) -> CudaEngine:
    fake = install_cuda(monkeypatch)
    install_nvimgcodec(monkeypatch, fake.devices)
    engine = open_engine(make_bundle(), 1, CUDA)
    assert isinstance(engine, CudaEngine)
    return engine


def test_jpeg_is_that_of_the_picture(engine: CudaEngine) -> None:
    """Of every size in turn, small after large: what lies in memory from before is no part of it."""
    assert engine.jpeg is not None
    assert isinstance(engine, Printing)
    for seed, (height, width) in enumerate([(4, 4), (40, 24), (8, 8), (1, 3), (64, 64), (16, 48)]):
        image = picture(height, width, seed)
        data = encode(image, "jpeg", 97, engine.jpeg)
        assert by_the_gpu(data)
        assert shown(data).shape == image.shape
        assert np.abs(shown(data) - image).mean() < 4
        assert np.abs(shown(data) - image[::-1]).mean() > 8 or height == 1  # the control: of another picture
    odd = picture(8, 16)[:, ::2]  # rows that do not lie together
    assert encode(odd, "jpeg", 97, engine.jpeg) == encode(odd.copy(), "jpeg", 97, engine.jpeg)


def test_nvjpeg_is_asked_and_nothing_else(engine: CudaEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """nvImageCodec would take OpenCV on the CPU where it is not told; quality and 4:4:4 are those of Pillow's JPEGs."""
    assert engine.jpeg is not None
    encoder = engine.jpeg._encoder
    assert [kind.name for kind in encoder.kinds] == ["HYBRID_CPU_GPU"]
    for quality, asked in ((None, 95), (1, 1), (100, 100)):
        data = encode(picture(8, 8), "jpeg", quality, engine.jpeg)
        assert encoder.asked[-1] == (asked, (8, 8, 3))
        assert [layer[1:3] for layer in Image.open(io.BytesIO(data)).layer] == 3 * [(1, 1)]  # type: ignore[attr-defined]


def test_other_formats_stay_with_the_cpu(engine: CudaEngine) -> None:
    before = len(engine.jpeg._encoder.asked)  # type: ignore[union-attr]
    formats: tuple[Format, ...] = ("png", "webp", "npy")
    for format in formats:
        assert encode(picture(8, 8), format, None, engine.jpeg) == encode(picture(8, 8), format)
    assert len(engine.jpeg._encoder.asked) == before  # type: ignore[union-attr]


def test_threads_do_not_mix_pictures(engine: CudaEngine) -> None:
    images = [picture(8, 8, seed) for seed in range(16)]
    alone = [encode(image, "jpeg", None, engine.jpeg) for image in images]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda image: encode(image, "jpeg", None, engine.jpeg), images)) == alone


def without(monkeypatch: pytest.MonkeyPatch, bundle: Bundle) -> Engine:
    """The same bundle's engine where nvImageCodec is not installed."""
    monkeypatch.setattr(jpeg, "_installed", lambda: False)
    return open_engine(bundle, 1, CUDA)


def test_it_is_told_of_and_changes_the_fingerprint(make_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same fingerprint is to mean the same bytes, and another encoder writes others."""
    bundle, fake = make_bundle(), install_cuda(monkeypatch)
    install_nvimgcodec(monkeypatch, fake.devices)
    engines = [open_engine(bundle, 1, CUDA) for _ in range(2)]
    assert len({engine.fingerprint for engine in engines}) == 1
    assert engines[0].choice.describe()["reason"] == f"asked for by --engine {CUDA}; JPEGs by nvimgcodec {VERSION}"
    assert engines[0].choice.warning is None
    other = without(monkeypatch, bundle)
    assert isinstance(other, Printing)
    assert other.jpeg is None
    assert other.choice.describe()["reason"] == f"asked for by --engine {CUDA}"
    assert other.fingerprint != engines[0].fingerprint


@pytest.mark.parametrize(
    ("gpu", "nvjpeg", "reason"),
    [(False, True, NO_GPU), (True, False, f"nvimgcodec {VERSION} cannot write a JPEG of 16x16 pixels")],
)
def test_one_that_does_not_start_gives_way(
    make_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch, gpu: bool, nvjpeg: bool, reason: str
) -> None:
    fake = install_cuda(monkeypatch)
    install_nvimgcodec(monkeypatch, fake.devices, gpu, nvjpeg)
    bundle = make_bundle()
    engine = open_engine(bundle, 1, CUDA)
    assert isinstance(engine, CudaEngine)
    assert engine.jpeg is None
    told = f"JPEGs are written on the CPU: nvidia.nvimgcodec does not start ({reason})"
    assert engine.choice.warning == told
    assert without(monkeypatch, bundle).fingerprint == engine.fingerprint


def test_an_engine_on_the_cpu_does_not_look_for_it(make_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    module = install_nvimgcodec(monkeypatch, [])
    engine = open_engine(make_bundle(), 1, CPU)
    assert not isinstance(engine, Printing)
    assert module.encoders == []


def test_points_have_no_jpegs(make_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = install_cuda(monkeypatch)
    module = install_nvimgcodec(monkeypatch, fake.devices)
    open_engine(make_bundle(z_shape=(2,)), 1, CUDA)
    assert module.encoders == []


def test_a_compiled_engine_has_it_too(make_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    device, rtx = install(monkeypatch, "tensorrt-rtx"), LIBRARIES["tensorrt-rtx"]
    install_nvimgcodec(monkeypatch, [device])
    order = Order(rtx, load_library(rtx), ("sm89",), GPU, batch_ranges(2))
    engine = open_engine(add_engines(make_bundle(), order, lambda line: None, EngineCache(None)), 1, "tensorrt-rtx")
    assert isinstance(engine, Printing)
    assert by_the_gpu(encode(picture(8, 8), "jpeg", None, engine.jpeg))


def test_worker_and_command_write_the_same(engine: CudaEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the fingerprint says holds for `longjump generate` as for a worker: one picture, a grid, each by itself."""
    assert engine.jpeg is not None
    images = np.stack([picture(4, 4, seed) for seed in range(4)])
    for count in (1, 4):
        (whole,) = write(job(1, n=count, format="jpeg"), images[:count], engine.jpeg)
        assert by_the_gpu(whole)
    assert not by_the_gpu(write(job(1, format="jpeg"), images[:1])[0])

    def opened(bundle: Bundle, *_: object) -> Engine:
        return engine

    monkeypatch.setattr("export.runtime.engines.open_engine", opened)
    out = tmp_path / "a.jpg"
    command = ["generate", str(tmp_path / "toy"), "--seed", "3", "--label", "0", "--steps", "1", "-o", str(out)]
    assert longjump.main(command) == 0
    sent: list[tuple[dict, list[bytes]]] = []  # type: ignore[type-arg]
    writers = Writers(engine, lambda header, blobs: sent.append((header, list(blobs))), lambda *_: None)
    z = sample(engine.jump, engine.manifest.z_shape, engine.manifest.grid(1), [3], [0])
    writers.write([Finished(job(1, seed=3, format="jpeg"), [0], z, 0.0, 0.0)], idle=True)
    [(_, [blob])] = sent
    assert by_the_gpu(blob)
    assert blob == out.read_bytes()


def test_no_other_bytes_under_the_same_fingerprint(engine: CudaEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that fails in service fails the request: Pillow's bytes would not be what the fingerprint says."""
    assert engine.jpeg is not None
    monkeypatch.setattr(engine.jpeg._encoder, "encode", lambda *_, **__: None)
    with pytest.raises(ValueError, match="cannot write a JPEG of 8x6 pixels"):
        write(job(1, format="jpeg"), picture(6, 8)[None], engine.jpeg)
