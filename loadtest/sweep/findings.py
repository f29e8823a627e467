"""From the runs of a sweep to what they say: votes for the policy, curves for the report."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

from loadtest.counts import quantile, within
from loadtest.numbers import count
from loadtest.records import PASSED
from loadtest.result import MOST_EXAMPLES, Checks, Run, StepCount
from loadtest.sweep.borders import Plan, Point, border, reachable, spread
from loadtest.sweep.policy import beyond_the_client, idle_point
from loadtest.sweep.result import Found, Idle, StepCountFound, Sweep
from loadtest.sweep.summary import Curve, Invalid, Level, Limit, Summary, knee

QUALITIES = ("fd", "fid", "kid")
"""How the names of distances begin that a manifest may have for each step count, the first is taken first."""


def point(plan: Plan, run: Run) -> Point:
    """What a run says to the policy."""
    one = _only(run)
    return Point(
        steps=_steps(one),
        rate=run.load.rate,
        sent=one.sent,
        answered=one.ok,
        within=tuple(within(one.latency.histogram, deadline) for deadline in plan.deadlines),
        median=math.nan if one.latency.p50 is None else one.latency.p50,
        valid=run.valid,
    )


def curves(plan: Plan, runs: Sequence[Run]) -> tuple[Curve, ...]:
    """A curve for each step count that has runs, by rising step count."""
    points = [point(plan, run) for run in runs]
    model = next((run.server.model for run in runs if run.server.model), {}) or {}
    found = []
    for steps in sorted({one.steps for one in points}):
        own = [one for one in points if one.steps == steps]
        valid = [run for run in runs if run.valid and _steps(_only(run)) == steps]
        idle = idle_point(own)
        rates = sorted({run.load.rate for run in valid if run.load.rate is not None})
        levels = tuple(_level([run for run in valid if run.load.rate == rate]) for rate in rates)
        found.append(
            Curve(
                steps,
                _level([run for run in valid if run.load.rate is None]) if idle else None,
                levels,
                tuple(_limit(plan, number, own, idle) for number in range(len(plan.deadlines))),
                knee(levels),
                max((level.throughput for level in levels), default=0.0),
                quality(model.get("quality"), steps)[1],
                checks([run.checks for run in runs if _steps(_only(run)) == steps]),
            )
        )
    return tuple(found)


def found(curves: Sequence[Curve]) -> tuple[StepCountFound, ...]:
    """As a sweep's JSON holds it."""
    return tuple(
        StepCountFound(
            steps=curve.steps,
            idle=Idle(p50=curve.idle.p50, p90=curve.idle.p90, requests=curve.idle.sent) if curve.idle else None,
            knee=curve.knee,
            peak=curve.peak,
            limits=tuple(
                Found(
                    deadline=limit.deadline,
                    reachable=limit.reachable,
                    rate=limit.rate,
                    low=limit.low,
                    high=limit.high,
                    runs=limit.runs,
                )
                for limit in curve.limits
            ),
            quality=curve.quality,
            checks=curve.checks,
        )
        for curve in curves
    )


def summary(sweep: Sweep) -> Summary:
    """What a sweep found, for its table and its report."""
    plan = sweep.asked.plan()
    invalid = [run for run in sweep.runs if not run.valid]
    first = sweep.runs[0] if sweep.runs else None
    model = (first.server.model if first else None) or {}
    qualities = [quality(model.get("quality"), steps) for steps in sweep.asked.steps]
    return Summary(
        model=str(model.get("id", "an unnamed model")),
        url=sweep.asked.url,
        when=sweep.started,
        machine=_machine(first) if first else "",
        command=" ".join(("longjump", *sweep.command)),
        seconds=sweep.seconds,
        complete=sweep.complete,
        share=sweep.asked.share,
        deadlines=sweep.asked.deadlines,
        curves=curves(plan, sweep.runs),
        invalid=tuple(
            Invalid(_steps(_only(run)), run.load.rate, run.lateness.why or run.aborted or "it was aborted")
            for run in invalid
        ),
        warnings=_warnings(sweep),
        quality_name=next((name for name, value in qualities if value is not None), None),
    )


def quality(table: Any, steps: int) -> tuple[str, float | None]:
    """The name and the value of the distance that a manifest's quality has for a step count; None: it has none.

    The name is the same for all step counts, as other distances do not compare: the one that most of them have.
    """
    if not isinstance(table, dict):
        return "", None
    known: dict[str, dict[str, float]] = {}
    for entries in (table.get("steps"), table):
        for key, entry in entries.items() if isinstance(entries, dict) else ():
            if key.isdecimal() and (found := _distances(entry)):
                known[key] = found
    names = Counter(name for found in known.values() for name in found)
    if not names:
        return "", None
    name = min(names, key=lambda name: (-names[name], [not name.startswith(one) for one in QUALITIES], name))
    value = known.get(str(steps), {}).get(name)
    return ("", None) if value is None else (name, value)


