"""Rows reach the GPU and come back as they are: buckets, one copy each way, slots in turn, streams that do not wait.

On a device of the test that does everything as late as it may; what runs there is ONNX Runtime, bound to its memory.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from export.check import trial_rows
from export.runtime.bundle import Bundle
from export.runtime.engines import open_engine
from export.runtime.engines.cuda import CudaEngine
from export.runtime.flags import CUDA
from export.runtime.gpu.buckets import Part, buckets, split
from export.runtime.gpu.road import ALIGNMENT, Road, Tensor, layout
from export.runtime.manifest import Manifest

from .fake_device import FakeCuda, FakeDevice
from .gpu import install_cuda

FLOAT = np.dtype(np.float32)
Z = 3 * 4 * 4 * 4
"""Bytes of a row of z."""


def test_buckets() -> None:
    assert buckets(64) == (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
    assert buckets(8) == (1, 2, 3, 4, 6, 8)
    assert buckets(50) == (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 50)
    assert (buckets(1), buckets(2), buckets(5)) == ((1,), (1, 2), (1, 2, 3, 4, 5))
    with pytest.raises(ValueError, match="at least 1, not 0"):
        buckets(0)


@pytest.mark.parametrize("most", [1, 5, 8, 64])
def test_parts_cover_all_rows_once_with_little_padding(most: int) -> None:
    sizes = buckets(most)
    for rows in range(3 * most + 2):
        parts = split(rows, sizes)
        assert [row for part in parts for row in range(part.first, part.first + part.rows)] == list(range(rows))
        assert all(part.bucket in sizes and part.rows >= 1 and 0 <= part.padding <= part.bucket / 3 for part in parts)
        assert all(part.padding == 0 for part in parts[:-1])
    assert split(70, buckets(64)) == [Part(0, 64, 64), Part(64, 6, 6)]
    assert split(20, buckets(64))[0].padding == 4


def test_inputs_lie_apart_and_aligned() -> None:
    inputs = {"t": Tensor((), FLOAT), "label": Tensor((), np.dtype(np.int64)), "z": Tensor((3, 5), FLOAT)}
    assert layout(inputs, 64) == ({"t": 0, "label": 256, "z": 768}, 768 + 64 * 60)
    assert all(at % ALIGNMENT == 0 for at in layout(inputs, 7)[0].values())


def opened(
    make_bundle: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch, captures: bool = True
) -> tuple[CudaEngine, FakeCuda]:
    fake = install_cuda(monkeypatch, captures)
    engine = open_engine(make_bundle(), 1, CUDA)
    assert isinstance(engine, CudaEngine)
    return engine, fake


def rows(manifest: Manifest, count: int) -> tuple[np.ndarray, ...]:
    made = trial_rows(count, manifest.z_shape, len(manifest.labels), manifest.span)
    return made.z, made.t, made.s, made.label


def test_a_tick_is_one_copy_one_graph_one_copy(
    make_bundle: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, fake = opened(make_bundle, monkeypatch)
    (device,) = fake.devices  # pixels are decoded on the CPU
    assert fake.options[0]["enable_cuda_graph"] == "1"
    assert fake.options[0]["user_compute_stream"] == str(device.stream)
    engine.jump(*rows(engine.manifest, 5))
    assert device.order == ["upload", "graph 6", "download"]
    sent, back = device.sizes
    assert back == 5 * Z  # no padding comes back
    assert 5 * Z < sent < 5 * Z + 5 * 1024  # nor does any z of padding go there


def test_noise_is_sent_as_seeds(make_bundle: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch) -> None:
    engine, fake = opened(make_bundle, monkeypatch)
    z, t, s, label = rows(engine.manifest, 64)
    engine.draw(np.arange(64, dtype=np.uint64), z, t, s, label)
    assert fake.devices[0].order == ["upload", "noise", "graph 64", "download"]
    assert fake.devices[0].sizes[0] < 5 * 1024 < z.nbytes


def test_slots_take_turns(make_bundle: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two parts are under way before the first is waited for, and a slot is filled again only after that."""
    engine, fake = opened(make_bundle, monkeypatch)
    inputs = rows(engine.manifest, 64 * 3 + 7)
    filled: list[int] = []
    device = fake.devices[0]
    queue = device.queue

    def watched(what: str, work: Callable[[], None]) -> None:
        if what == "upload":
            filled.append(device.order.count("download"))
        queue(what, work)

    monkeypatch.setattr(device, "queue", watched)
    together = engine.jump(*inputs)
    assert filled == [0, 0, 1, 2]  # parts that are back when the next is sent
    np.testing.assert_array_equal(
        together, np.concatenate([engine.jump(*(v[i : i + 1] for v in inputs)) for i in range(199)])
    )


def test_padding_is_never_foreign_memory(make_bundle: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels of padding index a table: they are zero, or those of rows that ran before."""
    engine, fake = opened(make_bundle, monkeypatch)
    engine.jump(*rows(engine.manifest, 5))
    held = next(block for block in fake.devices[0]._memory if len(block) > 64 * Z)
    assert not held[-58 * Z :].any()


def test_a_failed_evaluation_leaves_nothing_behind() -> None:
    device = FakeDevice()
    road = Road(device, {"z": Tensor((2,), FLOAT)}, ("out", Tensor((2,), FLOAT)), (1, 2))
    ended: list[int] = []

    def twice(rows: int) -> None:
        ended.append(rows)
        if len(ended) == 2:
            raise RuntimeError("the device is gone")
        size = 8 * rows
        source, to = (device.view(road.addresses[name], size).view(FLOAT) for name in ("z", "out"))
        device.queue("run", lambda: np.multiply(source, 2, out=to))

    with pytest.raises(RuntimeError, match="gone"):
        road.run({"z": np.ones((4, 2), dtype=np.float32)}, twice)
    assert device.order == ["upload", "run", "download", "upload"]  # what was queued has ended
    z = np.arange(10, dtype=np.float32).reshape(5, 2)
    np.testing.assert_array_equal(road.run({"z": z}, twice), 2 * z)


def test_what_onnx_runtime_cannot_capture_runs_without_graphs(
    make_bundle: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, fake = opened(make_bundle, monkeypatch, captures=False)
    assert not engine.captured
    engine.warm()
    assert {*fake.devices[0].order} == {"upload", "run", "download"}


def test_every_graph_is_captured_before_work_comes(
    make_bundle: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A capture in service would be broken by what another thread asks of CUDA meanwhile."""
    engine, fake = opened(make_bundle, monkeypatch)
    engine.warm()
    assert {name for name in fake.devices[0].order if name.startswith("graph")} == {f"graph {n}" for n in buckets(64)}


def test_latents_are_decoded_on_a_stream_of_their_own(
    make_bundle: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = install_cuda(monkeypatch)
    engine = open_engine(make_bundle(latents={"mean": [0, 0, 0], "scale": [1, 1, 1], "factor": 1}), 1, CUDA)
    ticks, pictures = fake.devices
    z = np.random.default_rng(1).standard_normal((19, 3, 4, 4)).astype(np.float32)
    images = engine.decode(z)
    assert not ticks.order
    assert pictures.order == 3 * ["upload", "run", "download"]
    assert pictures.sizes[1::2] == [48 * 8, 48 * 8, 48 * 3]  # bytes come back, not numbers
    assert images.dtype == np.uint8
    assert (
        images.tobytes() == np.clip(np.rint(127.5 * z + 127.5), 0, 255).astype(np.uint8).transpose(0, 2, 3, 1).tobytes()
    )
    assert "enable_cuda_graph" not in fake.options[-1]
