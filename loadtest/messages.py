"""What the measuring process and its clients say to each other. Pickled, between processes of the same program."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from loadtest.arrivals import Times
from loadtest.client import Address
from loadtest.printable import printable
from loadtest.records import Records
from loadtest.result import MOST_EXAMPLES
from loadtest.settings import Settings
from loadtest.traffic import Kind, Mix, Requests
from loadtest.verify import Expected
from loadtest.warmup import Arrived


@dataclass(frozen=True)
class Assignment:
    """A process's part of the work."""

    settings: Settings
    address: Address
    host: str
    prefix: str
    expected: dict[Kind, Expected]
    references: tuple[bytes, ...]
    mix: Mix
    times: Times | None
    """Of an open loop, after the start. None: closed."""
    requests: Requests | None
    concurrency: int
    process: int
    body_bytes: int
    """Of replies that are kept to be decoded after the run, and of those that are kept to be compared."""


@dataclass
class Tick:
    """What happened since the last one."""

    sent: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    arrived: list[Arrived] = field(default_factory=list)
    """Good replies, or a part of them."""
    latest: float = 0.0
    """The largest lateness of the client, in seconds."""
    in_flight: int = 0


@dataclass
class Findings:
    """What was found wrong or right in replies."""

    checked: int = 0
    decoded: int = 0
    wrong: int = 0
    compared: int = 0
    different: int = 0
    examples: list[str] = field(default_factory=list)

    def fault(self, text: str) -> None:
        """Keep a fault, if it is one of the first; a server may have put its words into it."""
        text = printable(text)
        if len(self.examples) < MOST_EXAMPLES and text not in self.examples:
            self.examples.append(text)


@dataclass
class Harvest:
    """All that a process hands back."""

    records: Records
    kinds: tuple[Kind, ...]
    findings: Findings
    unsent: int
    retried: int
    fault: str
    """Why this machine could not send a request, or empty."""
