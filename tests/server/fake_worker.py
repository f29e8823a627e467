"""A worker process with an engine that a test holds in its hand. Run as a script by fake_serve.py.

Environment: TEST_ENGINE=real runs the bundle's own engine, else one without a network; TEST_GATE=FILE lets no network
evaluation start before FILE exists; TEST_POISON=LABEL raises for a batch with that label; TEST_FATAL=LABEL kills the
process for it; TEST_DIE kills it at its start; TEST_SLOW_START makes the start wait for the gate; TEST_TICK_SECONDS is
what an evaluation takes besides its own time, and so what full ticks save.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.runtime.bundle import Bundle
from export.runtime.engines import Engine, open_engine
from export.runtime.engines.choice import Choice
from export.runtime.engines.trial import timed
from export.runtime.flags import CPU
from server.worker.process import start


class FakeEngine:
    """Moves z by numbers that depend on every input of the row, and on nothing else."""

    def __init__(self, bundle: Bundle) -> None:
        self.manifest = bundle.manifest
        self.choice = Choice(CPU, bundle.manifest.engines[0], "a test asked for it")
        self.fingerprint = "fake" + bundle.manifest.digest[-12:]

    def warm(self) -> None:
        while os.environ.get("TEST_SLOW_START") and not Path(os.environ["TEST_GATE"]).exists():
            time.sleep(0.002)

    def jump(
        self,
        z: NDArray[np.float32],
        t: NDArray[np.float32],
        s: NDArray[np.float32],
        label: NDArray[np.int64],
        guidance: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        per_row = (-1,) + (1,) * (z.ndim - 1)
        pull = (t - s) * np.float32(0.5) + label.astype(np.float32) * np.float32(0.01)
        if guidance is not None:
            pull = pull + guidance * np.float32(0.1)
        moved: NDArray[np.float32] = z * (1 - pull.reshape(per_row))
        return moved

    def cost(self, rows: int) -> float:
        return timed(self, rows)

    def decode(self, z: NDArray[np.float32]) -> NDArray[np.uint8]:
        pixels = np.clip(np.rint(127.5 * z + 127.5), 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
        return np.repeat(pixels, 3, axis=3) if pixels.shape[3] == 1 else pixels


class Held:
    """An engine behind a gate, with labels that hurt."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._gate = os.environ.get("TEST_GATE")
        self._poison = int(os.environ.get("TEST_POISON", -1))
        self._fatal = int(os.environ.get("TEST_FATAL", -1))
        self.manifest = engine.manifest
        self.choice = engine.choice
        self.fingerprint = engine.fingerprint
        self._tick = float(os.environ.get("TEST_TICK_SECONDS", 0))
        self.warm = engine.warm
        self.decode = engine.decode

    def jump(
        self,
        z: NDArray[np.float32],
        t: NDArray[np.float32],
        s: NDArray[np.float32],
        label: NDArray[np.int64],
        guidance: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        # Zeros are the measurement of the start, not a request.
        while self._gate and z.any() and not Path(self._gate).exists():
            time.sleep(0.002)
        if self._fatal in label:
            os.kill(os.getpid(), signal.SIGKILL)
        if self._poison in label:
            raise ArithmeticError(f"label {self._poison} is poison")
        time.sleep(self._tick)
        return self._engine.jump(z, t, s, label, guidance)

    def cost(self, rows: int) -> float:
        return self._engine.cost(rows) + self._tick


def hold(bundle: Bundle, threads: int | None) -> Engine:
    """The engine that the environment asks for."""
    if os.environ.get("TEST_DIE"):
        os.kill(os.getpid(), signal.SIGKILL)
    real = os.environ.get("TEST_ENGINE") == "real"
    return Held(open_engine(bundle, threads) if real else FakeEngine(bundle))


if __name__ == "__main__":
    start(hold)
