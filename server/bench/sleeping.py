"""`longjump serve` with an engine that sleeps T(b) = ALPHA + BETA b instead of computing: what scheduling and admission
do when the network costs no processor time. All else is real: HTTP, queue, worker process, noise, PNG.

    python -m server.bench.sleeping BUNDLE --port 0       serve, its workers being this module again
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from export.runtime.bundle import Bundle

ALPHA = 0.004
BETA = 0.002
"""Seconds."""

BEST = 16 / (ALPHA + 16 * BETA)
"""Rows per second in the largest ticks that a server makes by default, if nothing else took time: 444."""

WORKER = (sys.executable, "-P", "-m", "server.bench.sleeping", "worker")


class SleepingEngine:
    """An Engine whose jump sleeps, and shrinks z so that a picture comes out."""

    def __init__(self, bundle: Bundle, threads: int | None) -> None:
        from export.runtime.engines.choice import Choice

        self.manifest = bundle.manifest
        self.choice = Choice("sleeping", bundle.manifest.engines[0], "it only sleeps")
        self.fingerprint = f"sleeping-{1e6 * ALPHA:.0f}-{1e6 * BETA:.0f}"

    def warm(self) -> None:
        """Nothing to warm."""

    def jump(
        self,
        z: NDArray[np.float32],
        t: NDArray[np.float32],
        s: NDArray[np.float32],
        label: NDArray[np.int64],
        guidance: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Sleep as long as a network would compute for these rows."""
        time.sleep(ALPHA + BETA * len(z))
        moved: NDArray[np.float32] = z * (1 - 0.5 * (t - s)).reshape((-1,) + (1,) * (z.ndim - 1))
        return moved

    def cost(self, rows: int) -> float:
        """Seconds of a jump."""
        return ALPHA + BETA * rows

    def decode(self, z: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The first three channels as colours."""
        import numpy as np

        colours = z[:, [0, min(1, z.shape[1] - 1), min(2, z.shape[1] - 1)]]
        return np.clip(127.5 * colours + 127.5, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1).copy()

    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Nothing that sleeps encodes."""
        raise ValueError("the sleeping engine has no encoder")


def main() -> int:
    """Serve, or be a worker."""
    if sys.argv[1:2] == ["worker"]:
        from server.worker.process import start

        del sys.argv[1]
        start(SleepingEngine)
    from server import serve

    parser = argparse.ArgumentParser(description=__doc__)
    serve.add_arguments(parser)
    return serve.run(parser.parse_args(), worker=WORKER)


if __name__ == "__main__":
    sys.exit(main())
