"""What changed between two results: a row for each figure that both have, with an interval and a verdict."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import NormalDist
from typing import Literal

from loadtest.intervals import Figure, change, mean_figure, quantile_figure, rate_figure, share_change
from loadtest.numbers import asked_ms, milliseconds, number, share
from loadtest.result import Run, StepCount, read, read_document
from loadtest.sweep.borders import border, reachable, spread
from loadtest.sweep.findings import point
from loadtest.sweep.policy import idle_point
from loadtest.sweep.result import Sweep, read_sweep

CONFIDENCE = 0.95
"""That all intervals of a comparison hold together."""

WIDEST = 100.0
"""Of an interval's ends, one over the other: beyond it there is no interval to speak of."""

CALM = 0.7
"""Of the highest rate for the longest deadline: up to it, runs of two sweeps at the same rate are compared."""

Verdict = Literal["better", "worse", "no clear change", "too few to say"]


@dataclass(frozen=True)
class Row:
    """One figure of both results."""

    what: str
    before: str
    after: str
    percent: float | None
    """By how much it grew; None where a ratio says nothing."""
    interval: str
    verdict: Verdict
    regression: float
    """By how many percent it became worse, if that is clear; otherwise 0."""


Pending = Callable[[float], Row]
"""Makes its row once it is known how sure each has to be."""


def read_any(path: Path) -> Run | Sweep:
    """A run or a sweep. ValueError for anything else."""
    wrote = "`longjump loadtest run --out` or `sweep`"
    kind = read_document(path, wrote).get("kind")
    if kind not in ("run", "sweep"):
        raise ValueError(f"{path} holds no result of a load test; give a file that {wrote} wrote")
    return read_sweep(path) if kind == "sweep" else read(path)


def compare(before: Run | Sweep, after: Run | Sweep, names: tuple[str, str] = ("A", "B")) -> list[Row]:
    """A row for each figure that both have. ValueError for what does not compare; `names` are for its message."""
    if isinstance(before, Sweep) and isinstance(after, Sweep):
        _usable([before, after], names)
        pending = list(_sweeps(before, after))
    elif isinstance(before, Run) and isinstance(after, Run):
        _usable([before, after], names)
        if before.load.loop != after.load.loop:
            raise ValueError(
                f"{names[0]} is of {_loop(before)}, {names[1]} of {_loop(after)}: their latencies count from other "
                "moments (see docs/loadtest.md); give two runs with --rate or --trace, or two with --concurrency"
            )
        pending = list(_runs(before, after))
    else:
        raise ValueError(
            f"{names[0]} holds a {before.kind} and {names[1]} a {after.kind}: these do not compare; give two runs or "
            "two sweeps"
        )
    if not pending:
        has = " and ".join(f"{name} has {_step_counts_of(one)}" for name, one in zip(names, (before, after)))
        raise ValueError(f"{has}: no step count in common; measure both with the same --steps")
    confidence = 1 - (1 - CONFIDENCE) / len(pending)
    return [make(confidence) for make in pending]


def _usable(both: Sequence[Run | Sweep], names: tuple[str, str]) -> None:
    """Raise ValueError that names what holds no valid run, and says why and what to do."""
    faults = []
    for name, one in zip(names, both):
        runs = one.runs if isinstance(one, Sweep) else (one,)
        if not any(run.valid for run in runs):
            why = next((run.lateness.why or run.aborted for run in runs), "it has no run in it")
            kind = "" if isinstance(one, Run) else "none of its runs is valid: "
            faults.append(f"{name} is not valid and says nothing of the server ({kind}{why})")
    if faults:
        raise ValueError(
            f"{'; '.join(faults)}; measure again with a client that keeps up: a lower rate, more --processes, or a "
            "machine of its own"
        )


def _loop(run: Run) -> str:
    return "an open loop" if run.load.loop == "open" else "a closed loop"


def _step_counts_of(one: Run | Sweep) -> str:
    found = one.found if isinstance(one, Sweep) else one.steps
    return ", ".join(str(part.steps) for part in found) + " NFE"


