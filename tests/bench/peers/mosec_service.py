"""mosec: dynamic batches of up to 16, waiting at most a millisecond (its least) for company. Run as a script."""

from __future__ import annotations

import os
import sys

import raw
from mosec import Server, Worker

MAX_BATCH = 16
MAX_WAIT_MS = 1


class Generator(Worker):
    """One process with one engine."""

    resp_mime_type = "image/png"

    def __init__(self) -> None:
        self._engine = raw.warm_engine(raw.arguments())

    def forward(self, data: list[raw.Ask]) -> list[bytes]:
        """The pictures of a batch."""
        return raw.pictures(self._engine, data)

    def serialize(self, data: bytes) -> bytes:
        """A PNG is bytes already."""
        return data


if __name__ == "__main__":
    args = raw.arguments()
    os.environ.update(MOSEC_PORT=str(args.port), MOSEC_ADDRESS="127.0.0.1", MOSEC_LOG_LEVEL="error")
    os.environ.update(MOSEC_TIMEOUT="60000", MOSEC_CAPACITY="100000")
    server = Server()
    server.append_worker(
        Generator, num=args.split[0], max_batch_size=MAX_BATCH, max_wait_time=MAX_WAIT_MS, route="/generate"
    )
    sys.exit(server.run())
