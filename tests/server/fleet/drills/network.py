"""Machines as a network sees them: network namespaces with addresses of their own, on one bridge, each by a cable.

Needs root, and iproute2. A cable that is pulled loses packets and tells nobody, as a real one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from types import TracebackType

import pytest


class Cable:
    """One machine, and its cable to the others."""

    url = None
    """It reaches Redis directly."""

    def __init__(self, name: str, end: str, host: str) -> None:
        """`end` is the cable's end at the bridge; `host` the address at which the test reaches the machine."""
        self.host = host
        self.inside = ("ip", "netns", "exec", name)
        """What runs a command there."""
        self._end = end

    def cut(self) -> None:
        """Pull it."""
        _ip("link", "set", self._end, "down")

    def heal(self) -> None:
        """Plug it in."""
        _ip("link", "set", self._end, "up")


class Network:
    """A bridge, at which the test is too. A context manager: leaving it removes all machines."""

    def __init__(self) -> None:
        if os.geteuid() != 0 or shutil.which("ip") is None:
            pytest.skip("needs root and iproute2, to make network namespaces")
        # No two tests at once have the same; the addresses are those set aside for benchmarks (RFC 2544).
        self._tag = f"lj{os.getpid() % 2**16:x}"
        self._net = f"198.18.{os.getpid() % 2**8}"
        self._fronts = f"198.19.{os.getpid() % 2**8}"
        self._machines: list[str] = []

    def __enter__(self) -> Network:
        _ip("link", "add", self._tag, "type", "bridge")
        _ip("address", "add", f"{self._net}.1/24", "dev", self._tag)
        _ip("link", "set", self._tag, "up")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for name in self._machines:
            _ip("netns", "delete", name)  # its cables go with it
        _ip("link", "delete", self._tag)

    def machine(self, name: str, front: bool = False) -> Cable:
        """A new one. With a `front` the test reaches it by a cable of its own, also while the other one is cut."""
        number = len(self._machines) + 2
        space, end = f"{self._tag}-{name}", f"{self._tag}b{number}"
        _ip("netns", "add", space)
        self._machines.append(space)
        _ip("-n", space, "link", "set", "lo", "up")
        self._lay(space, end, "back", f"{self._net}.{number}/24")
        _ip("link", "set", end, "master", self._tag)
        host = f"{self._net}.{number}"
        if front:
            end_of_test = f"{self._tag}f{number}"
            host = f"{self._fronts}.{4 * number + 2}"
            self._lay(space, end_of_test, "front", f"{host}/30")
            _ip("address", "add", f"{self._fronts}.{4 * number + 1}/30", "dev", end_of_test)
        return Cable(space, end, host)

    @staticmethod
    def _lay(space: str, end: str, name: str, address: str) -> None:
        """A cable from here into a machine."""
        _ip("link", "add", end, "type", "veth", "peer", "name", name, "netns", space)
        _ip("-n", space, "address", "add", address, "dev", name)
        _ip("-n", space, "link", "set", name, "up")
        _ip("link", "set", end, "up")


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
