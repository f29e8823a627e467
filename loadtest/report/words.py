"""What a sweep found, in words: the same in the terminal and in the page."""

from __future__ import annotations

import math
from datetime import datetime

from loadtest.numbers import asked, count, milliseconds, number
from loadtest.report.bars import rungs
from loadtest.sweep.summary import Curve, Summary

ADVICE = "A client on a machine of its own, or with more --processes, would keep it."
"""Of a schedule that the client did not keep."""


def answer(summary: Summary, deadline: int) -> str:
    """Which step count to run for a deadline (its number), by traffic."""
    steps = rungs(summary, deadline)
    if not steps:
        blank = [curve for curve in summary.curves if curve.unknown(deadline)]
        return "not known: too few valid runs under load" if blank else "no step count measured here meets it"
    parts = ", then ".join(f"{curve.steps} NFE {up_to(curve, deadline, rate)}/s" for curve, rate in steps)
    return f"run {parts}"


def up_to(curve: Curve, deadline: int, rate: float) -> str:
    """Up to which rate a step count is the one to run."""
    return f"up to {'at least ' if curve.limits[deadline].unbounded else ''}{number(rate)}"


def cell(curve: Curve, deadline: int) -> tuple[str, str]:
    """The highest rate at which a step count meets a deadline, and how sure that is."""
    limit = curve.limits[deadline]
    if curve.idle is None or curve.unknown(deadline):
        return "not measured", ""
    if not limit.reachable:
        p99 = curve.idle.p99
        if p99 is not None and math.isinf(p99):
            return "too slow", "fails even idle"
        return "too slow", "" if p99 is None else f"idle p99 {milliseconds(p99)}"
    if limit.rate is None:
        return "not met", f"below {number(limit.high)}/s" if limit.high else "at any measured rate"
    if limit.beyond_client:
        return f"{number(limit.rate)}/s or more", "the client's limit"
    if limit.unbounded:
        return f"{number(limit.rate)}/s or more", f"none above tried, {count(limit.runs, 'run')}"
    interval = f"{number(limit.low)} to {number(limit.high)}" if limit.low and limit.high else "no interval"
    if limit.low is None and limit.high:
        interval = f"up to {number(limit.high)}"
    elif limit.low and limit.high is None:
        interval = f"from {number(limit.low)}"
    return f"{number(limit.rate)}/s", f"{interval}, {count(limit.runs, 'run')}"


def duration(seconds: float) -> str:
    """A time that a person waited."""
    return count(round(seconds), "second") if seconds < 100 else f"{seconds / 60:.1f} minutes"


def limit_words(summary: Summary) -> str:
    """How to read the cells."""
    return (
        f"Cells: the highest measured rate at which {asked(100 * summary.share)} % of the requests were answered well "
        "within the deadline, a 90 % interval of where that ends, and the runs at both ends of the bracket."
    )


def quality_words(summary: Summary) -> str:
    """What the recommendation knows of quality; plainly, if that is nothing."""
    measured = [curve for curve in summary.curves if curve.quality is not None]
    if not measured:
        return (
            "Nothing is known of quality: the bundle's manifest has no measured quality for any step count. “Run” is "
            "the most steps that meet the deadline, which is not the same as the best pictures."
        )
    values = ", ".join(f"{curve.steps} NFE {curve.quality:.4g}" for curve in measured)
    missing = [str(curve.steps) for curve in summary.curves if curve.quality is None]
    lacks = f" {', '.join(missing)} NFE: not measured, and not recommended." if missing else ""
    name = f"the manifest's {summary.quality_name} (lower is better)"
    return f"“Run” is the best quality that meets the deadline, by {name}: {values}.{lacks}"


def same_bytes(compared: int, different: int) -> str:
    """How many of the replies that were compared had the bytes of the idle server's."""
    return f"{compared - different:,} of {compared:,}" if compared else "-"


def reply_words(summary: Summary) -> str:
    """What was checked of the replies; empty for a sweep that was made before that was noted."""
    parts = [curve.checks for curve in summary.curves if curve.checks]
    if not parts:
        return ""
    checked, decoded = sum(one.checked for one in parts), sum(one.decoded for one in parts)
    compared, different = sum(one.compared for one in parts), sum(one.different for one in parts)
    said = f"Replies: {checked:,} looked at, {decoded:,} of them decoded; "
    if not compared:
        return f"{said}none compared with the idle server's."
    said += f"{compared:,} compared with the idle server's for the same request: "
    if not different:
        return f"{said}the same bytes."
    if any(one.same_bytes == "no" for one in parts):
        return f"{said}{different:,} with OTHER BYTES."
    return f"{said}{different:,} with other bytes, which this model does not rule out (--field bitwise=true does)."


def verdict(summary: Summary) -> str:
    """How far the sweep came."""
    runs = len(summary.invalid)
    runs += sum(level.runs for curve in summary.curves for level in (curve.idle, *curve.levels) if level)
    ended = "complete" if summary.complete else "ended before every limit was repeated; the runs of each are given"
    if blank := [str(curve.steps) for curve in summary.curves if any(map(curve.unknown, range(len(curve.limits))))]:
        ended = f"without a valid run under load of {', '.join(blank)} NFE (the client was late, or time was short)"
    when = datetime.fromisoformat(summary.when)
    return f"{count(runs, 'run')} in {duration(summary.seconds)}, {ended}. {when:%Y-%m-%d %H:%M %Z}, {summary.machine}."
