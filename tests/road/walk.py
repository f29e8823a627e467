"""Walks the whole road for one recipe, by the commands that a person would type, and says how far it got.

data -> train -> export -> generate -> serve -> HTTP. Used by `test_road_is_broken.py` with a handful of steps, and by
`make status`, which runs the recipes at full length and writes docs/status.md from what came out.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np

from export.runtime.bundle import open_bundle
from export.runtime.noise import normal
from models.checkpoint import read_config

GAUSSIAN = (0.7, 0.4)
"""Mean and standard deviation of the one-dimensional data."""


@dataclass
class Walk:
    """What one recipe got to. A stage that was not reached is missing from `reached`."""

    recipe: str
    method: str = ""
    reached: list[str] = field(default_factory=list)
    train_seconds: float = 0.0
    steps: int = 0
    slope: float | None = None
    """Of the one-jump map on N(0.7, 0.4^2), through the bundle; points only."""
    offset: float | None = None
    finest: int = 1
    """The most steps that the bundle supports."""
    slope_finest: float | None = None
    """As `slope`, at `finest` steps: what a velocity model is for."""
    executed_on: list[str] = field(default_factory=list)
    served_bytes: dict[str, int] = field(default_factory=dict)
    """Size of the reply by step count."""


def command(*arguments: str, folder: Path) -> str:
    """Run `longjump ...` and return what it printed; raises CalledProcessError with its stderr shown."""
    done = subprocess.run(
        [sys.executable, "-m", "longjump", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise AssertionError(f"longjump {' '.join(arguments)}: exit {done.returncode}\n{done.stderr[-4000:]}")
    return done.stdout


def walk(recipe: str, data: Path, folder: Path, overrides: Sequence[str] = (), given: Sequence[str] = ()) -> Walk:
    """Walk the road for `recipe` on the data set at `data`; every file goes into `folder`.

    `given` are more words for `longjump train`, such as --teacher CHECKPOINT.
    """
    run, bundle = folder / "run", folder / "bundle"
    found = Walk(recipe)
    sets = [part for override in overrides for part in ("--set", override)]
    start = time.monotonic()
    command("train", recipe, "--data", str(data), "--out", str(run), *sets, *given, folder=folder)
    found.train_seconds = time.monotonic() - start
    newest = max(run.glob("step-*"))
    config = read_config(newest)
    found.method, found.steps = config.method, config.step
    found.reached.append("trained")

    command("export", str(run), "--out", str(bundle), folder=folder)
    found.reached.append("exported")
    manifest = open_bundle(bundle).manifest
    found.executed_on = sorted({engine.executed_on for engine in manifest.engines if engine.executed_on})
    if config.kind == "points" and config.shape == (1,):
        found.finest = max(manifest.steps)
        found.slope, found.offset = affine(bundle, 1, folder)
        found.slope_finest, _ = affine(bundle, found.finest, folder)

    with serving(bundle, folder) as url:
        for steps in [steps for steps in (1, 2, 4) if steps in manifest.steps]:
            request = Request(f"{url}/generate?steps={steps}&seed=7", method="POST")
            with urlopen(request, timeout=30) as reply:
                body = reply.read()
            kind = reply.headers["content-type"]
            assert kind.startswith("image/png" if config.kind == "image" else "application/json"), kind
            found.served_bytes[str(steps)] = len(body)
    found.reached.append("served")
    return found


def affine(bundle: Path, steps: int, folder: Path) -> tuple[float, float]:
    """(slope, offset) of the map from noise to samples of a one-dimensional bundle, through `longjump generate`."""
    count, out = 4000, folder / f"samples-{steps}.npy"
    command(
        *("generate", str(bundle), "--steps", str(steps), "--seed", "0", "-n", str(count), "--label", "none"),
        *("-o", str(out)),
        folder=folder,
    )
    noise = np.array([normal(seed, 0, (1,))[0] for seed in range(count)], dtype=np.float64)
    slope, offset = np.polyfit(noise, np.load(out).reshape(count), 1)
    return float(slope), float(offset)


@contextmanager
def serving(bundles: Path | Sequence[Path], folder: Path) -> Iterator[str]:
    """The URL of a `longjump serve` of bundles on a free port; it is asked to leave, and must, with exit code 0."""
    served = [bundles] if isinstance(bundles, Path) else bundles
    log = folder / "serve.log"
    with log.open("w") as file:
        server = subprocess.Popen(
            [sys.executable, "-m", "longjump", "serve", *map(str, served), "--port", "0"],
            cwd=folder,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    try:
        deadline = time.monotonic() + 60
        while not (match := re.search(r"http://127\.0\.0\.1:\d+", log.read_text())):
            assert server.poll() is None, f"serve left at once:\n{log.read_text()}"
            assert time.monotonic() < deadline, f"serve printed no address:\n{log.read_text()}"
            time.sleep(0.05)
        url = match.group()
        while True:
            try:
                with urlopen(f"{url}/readyz", timeout=5):
                    break
            except OSError:
                assert time.monotonic() < deadline, f"serve is not ready:\n{log.read_text()}"
                time.sleep(0.05)
        yield url
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=30) == 0, log.read_text()
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()


def gaussian_data(folder: Path, count: int) -> Path:
    """The data set N(0.7, 0.4^2), built by the command."""
    data = folder / "gaussian"
    mean, std = map(str, GAUSSIAN)
    command(
        *("data", "build", "points", "--kind", "gaussian", "--mean", mean, "--std", std),
        *("--train", str(count), "--out", str(data)),
        folder=folder,
    )
    return data
