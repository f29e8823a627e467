"""What the records of a run say: pure, from times to the result."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadtest.histogram import describe, encode, enough, recorded
from loadtest.messages import Harvest
from loadtest.numbers import asked_ms, count, milliseconds
from loadtest.outcome import FAILURES
from loadtest.quantiles import quantile
from loadtest.records import STAGES, Table, status_name, table
from loadtest.result import (
    MOST_EXAMPLES,
    Checks,
    Environment,
    Goodput,
    Group,
    Lateness,
    Load,
    Run,
    Second,
    Server,
    StepCount,
    Warmup,
    Window,
)
from loadtest.settings import Settings, Steps
from loadtest.target import IdleReplies, Target

LATE_SHARE = 0.05
"""Of a quantile of latency, by which the client's lateness may have moved it."""

LATE_FLOOR = 0.001
"""Seconds by which it may in any case."""

LATE_COUNT = 0.01
"""Share of the requests that may be sent later than `Settings.max_lateness`, where that is given."""

LATE_FEW = 2
"""And so many requests may in any case: a single late one of a few says nothing."""

BLOCKS = 20

TIMELINE_AT_MOST = 3600
"""Seconds of the timeline that are kept."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Course:
    """When a run began, when its window was (by time.monotonic()), and how it ended."""

    start: float
    begin: float
    end: float
    stable: bool | None
    interrupted: bool
    aborted: str


def summarise(
    *,
    settings: Settings,
    target: Target,
    idle: IdleReplies,
    course: Course,
    harvests: Sequence[Harvest],
    environment: Environment,
) -> Run:
    """The result of a run."""
    rows = table([one.records for one in harvests], course.begin)
    seconds = course.end - course.begin
    in_window = (rows.intended >= 0) & (rows.intended < seconds)
    ended = in_window & (rows.status != 0)
    ok = ended & (rows.status == 200)
    kinds = harvests[0].kinds
    names: list[Steps] = sorted(
        {kind.steps for kind in kinds}, key=lambda steps: math.inf if steps == "auto" else steps
    )
    steps_of = np.array([names.index(kind.steps) for kind in kinds])
    which = steps_of[rows.kind] if len(rows.kind) else np.zeros(0, np.int64)
    groups = [
        Group(steps=steps, status=status_name(int(code)), latency=describe(rows.latency[here & (rows.status == code)]))
        for i, steps in enumerate(names)
        for here in [ended & (which == i)]
        for code in sorted(set(rows.status[here].tolist()), key=lambda code: (code < 0, abs(code)))
    ]
    counts = [
        _step_count(steps, rows, in_window & (which == i), ok & (which == i), seconds, settings.slo)
        for i, steps in enumerate(names)
    ]
    sent = int(in_window.sum())
    goodput = None
    if settings.slo is not None and seconds > 0:
        within = sum(one.within_slo or 0 for one in counts)
        share = within / int(ended.sum()) if ended.any() else 0.0
        goodput = Goodput(slo=settings.slo, per_second=within / seconds, share=share)
    shown = [ended & (which == i) & (rows.status == 200) for i in range(len(names))]
    lateness = _lateness(settings, rows, in_window, [*shown, ended], sum(one.unsent for one in harvests))
    if faults := dict.fromkeys(one.fault for one in harvests if one.fault):
        why = "; ".join((*faults, lateness.why) if lateness.why else faults)
        lateness = lateness.model_copy(update={"valid": False, "why": why})
    checks = _checks(harvests, target, idle, settings)
    here = (rows.done >= 0) & (rows.done < seconds) & (rows.status == 200)
    window = Window(
        seconds=seconds,
        sent=sent,
        offered_rate=sent / seconds if seconds > 0 else 0.0,
        answered_rate=int(here.sum()) / seconds if seconds > 0 else 0.0,
        in_flight_start=_in_flight(rows, 0.0),
        in_flight_end=_in_flight(rows, seconds),
        unfinished=int((in_window & (rows.status == 0)).sum()),
        retried=sum(one.retried for one in harvests),
    )
    run = Run(
        environment=environment,
        server=Server(model=target.model, capacity=target.capacity),
        load=_load(settings),
        warmup=Warmup(
            seconds=course.begin - course.start,
            asked="auto" if settings.warmup is None and settings.trace is None else settings.warmup or 0.0,
            stable=course.stable,
        ),
        window=window,
        lateness=lateness,
        groups=tuple(groups),
        steps=tuple(counts),
        goodput=goodput,
        checks=checks,
        timeline=_timeline(rows, seconds),
        interrupted=course.interrupted,
        aborted=course.aborted,
        warnings=(),
    )
    return run.model_copy(update={"warnings": tuple(_warnings(run, idle))})


def _step_count(steps: Steps, rows: Table, here: Mask, ok: Mask, seconds: float, slo: float | None) -> StepCount:
    latency, service = rows.latency[ok], (rows.done - rows.begun)[ok]
    block = np.minimum(rows.intended[ok] / max(seconds, 1e-9) * BLOCKS, BLOCKS - 1).astype(np.int64)
    stages = {name: rows.stages[ok, i] for i, name in enumerate(STAGES)}
    stages["outside"] = (service - stages["total"]).astype(np.float32)
    used, counts = np.unique(rows.steps_used[ok], return_counts=True)
    return StepCount(
        steps=steps,
        sent=int(here.sum()),
        ok=int(ok.sum()),
        within_slo=None if slo is None else int((latency <= slo).sum()),
        latency=describe(latency),
        service=describe(service),
        blocks=tuple(encode(recorded(latency[block == i])) for i in range(BLOCKS)),
        stages={
            name: describe(np.maximum(times[~np.isnan(times)], 0.0))
            for name, times in stages.items()
            if not np.isnan(times).all()
        },
        steps_used={str(one): int(count) for one, count in zip(used, counts) if one},
        mean_bytes=float(rows.bytes[ok].mean()) if ok.any() else None,
        unfinished=int((here & (rows.status == 0)).sum()),
    )


def _lateness(settings: Settings, rows: Table, here: Mask, groups: Sequence[Mask], unsent: int) -> Lateness:
    """`here`: the requests of the window. `groups`: of those, the ones whose latencies are shown together; all last."""
    late = np.maximum((rows.begun - rows.intended)[here & np.isfinite(rows.begun)], 0.0)
    moved: float | None
    moved, allowed = _moved(rows, groups)
    why = [f"{count(unsent, 'request')} {'was' if unsent == 1 else 'were'} due and never sent"] if unsent else []
    if settings.max_lateness is not None:
        moved, allowed = None, settings.max_lateness
        too_late = int((late > allowed).sum())
        if settings.open and too_late > max(LATE_FEW, LATE_COUNT * late.size):
            why.append(
                f"{too_late:,} of {late.size:,} requests were sent more than {asked_ms(allowed)} late, "
                f"where {max(LATE_FEW, int(LATE_COUNT * late.size)):,} may be"
            )
    elif moved > allowed:
        why.append(
            f"the client sent so late that a figure is {milliseconds(moved)} longer for it, "
            f"where {milliseconds(allowed)} is allowed"
        )
    return Lateness(times=describe(late), allowed=allowed, moved=moved, valid=not why, why="; ".join(why))


def _moved(rows: Table, groups: Sequence[Mask]) -> tuple[float, float]:
    """By how much lateness moved the one of p50, p90 and p99 that it moved most, and by how much it may, in seconds.

    Latency from the intended sending, less that from the actual one, each at the same quantile.
    """
    found = [(0.0, LATE_FLOOR)]
    for i, group in enumerate(groups):
        latency, service = rows.latency[group], (rows.done - rows.begun)[group]
        for q in (0.5, 0.9, 0.99):
            # Of a run that is too short for any quantile, the median of all says whether the client was there at all.
            last = i == len(groups) - 1 and q == 0.5 and latency.size > 0
            if last or enough(latency.size, q):
                whole = quantile(latency, q)
                found.append((whole - quantile(service, q), max(LATE_FLOOR, LATE_SHARE * whole)))
    return max(found, key=lambda one: one[0] / one[1])


def _checks(harvests: Sequence[Harvest], target: Target, idle: IdleReplies, settings: Settings) -> Checks:
    found = [one.findings for one in harvests]
    compared, different = sum(one.compared for one in found), sum(one.different for one in found)
    promised = idle.alike and (
        (target.model or {}).get("batch_invariant") is not False or settings.fields.get("bitwise") == "true"
    )
    if not compared:
        same = "not checked"
    elif not different:
        same = "yes"
    else:
        same = "no" if promised else "not promised"
    return Checks(
        checked=sum(one.checked for one in found),
        decoded=sum(one.decoded for one in found),
        wrong=sum(one.wrong for one in found),
        compared=compared,
        different=different,
        same_bytes=same,
        examples=tuple(dict.fromkeys(text for one in found for text in one.examples))[:MOST_EXAMPLES],
    )


def _in_flight(rows: Table, at: float) -> int:
    return int(((rows.begun <= at) & (rows.done > at)).sum())


def _timeline(rows: Table, seconds: float) -> tuple[Second, ...]:
    if not len(rows.intended):
        return ()
    first = max(math.floor(float(rows.intended[0])), -TIMELINE_AT_MOST)
    finished = rows.done[np.isfinite(rows.done)]
    last = math.ceil(max(seconds, float(finished.max()) if finished.size else 0.0))
    last = min(last, first + TIMELINE_AT_MOST)
    edges = np.arange(first, last + 1)
    sent = np.histogram(rows.intended, edges)[0]
    by_done = np.argsort(rows.done, kind="stable")
    done, status, latency = rows.done[by_done], rows.status[by_done], rows.latency[by_done]
    cuts = np.searchsorted(done, edges)
    found = []
    for i, (a, b) in enumerate(itertools.pairwise(cuts)):
        good = latency[a:b][status[a:b] == 200]
        p50, p99 = (quantile(good, q) if good.size else None for q in (0.5, 0.99))
        found.append(
            Second(at=float(edges[i]), sent=int(sent[i]), answered=int(b - a), ok=int(good.size), p50=p50, p99=p99)
        )
    return tuple(found)


def _load(settings: Settings) -> Load:
    return Load(
        url=settings.url,
        route=settings.route,
        loop="open" if settings.open else "closed",
        arrivals=None if not settings.open else "trace" if settings.trace is not None else settings.arrivals,
        rate=settings.rate,
        cv=settings.cv if settings.open and settings.arrivals == "bursty" else None,
        trace=None if settings.trace is None else str(settings.trace),
        concurrency=settings.concurrency,
        steps={str(key): weight / sum(settings.steps.values()) for key, weight in settings.steps.items()},
        labels={key: weight / sum(settings.labels.values()) for key, weight in settings.labels.items()},
        formats={key: weight / sum(settings.formats.values()) for key, weight in settings.formats.items()},
        fields=dict(settings.fields),
        seed=settings.seed,
        timeout=settings.timeout,
        processes=settings.processes,
    )


def _warnings(run: Run, idle: IdleReplies) -> list[str]:
    """What the reader of the figures should know."""
    found = list(idle.warnings)
    if run.interrupted:
        found.append(f"interrupted after {run.window.seconds:.1f} s of the window")
    if run.warmup.stable is False:
        found.append(
            f"latency was still moving after {run.warmup.seconds:.0f} s of warm-up: the server may be overloaded, "
            "and its figures then depend on how long one looks"
        )
    grown = run.window.in_flight_end - run.window.in_flight_start
    if run.load.loop == "open" and grown > max(10, 0.1 * run.window.sent):
        found.append(f"requests in flight grew by {grown:,} in the window: the server does not keep up with this rate")
    if not run.ok and run.window.sent:
        found.append("no request of the window got a good reply")
    if not run.window.sent:
        found.append("no request fell into the window")
    if run.checks.wrong:
        wrong = run.checks.wrong
        found.append(
            f"{count(wrong, 'reply', 'replies')} with 200 {'was' if wrong == 1 else 'were'} not what was asked for"
        )
    if run.checks.same_bytes == "no":
        compared = count(run.checks.compared, "reply", "replies")
        found.append(
            f"{run.checks.different:,} of {compared} had other bytes than the idle server gave for the same request"
        )
    if not idle.alike:
        found.append("the idle server gave other bytes for the same request: its replies are not reproducible")
    failed = {group.status for group in run.groups} & set(FAILURES) - {"wrong"}
    found += [f"{status}: {FAILURES[status]}" for status in FAILURES if status in failed]
    few = [one for one in run.steps if one.ok and one.latency.too_few]
    if few:
        found.append("figures with a ~ have fewer than 10 samples beyond them: a longer run would settle them")
    return found
