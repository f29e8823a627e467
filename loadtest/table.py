"""The result of a run as text: what one wants to know first, first."""

from __future__ import annotations

from collections.abc import Sequence

from loadtest.numbers import asked, asked_ms, count, milliseconds, number, share
from loadtest.outcome import OK
from loadtest.records import PASSED
from loadtest.result import Distribution, Run, StepCount

_QUANTILES = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999))


def render(run: Run) -> str:
    """The whole text, without a line break at its end."""
    blocks = [_heading(run), _latencies(run)]
    if any(group.status != OK for group in run.groups):
        blocks.append(_failures(run))
    if any(one.stages for one in run.steps):
        blocks.append(_stages(run))
    blocks.append(_facts(run))
    return "\n\n".join(blocks)


def _heading(run: Run) -> str:
    load, model = run.load, run.server.model
    served = f"{model.get('id')} ({model.get('fingerprint', 'no fingerprint')}) at {load.url}" if model else load.url
    if load.loop == "closed":
        how = f"closed loop, {count(load.concurrency or 0, 'request')} in flight"
    elif load.arrivals == "trace":
        how = f"open loop, the trace {load.trace}"
    else:
        law = {
            "poisson": "Poisson",
            "constant": "constant",
            "bursty": f"bursty (cv {asked(load.cv)})" if load.cv else "",
        }
        how = f"open loop, {law[load.arrivals or 'poisson']} arrivals, {asked(load.rate or 0.0)}/s"
    warmup = run.warmup
    said = {True: ", until latency was stable", False: ", which was not enough", None: ""}[warmup.stable]
    return f"{served}\n{how}; {run.window.seconds:.1f} s measured after {warmup.seconds:.1f} s of warm-up{said}"


def _latencies(run: Run) -> str:
    slo = run.goodput.slo if run.goodput else None
    heads = ["steps", "sent", "good", *(name for name, _ in _QUANTILES), "max"]
    if slo is not None:
        heads.append(f"within {asked_ms(slo)}")
    rows = [
        [*_latency_row(one), *([] if slo is None else [share(one.within_slo or 0, one.ended)])] for one in run.steps
    ]
    since = "the intended sending" if run.load.loop == "open" else "the sending"
    return f"latency of good replies in ms, from {since} to the last byte\n{_table(heads, rows)}"


def _latency_row(one: StepCount) -> list[str]:
    return [str(one.steps), f"{one.sent:,}", f"{one.ok:,}", *_quantiles(one.latency), _milliseconds(one.latency.max)]


def _quantiles(times: Distribution) -> list[str]:
    values = (times.p50, times.p90, times.p99, times.p999)
    return [
        ("~" if value is not None and quantile in times.too_few else "") + _milliseconds(value)
        for value, (_, quantile) in zip(values, _QUANTILES)
    ]


def _failures(run: Run) -> str:
    rows = [
        [str(group.steps), group.status, f"{group.latency.count:,}", *_quantiles(group.latency)]
        for group in run.groups
        if group.status != OK
    ]
    return "replies that were not good, in ms\n" + _table(
        ["steps", "status", "count", *(name for name, _ in _QUANTILES)], rows
    )


def _stages(run: Run) -> str:
    rows, shown = [], (*PASSED, "outside")
    for one in run.steps:
        cells = [one.stages.get(name) for name in shown]
        rows.append([str(one.steps), *("-" if cell is None else _pair(cell) for cell in cells)])
    table = _table(["steps", *shown], rows)
    return f"where the time went in ms, median / p99 (outside: HTTP, the network between, and the client)\n{table}"


def _pair(times: Distribution) -> str:
    return f"{_milliseconds(times.p50)} / {_milliseconds(times.p99)}"


def _facts(run: Run) -> str:
    window, lateness, checks = run.window, run.lateness, run.checks
    facts = []
    rates = f"{number(window.answered_rate)}/s good"
    if run.load.loop == "open":
        rates = f"{number(window.offered_rate)}/s offered, {rates}"
    facts.append(
        ("rate", f"{rates}; {window.in_flight_start:,} in flight at the begin, {window.in_flight_end:,} at the end")
    )
    if run.goodput is not None:
        per_second, percent = run.goodput.per_second, share(run.goodput.share, 1.0)
        within = asked_ms(run.goodput.slo)
        facts.append(("goodput", f"{number(per_second)}/s within {within}, {percent} of all requests"))
    if run.load.loop == "open":
        late = lateness.times
        kept = f"late by {_milliseconds(late.p50)} ms at the median, {_milliseconds(late.p99)} ms at p99"
        moved = (
            ""
            if lateness.moved is None
            else f", which moves no figure up to p99 by more than {milliseconds(lateness.moved)}"
        )
        facts.append(("client", kept + moved if lateness.valid else f"{kept}: NOT VALID"))
    elif not lateness.valid:
        facts.append(("client", "NOT VALID"))
    said = {
        "yes": f"{checks.compared:,} compared with the idle server's: the same bytes",
        "no": f"{checks.different:,} of {checks.compared:,} have OTHER BYTES than the idle server's",
        "not promised": f"{checks.different:,} of {checks.compared:,} have other bytes than the idle server's, "
        "which this model does not promise (--field bitwise=true does)",
        "not checked": "none compared with the idle server's",
    }[checks.same_bytes]
    wrong = f", {checks.wrong:,} WRONG" if checks.wrong else ""
    facts.append(("replies", f"{checks.checked:,} checked, {checks.decoded:,} of them decoded{wrong}; {said}"))
    facts += [("", text) for text in checks.examples]
    if not lateness.valid:
        advice = "offer less, add --processes, or run the client on a machine of its own"
        facts.append(("invalid", f"{lateness.why}; {advice}"))
    if run.aborted:
        facts.append(("aborted", run.aborted))
    facts += [("note", text) for text in run.warnings]
    facts.append(("seed", str(run.load.seed)))
    return "\n".join(f"{name:<9}{text}".rstrip() for name, text in facts)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in (heads, *rows)) for i in range(len(heads))]
    return "\n".join("  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths)) for row in (heads, *rows))


def _milliseconds(seconds: float | None) -> str:
    """Three significant digits, zeros at the end included, so that columns align."""
    if seconds is None:
        return "-"
    value = 1000 * seconds
    if value >= 100:
        return number(value)
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
