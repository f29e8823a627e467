"""The client processes: started, told when to begin and end, listened to."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Self

from loadtest.messages import Assignment, Harvest, Tick

STARTED_WITHIN = 60.0
"""Seconds; a bound on a hang."""

# Not `python loadtest/sender.py`, nor without -P: what lies in the person's folder must not be imported.
SENDER = (sys.executable, "-P", "-m", "loadtest.sender")


class Crew:
    """Client processes. A context manager: leaving it ends them."""

    def __init__(self, parts: Sequence[Assignment]) -> None:
        """Start a process for each part, and return when all are ready."""
        self._processes: list[subprocess.Popen[bytes]] = []
        self._links: list[Connection[Any, Any]] = []
        self._working: list[Connection[Any, Any]] = []
        try:
            for _ in parts:
                self._start()
            for link, part in zip(self._links, parts):
                link.send(part)
            until = time.monotonic() + STARTED_WITHIN
            for link in self._links:
                if not link.poll(max(0.0, until - time.monotonic())) or self._receive(link) != "ready":
                    raise OSError(f"a client process was not ready within {STARTED_WITHIN:g} s")
        except BaseException:
            self.close()
            raise
        self._working = list(self._links)

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            # A session of its own: Ctrl-C is for the measuring process, which then stops the others in good order.
            process = subprocess.Popen(
                [*SENDER, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
            self._processes.append(process)
            self._links.append(Connection(ours.detach()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def working(self) -> bool:
        """Whether any has not handed back its harvest yet."""
        return bool(self._working)

    def tell(self, *order: object) -> None:
        """("start", at), ("end", at) or ("stop",), to all that still work."""
        for link in self._working:
            with contextlib.suppress(OSError):  # it has ended just now; `listen` says with what
                link.send(order)

    def listen(self, timeout: float) -> list[Tick | Harvest]:
        """What they say, after `timeout` seconds at most. OSError if one of them has died."""
        said = []
        for link in wait(self._working, timeout):
            assert isinstance(link, Connection)
            message = self._receive(link)
            if isinstance(message, Harvest):
                self._working.remove(link)
            said.append(message)
        return said

    def _receive(self, link: Connection[Any, Any]) -> Any:
        try:
            return link.recv()
        except (EOFError, OSError):
            code = self._processes[self._links.index(link)].wait(timeout=STARTED_WITHIN)
            raise OSError(f"a client process ended with code {code} in the middle of the run") from None

    def close(self) -> None:
        """End them."""
        for link in self._links:
            link.close()
        for process in self._processes:
            process.kill()
            process.wait()
