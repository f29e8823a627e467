"""One request on its way through the ticks: where its samples start, under which labels, by which grid.

From noise, from an image that was noised (`Vary`), on the way between two noises (`Path`), or from given points
(`Leap`). What a sample gets
depends on its request alone, never on its neighbours in a tick.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from export.runtime.engines import Engine
from export.runtime.grids import Grid, Step, variation_grid
from export.runtime.noise import INITIAL_STEP, draw_label, interpolate, normal
from server.jobs import Job, Vary


class Request:
    """The state of a job between its arrival and its last step."""

    __slots__ = ("_given", "_image", "grid", "job", "labels", "left", "network", "queue", "z")

    def __init__(self, job: Job, engine: Engine, grid: Grid | None) -> None:
        """`grid` is the manifest's for the job's steps; a variation and a leap have their own. ValueError without."""
        manifest = engine.manifest
        shape = tuple(manifest.z_shape)
        self.job = job
        self._image: NDArray[np.float32] | None = None
        if job.vary is not None:
            grid = variation_grid(manifest.span, manifest.t_max, job.vary.strength, job.steps)
            self._image = as_sample(job.vary, engine)
        self._given: NDArray[np.float32] | None = None
        if job.leap is not None:
            grid = (Step(job.leap.t, job.leap.s),)
            self._given = np.frombuffer(job.leap.z, dtype=np.float32).reshape(job.n, *shape)
        if grid is None:
            raise ValueError(f"steps={job.steps} is not supported; {manifest.name} supports {manifest.steps}")
        self.grid = grid
        ends: Sequence[tuple[int, int | None]]
        if job.path is not None:
            ends = ((job.seed, job.label), (job.path.seed, job.path.label))
        else:
            ends = [(job.seed + i, job.label) for i in range(job.n)]
        self.labels = [draw_label(seed, manifest.null_label) if label is None else label for seed, label in ends]
        """As in Result: one for each sample, of a path the two ends'."""
        self.z: NDArray[np.float32] = np.empty((job.n, *shape), dtype=np.float32)
        """[n, *z_shape]: each sample where it is now; undefined before its first step."""
        self.left = job.n
        self.queue: float | None = None
        self.network = 0.0

    def weight(self, sample: int) -> float:
        """How far along a path a sample is, 0 to 1."""
        return sample / (self.job.n - 1) if self.job.n > 1 else 0.0

    def sample_labels(self, sample: int) -> Sequence[int]:
        """The label of a sample, or the two that it lies between: it takes one row of a tick for each."""
        if self.job.path is None:
            return self.labels[sample : sample + 1]
        weight = self.weight(sample)
        if weight == 0.0 or self.labels[0] == self.labels[1]:
            return self.labels[:1]
        return self.labels[1:] if weight == 1.0 else self.labels

    def drawn(self, sample: int) -> int | None:
        """The seed whose noise of INITIAL_STEP is where a sample starts; None if it starts from anything else."""
        if self._given is not None or self._image is not None or self.job.path is not None:
            return None
        return self.job.seed + sample

    def start(self, sample: int, out: NDArray[np.float32]) -> None:
        """Write where a sample starts, f32 [*z_shape]."""
        if self._given is not None:
            out[...] = self._given[sample]
            return
        self.noise(sample, INITIAL_STEP, out)
        if self._image is not None and self.job.vary is not None:
            strength = np.float32(self.job.vary.strength)
            out *= strength
            out += (np.float32(1.0) - strength) * self._image

    def noise(self, sample: int, step: int, out: NDArray[np.float32]) -> None:
        """Write a sample's noise of a step, f32 [*z_shape]."""
        path = self.job.path
        if path is None:
            normal(self.job.seed + sample, step, out.shape, out=out)
            return
        first, last = normal(self.job.seed, step, out.shape), normal(path.seed, step, out.shape)
        out[...] = interpolate(first, last, self.weight(sample))


def as_sample(vary: Vary, engine: Engine) -> NDArray[np.float32]:
    """The z at t = 0 whose picture is the image of `vary`, f32 [C, H, W].

    Of a model of pixels: pixel / 127.5 - 1, for one channel its luma. Of a model of latents: what the bundle's encoder
    makes of it. ValueError for a bundle that has neither.
    """
    manifest = engine.manifest
    if manifest.image_shape is None or not (manifest.pixels or manifest.encodes):
        raise ValueError(f"{manifest.name} has no way from an image to z; its bundle has no encoder")
    rgb = np.frombuffer(vary.image, dtype=np.uint8).reshape(manifest.image_shape)
    if not manifest.pixels:
        return engine.encode(rgb[None])[0]
    if manifest.z_shape[0] == 1:
        # Rec. 601 in whole numbers, as Pillow has it: grey stays exactly itself.
        luma = (rgb @ np.array([19595, 38470, 7471], dtype=np.uint32) + 0x8000) >> 16
        planes: NDArray[np.integer] = luma[None]
    else:
        planes = rgb.transpose(2, 0, 1)
    return planes.astype(np.float32, order="C") / np.float32(127.5) - np.float32(1.0)
