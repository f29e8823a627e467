"""The charts of a sweep: each a function from what was found to a drawing."""

from __future__ import annotations

import math

from loadtest.numbers import asked_ms, count, milliseconds, number
from loadtest.report.bars import ladder, stages, style
from loadtest.report.svg import SHAPES, Chart, categories, linear, logarithmic
from loadtest.sweep.summary import Curve, Summary, at_rate

SHOWN_RATES = 4
"""Rates that latency against NFE is drawn at, at most, beside idle."""


def all_charts(summary: Summary) -> dict[str, str]:
    """Name -> SVG, in the order in which the report shows them. What has nothing to show is left out."""
    charts = {
        "ladder": ladder(summary),
        "latency-nfe": latency_against_nfe(summary),
        "throughput-p99": throughput_latency(summary, "p99"),
        "throughput-p50": throughput_latency(summary, "p50"),
        "stages": stages(summary),
        "frontier": frontier(summary),
    }
    return {name: chart for name, chart in charts.items() if chart}


def latency_against_nfe(summary: Summary) -> str:
    """p99 by step count, a line for idle and for each of some rates that several step counts can serve."""
    curves = [curve for curve in summary.curves if curve.idle]
    if not curves:
        return ""
    lines: list[tuple[str, str, list[tuple[Curve, float, bool]]]] = []
    idle = [(curve, value, True) for curve in curves if curve.idle and (value := curve.idle.p50) is not None]
    lines.append(("idle p50", "rate0", idle))
    for i, rate in enumerate(shared_rates(summary)):
        found = [(curve, *known) for curve in curves if (known := at_rate(curve, rate, "p99")) is not None]
        lines.append((f"{number(rate)}/s p99", f"rate{i + 1}", found))
    values = [1000 * value for _, _, points in lines for _, value, _ in points]
    y = logarithmic("latency, ms", [*values, *(1000 * one for one in summary.deadlines)])
    chart = Chart(
        "Latency against NFE",
        "Latency in milliseconds by network evaluations: the idle median, and p99 at several request rates. "
        + "; ".join(
            f"{label}: " + ", ".join(f"{curve.steps} NFE {milliseconds(value)}" for curve, value, _ in points)
            for label, _, points in lines
        ),
        categories("network evaluations (NFE)", [curve.steps for curve in summary.curves]),
        y,
        "latency-nfe",
    )
    _deadlines(chart, summary)
    for (label, css, points), shape in zip(lines, SHAPES):
        chart.line([(curve.steps, 1000 * value) for curve, value, _ in points], css, label)
        for curve, value, measured in points:
            how = "" if measured else ", interpolated between measured rates"
            tip = f"{curve.steps} NFE, {label}: {milliseconds(value)}{how}"
            chart.mark(curve.steps, 1000 * value, shape, css, tip, hollow=not measured)
    return chart.text()


def throughput_latency(summary: Summary, quantile: str) -> str:
    """Throughput against a quantile of latency, a curve for each step count."""
    curves = [curve for curve in summary.curves if curve.levels]
    shown = {
        curve.steps: [
            (level, value)
            for level in curve.levels
            if (value := getattr(level, quantile)) is not None and math.isfinite(value)
        ]
        for curve in curves
    }
    if not any(shown.values()):
        return ""
    times = [1000 * value for points in shown.values() for _, value in points]
    answered = [level.throughput for points in shown.values() for level, _ in points]
    chart = Chart(
        f"Throughput and {quantile} latency",
        f"Answered requests per second against {quantile} latency in milliseconds, a curve for each step count; "
        "a curve that turns upwards has passed its knee. The table of all rates holds the same numbers.",
        logarithmic("answered well, per second", answered),
        logarithmic(f"{quantile}, ms", [*times, *(1000 * one for one in summary.deadlines)]),
        f"throughput-{quantile}",
    )
    _deadlines(chart, summary)
    for curve in curves:
        points = shown[curve.steps]
        css, shape = style(summary, curve)
        path = [(level.throughput, 1000 * value) for level, value in points]
        chart.line(path, css, f"{curve.steps} NFE")
        for level, value in points:
            knee = ", the knee" if level.rate == curve.knee else ""
            rates = f"{number(level.rate or 0)}/s offered, {number(level.throughput)}/s answered"
            rates += f", {count(level.sent, 'request')}"
            tip = f"{curve.steps} NFE, {rates}: {quantile} "
            chart.mark(
                level.throughput,
                1000 * value,
                shape,
                css,
                f"{tip}{milliseconds(value)}{knee}",
                level.rate != curve.knee,
            )
    return chart.text()


def frontier(summary: Summary) -> str:
    """Latency against measured quality, a mark for each step count; empty where the manifest has no quality."""
    known = [curve for curve in summary.curves if curve.quality is not None and curve.idle]
    if not known:
        return ""
    name = summary.quality_name or "distance"
    rate = next(iter(shared_rates(summary)), None)
    lines: list[tuple[str, str, list[tuple[Curve, float]]]] = [
        ("idle p50", "rate0", [(curve, curve.idle.p50) for curve in known if curve.idle and curve.idle.p50 is not None])
    ]
    if rate is not None:
        loaded = [(curve, at[0]) for curve in known if (at := at_rate(curve, rate, "p99")) is not None]
        lines.append((f"{number(rate)}/s p99", "rate1", loaded))
    times = [1000 * value for _, _, points in lines for _, value in points]
    chart = Chart(
        "Quality against latency",
        f"{name}, lower is better, against latency in milliseconds. "
        + "; ".join(
            f"{label}: "
            + ", ".join(f"{curve.steps} NFE {milliseconds(value)}, {curve.quality:.4g}" for curve, value in points)
            for label, _, points in lines
        ),
        logarithmic("latency, ms", [*times, *(1000 * one for one in summary.deadlines)]),
        linear(f"{name} (lower is better)", [curve.quality or 0.0 for curve in known]),
        "frontier",
    )
    for deadline in summary.deadlines:
        chart.upright(1000 * deadline, asked_ms(deadline))
    for (label, css, points), shape in zip(lines, SHAPES):
        chart.line([(1000 * value, curve.quality or 0.0) for curve, value in points], css, label)
        for curve, value in points:
            tip = f"{curve.steps} NFE, {label} {milliseconds(value)}: {name} {curve.quality:.4g}"
            chart.mark(1000 * value, curve.quality or 0.0, shape, css, tip)
            if css == "rate0":
                chart.note(1000 * value, curve.quality or 0.0, f"{curve.steps} NFE", css)
    return chart.text()


def shared_rates(summary: Summary) -> list[float]:
    """Round rates to compare step counts at: those that at least two can serve, spread evenly, the lowest first."""
    offered = {level.rate for curve in summary.curves for level in curve.levels if level.rate is not None}
    rates = sorted(rate for rate in offered if float(f"{rate:.0e}") == rate)
    shared = [rate for rate in rates if sum(at_rate(curve, rate, "p99") is not None for curve in summary.curves) > 1]
    if len(shared) <= SHOWN_RATES:
        return shared
    return [shared[round(i * (len(shared) - 1) / (SHOWN_RATES - 1))] for i in range(SHOWN_RATES)]


def _deadlines(chart: Chart, summary: Summary) -> None:
    for deadline in summary.deadlines:
        chart.level(1000 * deadline, asked_ms(deadline))
