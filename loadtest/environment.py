"""Where a run was made: machine, versions, command."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from loadtest.result import Environment

_DISTRIBUTIONS = ("longjump", "hdrhistogram", "httptools", "numpy", "pillow", "pydantic")


def environment(command: Sequence[str], started: datetime) -> Environment:
    """This machine and these libraries."""
    return Environment(
        command=tuple(_without_secrets(command)),
        started=started.isoformat(timespec="seconds"),
        host_cores=len(os.sched_getaffinity(0)),
        cpu=_cpu(),
        platform=platform.platform(),
        python=platform.python_version(),
        versions={name: found for name in _DISTRIBUTIONS if (found := _version(name)) is not None},
    )


def _without_secrets(command: Sequence[str]) -> list[str]:
    """The arguments, but of each header the name alone."""
    shown, header = list[str](), False
    for one in command:
        if header or one.startswith("--header="):
            begin, equals, rest = one.partition("=") if not header else ("", "", one)
            one = f"{begin}{equals}{rest.partition(':')[0]}: ***"
        header = one == "--header"
        shown.append(one)
    return shown


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = (line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model")))
    return next(names, platform.machine())
