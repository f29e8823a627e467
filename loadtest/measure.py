"""A run from its settings to its result: look at the server, start the clients, watch, gather."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import numpy as np

from loadtest import arrivals
from loadtest.arrivals import Times
from loadtest.environment import environment
from loadtest.interrupt import Interruptible
from loadtest.messages import Assignment, Harvest, Tick
from loadtest.processes import Crew
from loadtest.records import FAILURE_CODES
from loadtest.result import Run
from loadtest.settings import Settings
from loadtest.summary import Course, summarise
from loadtest.target import IdleReplies, References, Target, ask_idle, find
from loadtest.traffic import Mix, Requests, Writer, draw, mix, replay
from loadtest.warmup import Arrived, settled

SECONDS = 30.0
"""Of a window that is not said otherwise."""

BODY_BYTES = 64 * 2**20
"""Of replies that are kept to be decoded after the run, and as many again to be compared, over all processes."""

GONE = 3.0
"""Seconds without any reply, while connections fail, after which the server is taken to be gone."""

GONE_FAILURES = 10

_LEAD = 0.05
"""Seconds between the word to start and the start."""

_LISTEN = 0.1

_RECENT = 1.0
"""Seconds of replies that a progress speaks of."""


Phase = Literal["idle", "warm-up", "window", "last replies"]


@dataclass(frozen=True)
class Progress:
    """How a run goes, a few times per second."""

    phase: Phase
    elapsed: float
    """Seconds in this phase."""
    left: float | None
    """Seconds of it that are left at most; None: not known."""
    sent: int
    ok: int
    failed: Counter[int]
    """Status code (or records.FAILURE_CODES) -> replies that were not good."""
    in_flight: int
    sent_rate: float
    ok_rate: float
    recent: tuple[float, ...]
    """Latencies of the good replies of the last second, in seconds, or of a part of them."""
    late: float
    """The client's largest lateness in that time, in seconds."""


Report = Callable[[Progress], None]


@dataclass(frozen=True)
class Schedule:
    """An open loop's requests, drawn before the run."""

    times: Times
    requests: Requests


def measure(
    settings: Settings,
    progress: Report | None = None,
    command: Sequence[str] = (),
    known: References | None = None,
) -> Run:
    """Load a server as `settings` say; the result.

    `progress` is called a few times per second from this thread. `command`: the arguments to be kept with the result.
    `known`: replies of the idle server, from a run before; what is there is not asked again, what is new is added.
    Ctrl-C or SIGTERM during the run ends it early, and what was measured comes back (`Run.interrupted`); a second one
    is KeyboardInterrupt. Raises ValueError or OSError, with a message for the person, if the server cannot be loaded.
    """
    report = progress or (lambda _: None)
    report(Progress("idle", 0.0, None, 0, 0, Counter(), 0, 0.0, 0.0, (), 0.0))
    recorded = None if settings.trace is None else arrivals.read_trace(settings.trace, settings.speed)
    schedule_times = None if recorded is not None or not settings.open else _times(settings)
    target = find(settings)
    labels = target.labels if settings.route == "openai" else ()
    blend = mix(settings, labels)
    rng = np.random.default_rng([settings.seed, 2])
    schedule = None
    if recorded is not None:
        schedule = Schedule(np.array([one.at for one in recorded]), replay(recorded, blend, rng))
    elif schedule_times is not None:
        schedule = Schedule(schedule_times, draw(blend, len(schedule_times), rng))
    kinds = blend.kinds if schedule is None else schedule.requests.kinds
    writer = Writer(settings, target.host, target.prefix)
    idle = ask_idle(target, settings, writer, kinds, blend.cases, known)
    started = datetime.now().astimezone()
    with Crew(_parts(settings, target, idle, blend, schedule)) as crew:
        watch = Watch(settings, schedule, report)
        watch.conduct(crew)
    return summarise(
        settings=settings,
        target=target,
        idle=idle,
        course=watch.course(),
        harvests=watch.harvests,
        environment=environment(command, started),
    )


def _times(settings: Settings) -> Times:
    """An open loop's times, over the longest warm-up and the window."""
    assert settings.rate is not None
    warmup = settings.max_warmup if settings.warmup is None else settings.warmup
    seconds = warmup + (settings.seconds or SECONDS)
    rng = np.random.default_rng([settings.seed, 0])
    if settings.arrivals == "constant":
        return arrivals.constant(settings.rate, seconds)
    if settings.arrivals == "bursty":
        return arrivals.bursty(settings.rate, seconds, settings.cv, rng)
    return arrivals.poisson(settings.rate, seconds, rng)


def _parts(
    settings: Settings, target: Target, idle: IdleReplies, blend: Mix, schedule: Schedule | None
) -> list[Assignment]:
    processes = settings.processes
    concurrency = settings.concurrency or 0
    return [
        Assignment(
            settings,
            target.address,
            target.host,
            target.prefix,
            idle.expected,
            idle.references,
            blend,
            None if schedule is None else schedule.times[i::processes],
            None if schedule is None else schedule.requests.share(i, processes),
            concurrency // processes + (i < concurrency % processes),
            i,
            BODY_BYTES // processes,
        )
        for i in range(processes)
    ]


