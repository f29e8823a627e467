"""How often a client may ask: `--rate 100/second`, several joined by `;`, in the notation of the package `limits`.

Over a moving window, so that no moment allows twice the rate. What is refused here has cost next to nothing; how much
work the others may bring is for admission (`server.schedule.admission`), which knows what each request costs.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Protocol

from limits import RateLimitItem, parse_many
from limits.storage import MovingWindowSupport, Storage
from limits.strategies import MovingWindowRateLimiter

MAX_CLIENTS = 10_000
"""Windows that are kept, for each rate. Beyond that the client that has been quiet for longest is forgotten."""


class Limiter(Protocol):
    """Counts requests."""

    async def ask(self, client: str) -> float:
        """Count a request of `client`: 0.0 if it may pass, else the seconds until one would."""


class Limits:
    """The rates of one server, and what its clients have used of them."""

    def __init__(self, rates: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises ValueError if `rates` cannot be read."""
        self.rates = _parse(rates)
        self._clock = clock
        self._windows = Windows(clock, MAX_CLIENTS * len(self.rates))
        self._limiter = MovingWindowRateLimiter(self._windows)

    def hit(self, client: str) -> float:
        """Count a request of `client`: 0.0 if it may pass, else the seconds until one would.

        A refused request does not use up the other rates, so that a client which asks too often still gets its rate.
        """
        wait = self.wait(client)
        if not wait:
            for rate in self.rates:
                self._limiter.hit(rate, client)
        return wait

    async def ask(self, client: str) -> float:
        """See Limiter."""
        return self.hit(client)

    def wait(self, client: str) -> float:
        """As `hit`, and nothing is counted."""
        waits = [self._wait(rate, client) for rate in self.rates if not self._limiter.test(rate, client)]
        return max(waits, default=0.0)

    def _wait(self, rate: RateLimitItem, client: str) -> float:
        return max(0.001, self._limiter.get_window_stats(rate, client).reset_time - self._clock())


class Windows(Storage, MovingWindowSupport):
    """Moving windows in memory, by a clock that never jumps.

    The package's own memory reads the time of day, which may be set back (a client would wait for as long), and starts
    a thread for each clean-up.
    """

    def __init__(self, clock: Callable[[], float], max_windows: int) -> None:
        super().__init__()
        self._clock = clock
        self._max_windows = max_windows
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def __len__(self) -> int:
        """Windows kept."""
        return len(self._times)

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Note `amount` requests now, if the last `expiry` seconds have room for them under `limit`."""
        times = self._current(key, expiry)
        if len(times) + amount > limit:
            return False
        times.extend([self._clock()] * amount)
        return True

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """The oldest request of the last `expiry` seconds (now, if there is none), and how many there are."""
        times = self._current(key, expiry)
        return (times[0] if times else self._clock()), len(times)

    def _current(self, key: str, expiry: int) -> deque[float]:
        times = self._times.get(key)
        if times is None:
            if len(self._times) >= self._max_windows:
                self._times.popitem(last=False)
            times = self._times[key] = deque()
        else:
            self._times.move_to_end(key)
        start = self._clock() - expiry
        while times and times[0] <= start:
            times.popleft()
        return times

    def check(self) -> bool:
        """Memory is always there."""
        return True

    def reset(self) -> int:
        """Forget all windows; how many there were."""
        count = len(self._times)
        self._times.clear()
        return count

    def clear(self, key: str) -> None:
        """Forget one window."""
        self._times.pop(key, None)

    @property
    def base_exceptions(self) -> type[Exception]:
        """What the storage itself may raise."""
        return MemoryError

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """For fixed windows, which nothing here uses."""
        raise NotImplementedError

    def get(self, key: str) -> int:
        """For fixed windows."""
        raise NotImplementedError

    def get_expiry(self, key: str) -> float:
        """For fixed windows."""
        raise NotImplementedError


def _parse(rates: str) -> list[RateLimitItem]:
    try:
        items = parse_many(rates)
    except ValueError:
        items = []
    if not items or any(item.amount < 1 or item.multiples < 1 for item in items):
        raise ValueError(
            f"{rates!r} is not a rate: write N/second, N/minute, N/hour or N/day, several joined by ';', such as "
            "'20/second;1000/hour'"
        )
    return items
