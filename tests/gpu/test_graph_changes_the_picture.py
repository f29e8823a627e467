"""CUDA graphs and bound buffers compute what ONNX Runtime computes without them, and the CPU nearly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from export.check import trial_rows
from export.runtime.bundle import Bundle, open_bundle
from export.runtime.engines import open_engine
from export.runtime.engines.device import CupyDevice
from export.runtime.engines.feed import named
from export.runtime.flags import CPU, CUDA
from export.runtime.gpu.bound import BoundGraph
from export.runtime.gpu.buckets import buckets
from export.runtime.gpu.jump import OUTPUT, jump_tensors

pytestmark = pytest.mark.gpu

DEMO = Path(__file__).parents[2] / "server" / "demo"


@pytest.fixture(scope="module")
def demo() -> Bundle:
    return open_bundle(DEMO)


def opened(demo: Bundle, capture: bool) -> BoundGraph:
    tensors = jump_tensors(demo.manifest)
    output = tensors.pop(OUTPUT)
    graph = BoundGraph(demo.read("jump.fp32.onnx"), "it", CupyDevice(), tensors, output, buckets(64), capture)
    assert graph.captured == capture
    return graph


def test_graphs_give_the_same_bits_each_time_they_run(demo: Bundle) -> None:
    captured, plain = opened(demo, True), opened(demo, False)
    for turn in range(3):  # captured, replayed, replayed with other values
        for rows in (1, 5, 8, 30, 64, 150):
            made = trial_rows(rows + turn, demo.manifest.z_shape, len(demo.manifest.labels), demo.manifest.span)
            values = named(made.z, made.t, made.s, made.label, None)
            np.testing.assert_array_equal(captured.run(values), plain.run(values))


def test_pictures_are_those_of_the_cpu(demo: Bundle) -> None:
    engine, cpu = open_engine(demo, None, CUDA), open_engine(demo, None, CPU)
    made = trial_rows(30, demo.manifest.z_shape, len(demo.manifest.labels), demo.manifest.span)
    here, there = (each.jump(made.z, made.t, made.s, made.label) for each in (engine, cpu))
    assert np.abs(here - there).max() < 1e-3
    assert np.abs(engine.decode(here).astype(int) - cpu.decode(there)).max() <= 1
