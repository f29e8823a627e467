"""Decoder and encoder on a GPU run in batch buckets of their own, and what fills those up changes no picture.

On a device of the test that does everything as late as it may; what runs there is ONNX Runtime, bound to its memory.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from export.runtime.bundle import Bundle, write_bundle
from export.runtime.engines import open_engine
from export.runtime.engines.cuda import CudaEngine
from export.runtime.engines.pictures import GPU_ROWS
from export.runtime.flags import CUDA
from export.runtime.gpu.buckets import buckets
from export.runtime.noise import INITIAL_STEP
from export.runtime.sampler import noise_rows

from .conftest import IMAGE, bundle_parts
from .fake_device import FakeCuda, FakeDevice
from .gpu import install_cuda

FILES = {"fp32": "decode.fp32.onnx", "fp16": "decode.fp16.onnx"}
ROWS = 2 * GPU_ROWS + 3
PICTURE = 8 * 8 * 3
"""Bytes."""

Pass = Callable[[np.ndarray], np.ndarray]


def opened(bundle: Bundle, fake: FakeCuda, precision: str | None = None) -> tuple[CudaEngine, FakeDevice, FakeDevice]:
    """The engine, and the devices of its decoder and its encoder."""
    engine = open_engine(bundle, 1, CUDA, precision)
    assert isinstance(engine, CudaEngine)
    _, decodes, *encodes = fake.devices
    return engine, decodes, encodes[0] if encodes else decodes


def poison(device: FakeDevice) -> None:
    """Fill all memory of a device with bits that are no number as float32, and 255 as bytes."""
    for block in device._memory:
        block[...] = 0xFF


def alone(run: Pass, rows: np.ndarray) -> np.ndarray:
    return np.concatenate([run(row[None]) for row in rows])


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    return install_cuda(monkeypatch)


@pytest.fixture
def z(exported_latent: Bundle) -> np.ndarray:
    return noise_rows(range(ROWS), INITIAL_STEP, exported_latent.manifest.z_shape)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_rows_in_buckets_are_those_alone(
    exported_latent: Bundle, fake: FakeCuda, z: np.ndarray, precision: str
) -> None:
    engine, decodes, encodes = opened(exported_latent, fake, precision)
    assert engine.choice.entry.precision == precision
    cpu = open_engine(exported_latent, 1, "onnxruntime-cpu", precision)
    single = alone(cpu.decode, z)
    assert len(np.unique(single.reshape(ROWS, -1), axis=0)) == ROWS
    back = alone(cpu.encode, single)
    for rows in range(1, ROWS + 1):
        poison(decodes)
        poison(encodes)
        assert engine.decode(z[:rows]).tobytes() == single[:rows].tobytes(), rows
        assert engine.encode(single[:rows]).tobytes() == back[:rows].tobytes(), rows


def test_no_padding_is_carried(exported_latent: Bundle, fake: FakeCuda, z: np.ndarray) -> None:
    """A part sends and brings back its rows, and is evaluated in the smallest bucket that takes them."""
    engine, decodes, _ = opened(exported_latent, fake)
    for rows in range(1, ROWS + 1):
        decodes.sizes.clear()
        decodes.order.clear()
        engine.decode(z[:rows])
        parts = [GPU_ROWS] * (rows // GPU_ROWS) + ([rows % GPU_ROWS] if rows % GPU_ROWS else [])
        assert decodes.order == len(parts) * ["upload", "run", "download"]
        assert decodes.sizes == [size for part in parts for size in (z[:part].nbytes, part * PICTURE)]
    sizes = buckets(GPU_ROWS)
    assert max(bucket - rows for rows in range(1, 9) for bucket in [min(n for n in sizes if n >= rows)]) == 1


def test_pictures_do_not_wait_for_ticks(exported_latent: Bundle, fake: FakeCuda, z: np.ndarray) -> None:
    """Three streams: the network's is not touched by a decoder or an encoder, and has the larger buckets."""
    engine, decodes, encodes = opened(exported_latent, fake)
    ticks = fake.devices[0]
    assert len({ticks.stream, decodes.stream, encodes.stream}) == 3
    engine.encode(engine.decode(z))
    assert not ticks.order
    assert decodes.order == encodes.order == 3 * ["upload", "run", "download"]


def test_a_decoder_that_mixes_rows_is_found(tmp_path: Path, fake: FakeCuda) -> None:
    """The control: through the mean of a batch padding does reach pictures, and the comparison above sees it."""
    fields, contents = bundle_parts("mixing", IMAGE, b"# A toy\n")
    fields["latents"] = {"mean": [0, 0, 0], "scale": [1, 1, 1], "factor": 1}
    graph = onnx.load_from_string(contents[FILES["fp32"]])  # type: ignore[arg-type]
    for node in graph.graph.node:
        node.input[:] = ["mixed" if name == "z" else name for name in node.input]
    axes = onnx.numpy_helper.from_array(np.array([0], dtype=np.int64), "axes")
    graph.graph.initializer.append(axes)
    added = [
        helper.make_node("ReduceMean", ["z", "axes"], ["mean"], keepdims=1),
        helper.make_node("Sub", ["z", "mean"], ["mixed"]),
    ]
    nodes = [*added, *graph.graph.node]
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
    contents[FILES["fp32"]] = graph.SerializeToString()
    engine, decodes, _ = opened(write_bundle(tmp_path / "mixing", fields, contents), fake)
    z = noise_rows(range(5), INITIAL_STEP, IMAGE)
    first = engine.decode(z)
    poison(decodes)
    assert engine.decode(z).tobytes() != first.tobytes()
    assert first.tobytes() != alone(engine.decode, z).tobytes()