@dataclass
class Watch:
    """A run as it goes: decides when the window begins and ends, and when there is no sense in going on."""

    settings: Settings
    schedule: Schedule | None
    report: Report
    harvests: list[Harvest] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._start = 0.0
        self._begin: float | None = None
        self._end = float("inf")
        self._stable: bool | None = None
        self._stopped: float | None = None
        self._interrupted = False
        self._aborted = ""
        self._sent = self._ok = 0
        self._sent_before: int | None = None
        """Until the first ticks of the window; None: they have not come."""
        self._failed: Counter[int] = Counter()
        self._arrived: deque[Arrived] = deque()
        self._ticks: deque[tuple[float, Tick]] = deque()
        self._in_flight: dict[int, int] = {}
        self._heard = 0.0
        self._unheard = 0

    def course(self) -> Course:
        """When the window was, and why it ended."""
        begin = self._start if self._begin is None else self._begin
        end = min(self._end, self._stopped if self._stopped is not None else float("inf"))
        return Course(self._start, begin, max(begin, end), self._stable, self._interrupted, self._aborted)

    def conduct(self, crew: Crew) -> None:
        """From the start to the last harvest."""
        self._start = self._heard = time.monotonic() + _LEAD
        crew.tell("start", self._start)
        fixed = self.settings.warmup
        if self.settings.trace is not None and fixed is None:
            fixed = 0.0
        if fixed is not None:
            self._open(self._start + fixed, None, crew)
        with Interruptible() as signals:
            while crew.working:
                self._once(crew)
                if signals.noted and self._stopped is None:
                    self._interrupted = True
                    self._stop(crew)

    def _once(self, crew: Crew) -> None:
        for said in crew.listen(_LISTEN):
            if isinstance(said, Harvest):
                self.harvests.append(said)
            else:
                self._take(said)
        now = time.monotonic()
        if self._begin is None and self._stopped is None:
            # The schedule ends with a window that begins here at the latest.
            latest = self._start + self.settings.max_warmup
            stable = settled(list(self._arrived), now)
            if stable or now >= latest:
                self._open(min(now, latest), stable, crew)
        elif self._begin is not None and self.settings.requests is not None and self._end > now:
            self._count(now, crew)
        if self._stopped is None and self._unheard >= GONE_FAILURES and now - self._heard > GONE:
            self._aborted = (
                f"the server went away: no reply since {self._heard - self._start:.1f} s after the start, and "
                f"{self._unheard} requests found no connection or lost it"
            )
            self._stop(crew)
        self.report(self._progress(now))

    def _open(self, begin: float, stable: bool | None, crew: Crew) -> None:
        """The window begins."""
        self._begin, self._stable = begin, stable
        seconds = self.settings.seconds
        if seconds is None and self.settings.trace is not None and self.schedule is not None:
            seconds = max(1e-3, float(self.schedule.times[-1]) + self._start + 1e-6 - begin)
        self._end = begin + (seconds or SECONDS)
        wanted = self.settings.requests
        if wanted is not None and self.schedule is not None:
            times = self.schedule.times[self.schedule.times + self._start >= begin]
            if len(times) > wanted:
                self._end = min(self._end, float(times[wanted]) + self._start)
        crew.tell("end", self._end)

    def _count(self, now: float, crew: Crew) -> None:
        """End a closed loop's window when enough was sent in it."""
        assert self.settings.requests is not None
        assert self._begin is not None
        if self.schedule is not None:
            return
        if self._sent_before is None:
            # A tick of each process that came since the begin: what is sent later is sent in the window.
            if sum(at >= self._begin for at, _ in self._ticks) >= self.settings.processes:
                self._sent_before = self._sent
        elif self._sent - self._sent_before >= self.settings.requests:
            self._end = now
            crew.tell("end", now)

    def _stop(self, crew: Crew) -> None:
        self._stopped = time.monotonic()
        crew.tell("stop")

    def _take(self, tick: Tick) -> None:
        now = time.monotonic()
        self._ticks.append((now, tick))
        while self._ticks and self._ticks[0][0] < now - _RECENT:
            self._ticks.popleft()
        if self._begin is None:
            self._arrived.extend(tick.arrived)
        self._sent += tick.sent
        ok = tick.statuses[200]
        self._ok += ok
        self._failed.update({code: count for code, count in tick.statuses.items() if code != 200})
        gone = tick.statuses[FAILURE_CODES["refused"]] + tick.statuses[FAILURE_CODES["closed"]]
        if sum(tick.statuses.values()) > gone:
            self._heard, self._unheard = now, 0
        else:
            self._unheard += gone

    def _progress(self, now: float) -> Progress:
        phase: Phase
        left: float | None
        if self._begin is None or now < self._begin:
            until = self._begin if self._begin is not None else self._start + self.settings.max_warmup
            phase, elapsed, left = "warm-up", now - self._start, max(0.0, until - now)
        elif now < self._end and self._stopped is None:
            phase, elapsed, left = "window", now - self._begin, self._end - now
        else:
            phase, elapsed, left = "last replies", now - min(self._end, self._stopped or self._end), None
        seconds = min(_RECENT, max(0.1, now - self._start))
        ticks = [tick for _, tick in self._ticks]
        # One tick of each process is the last word on what is in flight.
        latest = ticks[-self.settings.processes :]
        return Progress(
            phase,
            max(0.0, elapsed),
            left,
            self._sent,
            self._ok,
            self._failed,
            sum(tick.in_flight for tick in latest),
            sum(tick.sent for tick in ticks) / seconds,
            sum(tick.statuses[200] for tick in ticks) / seconds,
            tuple(one.latency for tick in ticks for one in tick.arrived),
            max((tick.latest for tick in ticks), default=0.0),
        )
