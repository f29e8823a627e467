"""The floor: what no server can save. Noise, the engine's call, decode and PNG, without a server.

`Floor` is one process with one engine of T threads that does one thing after another: `one` picture, timed in parts,
or as many as it can in a loop over batches (`Floors`: N such processes at once, the same split as the server's). It is
a process of its own so that the bench's own stays small and never shares a library with what it measures.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from server.bench.contenders import environment

if TYPE_CHECKING:
    from export.runtime.engines import Engine

BATCHES = (1, 2, 4, 8, 16)
"""Batches that the raw loop tries."""

PARTS = ("noise", "network", "decode", "encode")
"""Of one picture, in order."""

LEAD_SECONDS = 0.1
"""From telling several processes to start until they do, together."""


class Floor:
    """A raw engine in a process of its own."""

    def __init__(self, bundle: Path, threads: int) -> None:
        command = [sys.executable, "-P", "-m", "server.bench.floor", str(bundle), str(threads)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
        )
        self.answer()  # warm

    def __enter__(self) -> Floor:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def tell(self, **task: object) -> None:
        """Give it something to do."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Wait for what came of it. OSError if the process ended."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise OSError(f"the raw engine's process ended with {self._process.wait()}")
        return dict(json.loads(line))

    def one(self, seed: int, steps: int) -> dict[str, float]:
        """Seconds of the parts of one picture."""
        self.tell(do="one", seed=seed, steps=steps)
        return self.answer()

    def png_ratio(self, count: int, steps: int) -> float:
        """Bytes of our PNGs over those of Pillow at level 1, for `count` pictures."""
        self.tell(do="sizes", count=count, steps=steps)
        return float(self.answer()["ratio"])


class Floors:
    """N raw loops at once."""

    def __init__(self, bundle: Path, processes: int, threads: int) -> None:
        self._floors = [Floor(bundle, threads) for _ in range(processes)]

    def __enter__(self) -> Floors:
        return self

    def __exit__(self, *exception: object) -> None:
        for floor in self._floors:
            floor.__exit__(*exception)

    def rate(self, batch: int, seconds: float) -> float:
        """One-step images per second of all of them together, each in batches of `batch`."""
        start = time.monotonic() + LEAD_SECONDS
        for floor in self._floors:
            floor.tell(do="loop", batch=batch, start=start, seconds=seconds)
        return sum(float(floor.answer()["rate"]) for floor in self._floors)

    def best_batch(self, seconds: float) -> tuple[int, dict[int, float]]:
        """The batch of the highest rate, and the rate of each that was tried for `seconds`."""
        rates = {batch: self.rate(batch, seconds) for batch in BATCHES}
        return max(rates, key=lambda batch: rates[batch]), rates


def one(engine: Engine, seed: int, steps: int) -> dict[str, float]:
    """Seconds of the parts of one picture, or point."""
    import numpy as np

    from export.runtime.images import encode, encode_npy
    from export.runtime.noise import draw_label, normal
    from export.runtime.sampler import sample

    manifest = engine.manifest
    begin = time.perf_counter()
    normal(seed, 0, manifest.z_shape)
    noise = time.perf_counter() - begin
    begin = time.perf_counter()
    label = draw_label(seed, len(manifest.labels))
    z = sample(engine.jump, manifest.z_shape, manifest.grid(steps), [seed], [label], _guidance(engine))
    sampled = decoded = time.perf_counter()
    if manifest.kind == "image":
        image = engine.decode(z)[0]
        decoded = time.perf_counter()
        encode(image, "png")
    else:
        encode_npy(np.asarray(z))
    end = time.perf_counter()
    # `sample` draws the noise itself, so the network's part is what is left.
    seconds = (noise, sampled - begin - noise, decoded - sampled, end - decoded)
    return dict(zip(PARTS, seconds, strict=True))


def loop(engine: Engine, batch: int, start: float, seconds: float) -> float:
    """One-step images per second (or points), made one batch after another from `start` (monotonic) on."""
    manifest = engine.manifest
    seed = 0
    time.sleep(max(0.0, start - time.monotonic()))
    begin = time.perf_counter()
    while (now := time.perf_counter()) < begin + seconds:
        _make(engine, range(seed, seed + batch), manifest.steps[0])
        seed += batch
    return seed / (now - begin)


def png_ratio(engine: Engine, count: int, steps: int) -> float:
    """See `Floor.png_ratio`; 0 for points."""
    import io

    from PIL import Image

    from export.runtime.images import encode

    if engine.manifest.kind != "image":
        return 0.0
    ours = pillows = 0
    for image in _images(engine, range(count), steps):
        ours += len(encode(image, "png"))
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG", compress_level=1)
        pillows += len(buffer.getvalue())
    return ours / pillows


def _make(engine: Engine, seeds: Sequence[int], steps: int) -> None:
    from export.runtime.images import encode, encode_npy

    for shown in _images(engine, seeds, steps):
        if engine.manifest.kind == "image":
            encode(shown, "png")
        else:
            encode_npy(shown)


def _images(engine: Engine, seeds: Sequence[int], steps: int) -> Any:
    from export.runtime.noise import draw_label
    from export.runtime.sampler import sample

    manifest = engine.manifest
    labels = [draw_label(seed, len(manifest.labels)) for seed in seeds]
    grid = manifest.grid(steps)
    z = sample(engine.jump, manifest.z_shape, grid, seeds, labels, _guidance(engine), batch=len(seeds))
    return engine.decode(z) if manifest.kind == "image" else z


def _guidance(engine: Engine) -> float | None:
    scale = engine.manifest.guidance
    return None if scale is None else scale.default


def main(arguments: Sequence[str]) -> None:
    """The process: tasks come in as lines of JSON, answers go out as lines of JSON."""
    from export.runtime.bundle import open_bundle
    from export.runtime.engines import open_engine

    bundle, threads = arguments
    engine = open_engine(open_bundle(Path(bundle)), int(threads))
    engine.warm()
    for _ in range(3):
        one(engine, 0, engine.manifest.steps[0])
    print("{}", flush=True)
    for line in sys.stdin:
        task = json.loads(line)
        if task["do"] == "one":
            answer = one(engine, task["seed"], task["steps"])
        elif task["do"] == "loop":
            answer = {"rate": loop(engine, task["batch"], task["start"], task["seconds"])}
        else:
            answer = {"ratio": png_ratio(engine, task["count"], task["steps"])}
        print(json.dumps(answer), flush=True)


def medians(parts: Sequence[dict[str, float]]) -> dict[str, float]:
    """The median of each part, and of their sum under "total"."""
    totals = [{**one, "total": sum(one.values())} for one in parts]
    return {name: statistics.median(one[name] for one in totals) for name in totals[0]}


if __name__ == "__main__":
    main(sys.argv[1:])
