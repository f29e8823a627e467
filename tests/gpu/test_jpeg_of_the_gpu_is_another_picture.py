"""nvImageCodec's JPEGs are pictures of what it was given, as near to it as Pillow's of the same quality."""

from __future__ import annotations

import importlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.runtime.engines.device import CupyDevice
from export.runtime.gpu.jpeg import INSTALL, MODULE, GpuJpeg, _installed
from export.runtime.images import encode

pytestmark = pytest.mark.gpu

SAMPLES = Path(__file__).parents[2] / "server" / "demo" / "samples.png"


@pytest.fixture(scope="module")
def jpeg() -> GpuJpeg:
    if not _installed():
        pytest.fail(f"not run: nvImageCodec is not installed ({INSTALL})", pytrace=False)
    return GpuJpeg(importlib.import_module(MODULE), CupyDevice())


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    return np.asarray(Image.open(SAMPLES).convert("RGB"))


@pytest.mark.parametrize("quality", [50, 95])
def test_it_is_as_near_as_pillows(jpeg: GpuJpeg, samples: np.ndarray, quality: int) -> None:
    for height, width in ((32, 32), (33, 17), (samples.shape[0], samples.shape[1]), (8, 8)):
        image = np.ascontiguousarray(samples[:height, :width])
        theirs, ours = encode(image, "jpeg", quality), encode(image, "jpeg", quality, jpeg)
        assert Image.open(io.BytesIO(ours)).layer == Image.open(io.BytesIO(theirs)).layer  # type: ignore[attr-defined]
        errors = [
            np.abs(np.asarray(Image.open(io.BytesIO(each))).astype(int) - image).mean() for each in (ours, theirs)
        ]
        assert errors[0] < errors[1] + 1
        assert len(ours) < 2 * len(theirs) + 1000


def test_the_same_picture_gives_the_same_bytes(jpeg: GpuJpeg, samples: np.ndarray) -> None:
    first = jpeg(samples, 95)
    jpeg(np.ascontiguousarray(samples[:64, :64]), 20)
    assert jpeg(samples, 95) == first
