"""Servers under measurement: ours and, for comparison, peers over the same raw engine, noise and PNG."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from server.bench.client import Address, Connection
from server.bench.processes import tree

HOME = Path(__file__).resolve().parents[2]
"""The folder that holds our packages."""

START_SECONDS = 60.0
"""After which a start counts as failed."""

POLL_SECONDS = 0.001
"""Between two looks at whether a server is ready."""

_READY = re.compile(rb"ready on http://([\d.]+):(\d+) ")


@dataclass(frozen=True)
class Contender:
    """A server that can be started."""

    name: str
    command: tuple[str, ...]
    write: Callable[[int, int], bytes]
    """The bytes of a request for one PNG of (steps, seed)."""
    write_patient: Callable[[int, int], bytes]
    """The same for a client that takes its time: what a closed loop, which waits anyway, measures capacity with."""
    port: int | None = None
    """Where it will listen; None for ours, which says it."""

    def start(self) -> Running:
        """Launch it and wait until it answers. OSError if it ends instead, with what it said."""
        start = time.monotonic()
        # A file, not a pipe: whatever it logs under load, nobody has to read it for the server to go on.
        said = tempfile.TemporaryFile()  # noqa: SIM115
        process = subprocess.Popen(
            self.command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=environment(), start_new_session=True
        )
        running = Running(self, process, time.monotonic() - start)
        try:
            while process.poll() is None:
                if (address := self._address(os.pread(said.fileno(), 2**20, 0))) is not None:
                    running.address, running.seconds = address, time.monotonic() - start
                    return running
                if time.monotonic() - start > START_SECONDS:
                    break
                time.sleep(POLL_SECONDS)
            ended = process.poll() is not None
            what = "ended before it was ready" if ended else f"did not answer within {START_SECONDS:g} s"
            text = os.pread(said.fileno(), 2**20, 0).decode(errors="replace")
            raise OSError(f"{self.name} {what}; it said: {text.strip() or 'nothing'}")
        except BaseException:
            running.end()
            raise
        finally:
            said.close()

    def _address(self, said: bytes) -> Address | None:
        if self.port is None:
            found = _READY.search(said)
            return (found[1].decode(), int(found[2])) if found else None
        try:
            connection = Connection(("127.0.0.1", self.port))
        except OSError:
            return None
        try:
            answered = connection.ask(self.write(1, 0))[0] == 200
        except OSError:
            return None
        finally:
            connection.close()
        return ("127.0.0.1", self.port) if answered else None


@dataclass
class Running:
    """A server that runs."""

    contender: Contender
    process: subprocess.Popen[bytes]
    seconds: float
    """From launch to ready."""
    address: Address = field(default=("", 0))

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def processes(self) -> list[int]:
        """Its process, and those that it started."""
        return tree(self.process.pid)

    def end(self) -> None:
        """Ask it to stop, and kill what is left of it."""
        everyone = self.processes
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pid in everyone[1:]:
            try:
                # A number may be another's by now: only in the session that was started for this server.
                if os.getsid(pid) == self.process.pid:
                    os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue


def longjump(bundle: Path, options: tuple[str, ...], name: str = "longjump") -> Contender:
    """`longjump serve BUNDLE` with `options`, as it would be started by hand."""
    front_door = (sys.executable, str(HOME / "longjump.py"), "serve")
    return Contender(name, (*front_door, str(bundle), "--port", "0", *options), post_query, post_patient_query)


def post_query(steps: int, seed: int, more: str = "") -> bytes:
    """POST /generate with the fields in the query; `more` is added to them."""
    target = f"/generate?steps={steps}&seed={seed}{more}"
    return f"POST {target} HTTP/1.1\r\nhost: bench\r\ncontent-length: 0\r\n\r\n".encode()


def post_patient_query(steps: int, seed: int) -> bytes:
    """The same with a deadline that no closed loop comes near."""
    return post_query(steps, seed, "&deadline_ms=30000")


def post_json(steps: int, seed: int) -> bytes:
    """POST /generate with the fields in a JSON body."""
    body = json.dumps({"steps": steps, "seed": seed}).encode()
    fields = f"host: bench\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    return f"POST /generate HTTP/1.1\r\n{fields}\r\n\r\n".encode() + body


def environment() -> dict[str, str]:
    """The environment in which processes of ours find our packages, installed or not."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(HOME), *filter(None, [os.environ.get("PYTHONPATH")])])}
