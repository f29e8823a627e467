"""The decode graph is u8 = round(clip(127.5 z + 127.5, 0, 255)), NHWC, grey replicated."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from export.check import check_decode
from export.decode import build_decode
from export.runtime.engines import open_engine
from export.runtime.engines.session import open_session
from export.runtime.noise import normal


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_it_equals_numpy(channels: int, batch: int) -> None:
    session = open_session(build_decode((channels, 4, 6)), "decode", 1)
    z = normal(1, 0, (batch, channels, 4, 6))
    # Exact halves, both ends and beyond: where rounding and clipping could differ.
    z[0, 0].flat[:8] = (np.array([0.5, 1.5, 2.5, 254.5, 0, 255, 400, -9], dtype=np.float32) - 127.5) / np.float32(127.5)
    (image,) = session.run(None, {"z": z})
    expected = np.rint(np.clip(np.float32(127.5) * z + np.float32(127.5), 0, 255)).astype(np.uint8)
    expected = np.repeat(expected.transpose(0, 2, 3, 1), 3 // channels, axis=3)
    assert image.dtype == np.uint8
    assert np.array_equal(image, expected)
    truncated = np.clip(127.5 * z + 127.5, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
    assert not np.array_equal(image, np.repeat(truncated, 3 // channels, axis=3))


def test_its_shape_is_told() -> None:
    assert check_decode(open_session(build_decode((1, 4, 6)), "decode", 1), "decode", (1, 4, 6)) == (4, 6, 3)


@pytest.mark.parametrize("shape", [(4, 8, 8), (3, 8), (2,)])
def test_other_data_needs_its_own_graph(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="C 1 or 3"):
        build_decode(shape)


def test_points_are_not_decoded(make_bundle: Callable) -> None:
    bundle = make_bundle("points", z_shape=(2,))
    engine = open_engine(bundle, 1)
    engine.warm()
    with pytest.raises(ValueError, match="points makes points, not images"):
        engine.decode(np.zeros((1, 2), dtype=np.float32))
