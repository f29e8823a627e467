"""A sweep made: it asks the policy, measures, and keeps what was measured on disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from loadtest.numbers import count, milliseconds, number, share
from loadtest.result import Run, write
from loadtest.settings import Settings
from loadtest.sweep.borders import Plan
from loadtest.sweep.findings import curves, found, point
from loadtest.sweep.policy import Done, Probe, next_probe
from loadtest.sweep.result import Asked, Sweep

WARM_UP = 1.5
"""Seconds at the rate of a run before it counts: a queue that begins empty is shorter than it will be."""

IDLE_WARM_UP = 0.5

IDLE_REQUESTS = 200
"""At most, one at a time."""


class Measure(Protocol):
    """Makes one run; raises ValueError or OSError with one line where there is no server to measure."""

    def __call__(self, settings: Settings, /) -> Run: ...


class Aborted(ValueError):
    """The server went away during a sweep; what was measured is on disk."""


def conduct(
    asked: Asked,
    base: Settings,
    measure: Measure,
    out: Path,
    command: Sequence[str] = (),
    before: Sweep | None = None,
    say: Callable[[str], None] = print,
    clock: Callable[[], float] = time.monotonic,
) -> Sweep:
    """Measure until the policy is done, time is up or a person interrupts, and write `out` after every run.

    `base` holds what all runs share; `before` is a sweep to go on with. An interrupted run is left out. Raises Aborted
    when a run fails after others succeeded, and what `measure` raises when the first one does.
    """
    plan = asked.plan()
    shared = replace(base, verify_seed=asked.seed)
    runs: list[Run] = list(before.runs) if before else []
    spent = before.seconds if before else 0.0
    started = before.started if before else datetime.now(UTC).astimezone().isoformat(timespec="seconds")
    begin = clock()

    def now() -> float:
        return spent + clock() - begin

    def sweep(complete: bool = False, interrupted: bool = False, aborted: str = "") -> Sweep:
        return Sweep(
            command=tuple(command),
            started=started,
            seconds=round(now(), 3),
            complete=complete,
            interrupted=interrupted,
            aborted=aborted,
            asked=asked,
            found=found(curves(plan, runs)),
            runs=tuple(runs),
        )

    points = [point(plan, run) for run in runs]
    while True:
        probe = next_probe(plan, points, now())
        if isinstance(probe, Done):
            whole = sweep(complete=probe.complete)
            write(whole, out)
            return whole
        asked_at = now()
        try:
            run = measure(settings_of(shared, plan, probe, (asked.seed + len(runs)) % 2**32))
            if run.interrupted:
                raise KeyboardInterrupt
            if run.aborted:
                raise OSError(run.aborted)
        except KeyboardInterrupt:
            whole = sweep(interrupted=True)
            if runs:
                write(whole, out)
            return whole
        except (ValueError, OSError) as error:
            if not runs:
                raise
            write(sweep(aborted=str(error)), out)
            kept = f"{count(len(runs), 'run')} measured before {'is' if len(runs) == 1 else 'are'} in {out}"
            raise Aborted(f"{error}; the {kept}") from None
        runs.append(run)
        points.append(point(plan, run))
        # What surrounds a run depends on the server: slow replies at the end, replies to be decoded.
        plan = replace(plan, overhead=max(plan.overhead, now() - asked_at - probe.seconds))
        write(sweep(), out)
        say(line(plan, probe, run, now()))


def settings_of(base: Settings, plan: Plan, probe: Probe, seed: int) -> Settings:
    """The run that a probe asks for."""
    shared = replace(
        base,
        steps={probe.steps: 1.0},
        seconds=probe.seconds,
        seed=seed,
        slo=plan.deadlines[-1],
        timeout=max(5.0, 4 * plan.deadlines[-1]),
    )
    if probe.rate is None:
        return replace(
            shared,
            rate=None,
            concurrency=1,
            requests=IDLE_REQUESTS,
            warmup=IDLE_WARM_UP,
            arrivals="poisson",
            processes=1,
        )
    return replace(shared, rate=probe.rate, concurrency=None, requests=None, warmup=WARM_UP)


def line(plan: Plan, probe: Probe, run: Run, elapsed: float) -> str:
    """A run in one line, for who watches."""
    [one] = run.steps
    clock = f"[{_clock(elapsed)} of {_clock(plan.budget)}]"
    what = f"{probe.steps} NFE, {'idle' if probe.rate is None else f'{number(probe.rate)}/s ({probe.phase})'}"
    if not run.valid:
        return f"{clock} {what}: INVALID, {run.lateness.why}"
    different = run.checks.different if run.checks.same_bytes == "no" else 0
    bytes_ = f", OTHER BYTES in {different} of {run.checks.compared} compared" if different else ""
    p50, p99 = one.latency.p50, one.latency.p99
    times = "no good reply" if p50 is None or p99 is None else f"p50 {milliseconds(p50)}, p99 {milliseconds(p99)}"
    failed = f", {share(one.sent - one.ok, one.sent)} failed or refused" if one.ok < one.sent else ""
    return f"{clock} {what}: {times}{failed}{bytes_}"


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