def text(rows: list[Row], remarks: list[str], before: str, after: str) -> str:
    """The comparison for a terminal: what changed first, then the whole table."""
    changed = [row for row in rows if row.verdict in ("better", "worse")]
    lines = [f"A: {before}", f"B: {after}", *(f"Note: {remark}" for remark in remarks), ""]
    lines += [f"{row.what}: {row.verdict}, {row.before} to {row.after}" for row in changed] or ["No clear change."]
    cells = [("", "A", "B", "change", "interval", "")]
    for row in rows:
        percent = "" if row.percent is None else f"{_signed(row.percent)} %"
        cells.append((row.what, row.before, row.after, percent, row.interval, row.verdict))
    widths = [max(len(cell[column]) for cell in cells) for column in range(6)]
    lines.append("")
    for cell in cells:
        first, *others = (one.rjust(wide) for one, wide in zip(cell, widths))
        lines.append("  ".join([cell[0].ljust(len(first)), *others[:-1], cell[-1]]).rstrip())
    return "\n".join([*lines, "", f"Intervals: {CONFIDENCE:.0%} for all together, of what varies within a run."])


def _runs(before: Run, after: Run) -> Iterator[Pending]:
    for one in before.steps:
        other = next((two for two in after.steps if two.steps == one.steps), None)
        if other is not None:
            yield from _step_counts(f"{one.steps} NFE", [one], [other], ("p50", "p90", "p99"))
    if before.load.loop == after.load.loop == "closed":
        a, b = (rate_figure(per_second(one)) for one in (before, after))
        yield partial(_throughput, a, b)


def per_second(run: Run) -> list[int]:
    """Good replies in each whole second of the window: the timeline goes on to the last reply."""
    return [second.ok for second in run.timeline if second.at >= 0 and second.at + 1 <= run.window.seconds]


def _sweeps(before: Sweep, after: Sweep) -> Iterator[Pending]:
    for one in before.found:
        other = next((two for two in after.found if two.steps == one.steps), None)
        if other is None:
            continue
        idle = [_parts(sweep, one.steps, None) for sweep in (before, after)]
        if all(idle):
            yield from _step_counts(f"{one.steps} NFE, idle", idle[0], idle[1], ("p50", "p90"))
        for deadline in sorted(set(before.asked.deadlines) & set(after.asked.deadlines)):
            yield partial(_limit, one.steps, deadline, before, after)
        rates = sorted(_rates(before, one.steps) & _rates(after, one.steps))
        for rate in rates:
            loaded = [_parts(sweep, one.steps, rate) for sweep in (before, after)]
            yield from _step_counts(f"{one.steps} NFE, {number(rate)}/s", loaded[0], loaded[1], ("p50",))


def _rates(sweep: Sweep, steps: int) -> set[float]:
    """Rates well below where the longest deadline ends: nearer to it, latency depends on how the arrivals fell."""
    rate = _border(sweep, steps, sweep.asked.deadlines[-1], 0.05)[0] or 0.0
    runs = [run for run in sweep.runs if run.valid and run.steps[0].steps == steps]
    return {run.load.rate for run in runs if run.load.rate and run.load.rate <= CALM * rate}


def _parts(sweep: Sweep, steps: int, rate: float | None) -> list[StepCount]:
    runs = (run for run in sweep.runs if run.valid and run.load.rate == rate)
    return [run.steps[0] for run in runs if run.steps[0].steps == steps]


def _step_counts(name: str, before: list[StepCount], after: list[StepCount], which: Sequence[str]) -> Iterator[Pending]:
    """Quantiles of latency, its mean, and what was lost, if anything was."""
    blocks = [tuple(text for part in parts for text in part.blocks) for parts in (before, after)]
    for label in which:
        a, b = (quantile_figure(one, int(label[1:]) / 100) for one in blocks)
        yield partial(_latency, f"{name}: {label}", a, b)
    a, b = (mean_figure(one) for one in blocks)
    yield partial(_latency, f"{name}: mean", a, b)
    failed, failed_after = (
        (sum(p.ended - p.ok for p in parts), sum(p.ended for p in parts)) for parts in (before, after)
    )
    if (failed[0] or failed_after[0]) and failed[1] and failed_after[1]:
        yield partial(_failures, f"{name}: failed or refused", failed, failed_after)


def _latency(what: str, before: Figure | None, after: Figure | None, confidence: float) -> Row:
    a, b = ("" if one is None else milliseconds(one.value) for one in (before, after))
    return _ratio(what, a, b, before, after, confidence, 1)


