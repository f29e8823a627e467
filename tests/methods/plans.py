"""What methods have in common when they are compared on pictures: data, network, numbers; and how `longjump` is run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.methods.code import ROOT
from trainer.data.arrays import Split
from trainer.data.dataset import open_dataset
from trainer.data.folder import Built, write_dataset

CACHE = ROOT / "runs" / "results"


@dataclass(frozen=True)
class Plan:
    """Data, and what all methods have in common on it."""

    name: str
    """Of the data set and of its recipes."""
    build: tuple[str, ...]
    """Words of `longjump data build`."""
    network: tuple[str, ...]
    """Settings of `model`; none: the recipes'."""
    images: int
    """Training pictures that a run sees; those that are seen again count again."""
    batch: int
    samples: int
    """Of each step count."""
    real: tuple[int, int]
    """Pictures of the training and of the test split that are measured against: the first ones."""

    @property
    def data(self) -> Path:
        """Where the data set is."""
        return CACHE / "data" / self.name

    @property
    def measured(self) -> Path:
        """The part of it that samples are measured against."""
        return CACHE / "data" / "-".join([self.name, *map(str, self.real)])

    def prepare(self) -> None:
        """Make both where they are not."""
        if not self.data.is_dir():
            self.data.parent.mkdir(parents=True, exist_ok=True)
            call("data", "build", *self.build, "--out", str(self.data))
        if not self.measured.is_dir():
            whole = open_dataset(self.data)
            assert whole.test is not None
            splits = {
                name: Split(split.x[:count], None if split.labels is None else split.labels[:count])
                for (name, split), count in zip((("train", whole.train), ("test", whole.test)), self.real, strict=True)
            }
            told = {key: whole.info[key] for key in ("licence",) if key in whole.info}
            write_dataset(self.measured, Built(whole.name, whole.kind, whole.classes, splits, told))


PLANS = {
    plan.name: plan
    for plan in (
        Plan(
            name="fashion-mnist",
            build=("fashion-mnist",),
            network=("width=64", "depth=4", "heads=2"),
            images=32_000,
            batch=32,
            samples=1000,
            real=(4000, 2000),
        ),
        Plan(
            name="facets",
            build=("facets", "--size", "64", "--train", "60000", "--test", "10000"),
            network=(),
            images=2_000_000,
            batch=256,
            samples=10_000,
            real=(60_000, 10_000),
        ),
    )
}
"""The second is for an accelerator, and was never run."""


class Stopped(Exception):
    """Ctrl-C or SIGTERM came; what ran has saved."""


def call(*words: str) -> None:
    """Run `longjump` with these words, with one thread; what it says goes where ours goes.

    Raises:
        Stopped: it was told to stop, by Ctrl-C, which the terminal sends to both, or by SIGTERM to this process.
        ChildProcessError: it failed.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-m", "longjump", *words], cwd=ROOT, env=environment) as process:
        before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        try:
            while True:
                try:
                    code = process.wait()
                    break
                except KeyboardInterrupt:
                    continue  # it was told too, and saves
        finally:
            signal.signal(signal.SIGTERM, before)
    if code in (130, 143, -signal.SIGINT, -signal.SIGTERM):
        raise Stopped
    if code:
        raise ChildProcessError(f"longjump {' '.join(words[:2])} ended with {code}")
