"""What became of each request, in columns: a run of minutes is hundreds of thousands of them."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from loadtest.outcome import FAILURES

FAILURE_CODES: dict[str, int] = {name: -1 - i for i, name in enumerate(FAILURES)}
"""In the column of the status; a status code is above 0, and 0 stands for no outcome yet."""

PASSED = ("queue", "network", "decode", "encode")
"""Stages of Server-Timing, in the order in which a request passes them."""

STAGES = (*PASSED, "total")
"""All of them, in the order of the columns."""

NO_STAGES = (float("nan"),) * len(STAGES)


def status_name(code: int) -> str:
    """A status as results name it."""
    return {code: name for name, code in FAILURE_CODES.items()}.get(code) or str(code)


@dataclass
class Records:
    """Requests in the order of their outcome; times of time.monotonic(), in seconds."""

    intended: array[float] = field(default_factory=lambda: array("d"))
    begun: array[float] = field(default_factory=lambda: array("d"))
    done: array[float] = field(default_factory=lambda: array("d"))
    kind: array[int] = field(default_factory=lambda: array("i"))
    status: array[int] = field(default_factory=lambda: array("i"))
    bytes: array[int] = field(default_factory=lambda: array("q"))
    steps_used: array[int] = field(default_factory=lambda: array("i"))
    """0: the server does not say."""
    stages: array[float] = field(default_factory=lambda: array("f"))
    """Milliseconds, len(STAGES) for each request; nan: the server does not say."""

    def __len__(self) -> int:
        return len(self.done)

    def add(
        self,
        intended: float,
        begun: float,
        done: float,
        kind: int,
        status: int,
        size: int = 0,
        steps_used: int = 0,
        stages: tuple[float, ...] = NO_STAGES,
    ) -> None:
        """One more."""
        self.intended.append(intended)
        self.begun.append(begun)
        self.done.append(done)
        self.kind.append(kind)
        self.status.append(status)
        self.bytes.append(size)
        self.steps_used.append(steps_used)
        self.stages.extend(stages)


@dataclass(frozen=True)
class Table:
    """The records of all processes, `intended` rising; times in seconds after the begin of the window."""

    intended: NDArray[np.float64]
    begun: NDArray[np.float64]
    done: NDArray[np.float64]
    """inf: no outcome yet when the run was interrupted."""
    kind: NDArray[np.int32]
    status: NDArray[np.int32]
    bytes: NDArray[np.int64]
    steps_used: NDArray[np.int32]
    stages: NDArray[np.float32]
    """[requests, len(STAGES)], in seconds."""

    @property
    def latency(self) -> NDArray[np.float64]:
        """From the intended sending."""
        return self.done - self.intended


def table(parts: list[Records], begin: float) -> Table:
    """One table of the records of several processes, in the order of their intended sending."""
    intended = np.concatenate([np.frombuffer(one.intended, np.float64) for one in parts])
    order = np.argsort(intended, kind="stable")

    def column(name: str, dtype: str) -> NDArray[np.generic]:
        return np.concatenate([np.frombuffer(getattr(one, name), dtype) for one in parts])[order]

    stages = np.concatenate([np.frombuffer(one.stages, np.float32) for one in parts]).reshape(-1, len(STAGES))
    return Table(
        intended[order] - begin,
        column("begun", "f8").astype(np.float64) - begin,
        column("done", "f8").astype(np.float64) - begin,
        column("kind", "i4").astype(np.int32),
        column("status", "i4").astype(np.int32),
        column("bytes", "i8").astype(np.int64),
        column("steps_used", "i4").astype(np.int32),
        (stages[order] / 1000).astype(np.float32),
    )