def _throughput(before: Figure | None, after: Figure | None, confidence: float) -> Row:
    a, b = ("" if one is None else f"{number(one.value)}/s" for one in (before, after))
    return _ratio("throughput", a, b, before, after, confidence, -1)


def _ratio(
    what: str, a: str, b: str, before: Figure | None, after: Figure | None, confidence: float, worse: Literal[1, -1]
) -> Row:
    """A row of two figures as texts `a` and `b`; `worse` is the sign of a change for the worse."""
    if before is None or after is None:
        return Row(what, a, b, None, "", "too few to say", 0.0)
    found = change(before, after, confidence)
    if found.high > WIDEST * found.low:
        return Row(what, a, b, None, "", "too few to say", 0.0)
    percent = 100 * (found.ratio - 1)
    verdict: Verdict = "no clear change" if not found.clear else "worse" if worse * percent > 0 else "better"
    interval = f"{_signed(100 * (found.low - 1))} to {_signed(100 * (found.high - 1))} %"
    return Row(what, a, b, percent, interval, verdict, abs(percent) if verdict == "worse" else 0.0)


def _failures(what: str, before: tuple[int, int], after: tuple[int, int], confidence: float) -> Row:
    low, high = share_change(before, after, confidence)
    a, b = (100 * some / of for some, of in (before, after))
    verdict: Verdict = "worse" if low > 0 else "better" if high < 0 else "no clear change"
    worse = b - a if verdict == "worse" else 0.0
    interval = f"{_signed(100 * low)} to {_signed(100 * high)} points"
    return Row(what, share(*before), share(*after), None, interval, verdict, worse)


def _limit(steps: int, deadline: float, before: Sweep, after: Sweep, confidence: float) -> Row:
    """The highest rate for a deadline: a change is clear where two intervals are apart."""
    # Two intervals that just touch are sqrt(2) times as sure, together, as each of them is.
    z = NormalDist().inv_cdf(1 - (1 - confidence) / 2) / math.sqrt(2)
    tail = 1 - NormalDist().cdf(z)
    (a, *span_a), (b, *span_b) = (_border(sweep, steps, deadline, tail) for sweep in (before, after))
    fell = span_b[1] is not None and span_a[0] is not None and span_b[1] < span_a[0]
    rose = span_a[1] is not None and span_b[0] is not None and span_a[1] < span_b[0]
    percent = 100 * (b / a - 1) if a and b else None
    verdict: Verdict = "worse" if fell else "better" if rose else "no clear change"
    said = [_rate(one, *span) for one, span in ((a, span_a), (b, span_b))]
    if "not known" in said:
        verdict = "too few to say"
    interval = f"A {_span(*span_a)}, B {_span(*span_b)}"
    worse = (100.0 if percent is None else -percent) if fell else 0.0
    what = f"{steps} NFE: highest rate for {asked_ms(deadline)}"
    return Row(what, said[0], said[1], percent, interval, verdict, worse)


def _rate(rate: float | None, low: float | None, high: float | None) -> str:
    if rate is None:
        return "not known" if low is None and high is None else "not met" if high else "too slow"
    return f"{number(rate)}/s"


def _span(low: float | None, high: float | None) -> str:
    """An interval of a rate whose ends may be open."""
    if low is not None and high is not None:
        return f"{number(low)} to {number(high)}"
    if high is not None:
        return f"up to {number(high)}" if high else "at no rate"
    return "not bounded" if low is None else f"{number(low)} or more"


def _signed(value: float) -> str:
    """A change, to a tenth, with its sign."""
    text = number(round(abs(value), 1))
    return text if text == "0" else f"{'+' if value > 0 else '-'}{text}"


def _border(sweep: Sweep, steps: int, deadline: float, tail: float) -> tuple[float | None, float | None, float | None]:
    """The highest rate, and an interval of the border."""
    plan = sweep.asked.plan()
    number = plan.deadlines.index(deadline)
    points = [point(plan, run) for run in sweep.runs if run.steps[0].steps == steps]
    idle = idle_point(points)
    if idle is not None and not reachable(plan, number, idle):
        return None, None, 0.0
    return border(plan, number, points).meets, *spread(plan, number, points, tail)
