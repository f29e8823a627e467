"""Every engine that this GPU can run does what `Engine` promises: the suite of tests/export, on the real thing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from export.runtime.bundle import Bundle
from export.runtime.engines import Engine, open_engine
from export.runtime.engines.libraries import LIBRARIES, library_stamp, load_library
from export.runtime.engines.machine import Gpu, find_gpu
from export.runtime.flags import CUDA
from export.tensorrt.add import add_engines
from export.tensorrt.cache import EngineCache
from export.tensorrt.compile import batch_ranges
from export.tensorrt.order import Order

from ..export.test_engine_breaks_its_contract import (
    SHAPES,
    test_inputs_stay_and_the_result_is_new,
    test_it_can_be_warmed_and_timed,
    test_it_is_the_one_that_it_says,
    test_jump_moves_each_row_by_its_own_inputs,
    test_noise_made_by_the_engine_is_the_same,
    test_pictures_are_decoded,
    test_points_are_not,
    test_rows_need_not_lie_together,
    test_threads_do_not_disturb_each_other,
)

__all__ = [
    "test_inputs_stay_and_the_result_is_new",
    "test_it_can_be_warmed_and_timed",
    "test_it_is_the_one_that_it_says",
    "test_jump_moves_each_row_by_its_own_inputs",
    "test_noise_made_by_the_engine_is_the_same",
    "test_pictures_are_decoded",
    "test_points_are_not",
    "test_rows_need_not_lie_together",
    "test_threads_do_not_disturb_each_other",
]
pytestmark = pytest.mark.gpu

HERE = [CUDA, *(name for name, library in LIBRARIES.items() if library_stamp(library) is not None)]


@pytest.fixture(params=HERE)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def load(name: str, make_bundle: Callable[..., Bundle]) -> Callable[[str], Engine]:
    """Opens the engine under test for a bundle of a kind."""

    def load(kind: str) -> Engine:
        bundle = make_bundle(kind, z_shape=SHAPES[kind])
        if name in LIBRARIES:
            gpu, library = find_gpu(), LIBRARIES[name]
            assert isinstance(gpu, Gpu)
            order = Order(library, load_library(library), ("current",), gpu, batch_ranges(8))
            bundle = add_engines(bundle, order, print, EngineCache(None))
            assert bundle.manifest.engines[-1].state == "executed"
        return open_engine(bundle, 1, name)

    return load