def _distances(entry: Any) -> dict[str, float]:
    """The distances by name in what a manifest says of a step count, which may be anything."""
    return {
        name: float(value)
        for name, value in (entry if isinstance(entry, dict) else {"fd": entry}).items()
        if name.startswith(QUALITIES)
        and isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) <= sys.float_info.max
    }


def checks(parts: Sequence[Checks]) -> Checks:
    """What was checked of the replies of several runs, together."""
    said = [one.same_bytes for one in parts]
    worst: tuple[Literal["no", "not promised", "yes"], ...] = ("no", "not promised", "yes")
    return Checks(
        checked=sum(one.checked for one in parts),
        decoded=sum(one.decoded for one in parts),
        wrong=sum(one.wrong for one in parts),
        compared=sum(one.compared for one in parts),
        different=sum(one.different for one in parts),
        same_bytes=next((one for one in worst if one in said), "not checked"),
        examples=tuple(dict.fromkeys(text for one in parts for text in one.examples))[:MOST_EXAMPLES],
    )


def checks_by_steps(runs: Sequence[Run]) -> str:
    """Of which step counts replies had other bytes."""
    different = Counter[int]()
    for run in runs:
        different[_steps(_only(run))] += run.checks.different
    return ", ".join(f"{steps} NFE: {number:,}" for steps, number in sorted(different.items()) if number)


def _limit(plan: Plan, number: int, points: Sequence[Point], idle: Point | None) -> Limit:
    one, (low, high) = border(plan, number, points), spread(plan, number, points)
    topless = one.meets is not None and one.misses is None
    return Limit(
        deadline=plan.deadlines[number],
        reachable=idle is not None and reachable(plan, number, idle),
        rate=one.meets,
        low=low,
        high=high,
        runs=one.runs,
        beyond_client=topless and math.isfinite(beyond_the_client(points)),
        unbounded=topless,
    )


def _level(runs: Sequence[Run]) -> Level:
    """Valid runs at one rate, pooled."""
    parts = [_only(run) for run in runs]
    sent, answered = sum(part.sent for part in parts), sum(part.ok for part in parts)
    seconds = sum(run.window.seconds for run in runs)
    histograms = [part.latency.histogram for part in parts if part.ok]

    def mean(pairs: Sequence[tuple[float | None, int]]) -> float | None:
        known = [(value, count) for value, count in pairs if value is not None and count]
        total = sum(count for _, count in known)
        return sum(value * count for value, count in known) / total if total else None

    stages = {
        name: mean([(part.stages[name].mean, part.stages[name].count) for part in parts if name in part.stages])
        for name in PASSED
    }
    return Level(
        rate=runs[0].load.rate,
        runs=len(runs),
        sent=sent,
        answered=answered,
        throughput=answered / seconds if seconds else 0.0,
        p50=quantile(histograms, sent, 0.5),
        p90=quantile(histograms, sent, 0.9),
        p99=quantile(histograms, sent, 0.99),
        mean=mean([(part.latency.mean, part.ok) for part in parts]),
        stages={name: value for name, value in stages.items() if value is not None},
        compared=sum(run.checks.compared for run in runs),
        different=sum(run.checks.different for run in runs),
    )


def _warnings(sweep: Sweep) -> tuple[str, ...]:
    found = checks([run.checks for run in sweep.runs])
    warnings = []
    if sweep.aborted:
        warnings.append(f"The sweep ended before its time: {sweep.aborted}")
    if sweep.interrupted:
        warnings.append("The sweep was interrupted; what was measured until then is here.")
    if found.wrong:
        replies = f"{count(found.wrong, 'reply', 'replies')} {'was' if found.wrong == 1 else 'were'}"
        warnings.append(f"{replies} not what was asked for, and count as failed.")
    if found.same_bytes == "no":
        replies = f"{found.different:,} of {count(found.compared, 'reply', 'replies')}"
        where = checks_by_steps(sweep.runs)
        warnings.append(f"{replies} had OTHER BYTES than the idle server gave for the same request ({where}).")
    if found.examples and (found.wrong or found.same_bytes == "no"):
        warnings.append(f"For instance: {'; '.join(found.examples[:2])}.")
    prints = {(run.server.model or {}).get("fingerprint") for run in sweep.runs}
    if len(prints) > 1:
        warnings.append("The server's fingerprint changed during the sweep: its figures are of several servers.")
    return tuple(warnings)


def _only(run: Run) -> StepCount:
    if len(run.steps) != 1:
        raise ValueError(f"a sweep's run has one step count, not {[one.steps for one in run.steps]}")
    return run.steps[0]


def _steps(one: StepCount) -> int:
    if not isinstance(one.steps, int):
        raise ValueError(f"a sweep's step counts are numbers, not {one.steps!r}")
    return one.steps


def _machine(run: Run) -> str:
    where = run.environment
    return f"{count(where.host_cores, 'core')} of {where.cpu}, Python {where.python}"
