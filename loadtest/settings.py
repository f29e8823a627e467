"""What a run is asked to do: the programmatic twin of `longjump loadtest run`'s arguments."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

Steps = int | Literal["auto"]
"""A step count as it is asked for."""

Arrivals = Literal["poisson", "constant", "bursty", "trace"]
Route = Literal["generate", "openai"]


@dataclass(frozen=True)
class Settings:
    """A run; times in seconds. ValueError that says what would be right, if something is not."""

    url: str
    rate: float | None = None
    """Requests per second of an open loop."""
    concurrency: int | None = None
    """Requests in flight of a closed loop. Exactly one of rate, concurrency and trace is given."""
    arrivals: Arrivals = "poisson"
    cv: float = 3.0
    """Of bursty arrivals: the coefficient of variation of their gaps. 1 would be Poisson."""
    trace: Path | None = None
    speed: float = 1.0
    """How many times faster than it was recorded a trace is sent."""
    seconds: float | None = None
    """Of the measured window. None: `measure.SECONDS`, or the whole trace."""
    requests: int | None = None
    """The window ends early when so many requests were sent in it."""
    warmup: float | None = None
    """None: until latency is stable, for `max_warmup` at most."""
    max_warmup: float = 10.0
    steps: Mapping[Steps, float] = field(default_factory=lambda: {1: 1.0})
    """Step count -> share; likewise labels (names, indices or none) and formats. Shares are relative."""
    labels: Mapping[str, float] = field(default_factory=dict)
    formats: Mapping[str, float] = field(default_factory=dict)
    """Empty: left to the server, which draws the label from the seed."""
    model: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    """Further fields of every request, such as guidance, n or deadline_ms."""
    headers: Mapping[str, str] = field(default_factory=dict)
    route: Route = "generate"
    seed: int = 0
    """Of arrivals, mix and images: two runs with the same seed send the same requests at the same times."""
    slo: float | None = None
    """A good reply within this counts for goodput."""
    timeout: float = 30.0
    """From the sending; then the request has failed."""
    max_lateness: float | None = None
    """That 1 % of the requests may exceed, and two in any case. None: lateness may not move p50, p90 or p99 by more
    than 5 % and 1 ms."""
    connections: int = 2048
    """The most that are open at once, over all processes."""
    processes: int = 1
    verify: float = 0.05
    """Share of requests that repeat one which was asked while the server was idle; none of a trace does."""
    verify_seed: int | None = None
    """Of the requests that are repeated, so that runs with other seeds repeat the same. None: drawn from `seed`."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{self.url!r} is not an address such as http://127.0.0.1:8000")
        try:
            known = parts.port != 0
        except ValueError:
            known = False
        if not known:
            raise ValueError(
                f"{self.url!r}: the port is no number from 1 to 65535; an address is http://127.0.0.1:8000"
            )
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError(f"{self.url!r}: the address is scheme, host, port and path alone; keys go into a header")
        given = [name for name in ("rate", "concurrency", "trace") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"one of rate, concurrency and trace is wanted, not {' and '.join(given) or 'none'}")
        for name in ("rate", "cv", "speed", "seconds", "max_warmup", "slo", "timeout", "max_lateness"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} is a finite number above 0, not {value}")
        for name in ("concurrency", "requests", "connections", "processes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is at least 1, not {value}")
        if self.warmup is not None and not 0 <= self.warmup < math.inf:
            raise ValueError(f"warmup is at least 0 s, not {self.warmup}")
        if not 0 <= self.verify <= 1:
            raise ValueError(f"verify is a share from 0 to 1, not {self.verify}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed is from 0 to {2**32 - 1}, not {self.seed}")
        if not self.steps:
            raise ValueError("at least one step count is wanted, such as 1")
        if self.processes > (self.concurrency or self.processes):
            raise ValueError(f"{self.processes} processes cannot share a concurrency of {self.concurrency}")
        for name in ("steps", "labels", "formats"):
            for key, weight in getattr(self, name).items():
                if not 0 < weight < math.inf:
                    raise ValueError(f"{name}: the share of {key} is a number above 0, not {weight}")

    @property
    def open(self) -> bool:
        """Whether requests are sent on a schedule, not as replies come."""
        return self.concurrency is None
