"""Finished samples -> bytes: decode, lay out, encode. Runs beside the ticks, in the worker's thread pool."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from export.runtime.engines import Engine
from export.runtime.images import Jpeg, encode, encode_animation, encode_npy, tile
from server.jobs import Job

DECODE_ROWS = 16
"""Samples per call of the decoder: bounds its memory however many images are asked for."""


def decode(engine: Engine, samples: Sequence[NDArray[np.float32]]) -> list[NDArray[np.generic]]:
    """What each request shows, from its samples [n, *z_shape]: images uint8 [n, H, W, 3], or points as they are.

    The samples of all requests are decoded together.
    """
    if engine.manifest.kind == "points":
        return list(samples)
    z = samples[0] if len(samples) == 1 else np.concatenate(samples)
    parts = [engine.decode(z[i : i + DECODE_ROWS]) for i in range(0, len(z), DECODE_ROWS)]
    images = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return np.split(images, np.cumsum([len(n) for n in samples])[:-1]) if len(samples) > 1 else [images]


def write(job: Job, shown: NDArray[np.generic], jpeg: Jpeg | None = None) -> list[bytes]:
    """The blobs of a reply (see Layout) from what a request shows: images [n, H, W, 3] or points [n, D].

    `whole` is one image or a grid of them, one .npy file, or the text of a JSON list of points. ValueError for points
    that JSON cannot say (NaN, infinity), and for an animation in a format that has none. `jpeg`: the engine's encoder.
    """
    if job.layout == "animation":
        frames = shown.astype(np.uint8, copy=False)
        return [encode_animation(frames, job.format, job.frame_ms, job.quality)]
    if job.layout == "each":
        return [base64.b64encode(_file(job, shown[i : i + 1], jpeg)) for i in range(len(shown))]
    return [_file(job, shown, jpeg)]


def _file(job: Job, shown: NDArray[np.generic], jpeg: Jpeg | None) -> bytes:
    if job.format == "json":
        if job.leap is not None:  # who asks for the map learns that it has no value there
            return json.dumps([[x if math.isfinite(x) else None for x in point] for point in shown.tolist()]).encode()
        if not np.isfinite(shown).all():
            raise ValueError("the model gave values that are not finite, which JSON cannot say; format=npy can")
        return json.dumps(shown.tolist()).encode()
    if shown.ndim == 2:
        return encode_npy(shown)
    if job.format == "npy":
        return encode_npy(shown[0] if len(shown) == 1 else shown)
    image = shown.astype(np.uint8, copy=False)
    return encode(image[0] if len(image) == 1 else tile(image), job.format, job.quality, jpeg)
