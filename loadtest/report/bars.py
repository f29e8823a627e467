"""Charts of bars: which step count to run by traffic, and where the time of a request goes."""

from __future__ import annotations

from loadtest.numbers import asked_ms, milliseconds, number
from loadtest.records import PASSED
from loadtest.report.svg import SHAPES, drawing, linear, logarithmic
from loadtest.sweep.summary import Curve, Level, Summary, choose

TOP, BAR, RUNG, GAP = 34, 17, 30, 8


def ladder(summary: Summary) -> str:
    """Which step count to run, by traffic: a bar for each deadline, a part of it for each step count."""
    ladders = [rungs(summary, i) for i in range(len(summary.deadlines))]
    ends = [end for steps_ in ladders for _, end in steps_]
    if not ends:
        return ""
    lowest = min(ends)
    x = logarithmic("requests per second", [lowest / 4, max(ends) * 1.05])
    width, left, top = 520, 60, TOP
    height = top + len(ladders) * (RUNG + GAP) + 40
    plot = width - left - 24

    def across(rate: float) -> float:
        return left + plot * x.place(max(rate, x.low))

    parts, said = [], []
    for value, text in x.ticks:
        parts.append(f'<path class="grid" d="M{across(value):.1f} {top - 4}V{height - 38}"/>')
        parts.append(f'<text class="tick" x="{across(value):.1f}" y="{height - 24}" text-anchor="middle">{text}</text>')
    parts.append(f'<text class="name" x="{left + plot / 2:.0f}" y="{height - 7}" text-anchor="middle">{x.name}</text>')
    for i, (deadline, steps_) in enumerate(zip(summary.deadlines, ladders)):
        y, begin, words = top + i * (RUNG + GAP), x.low, []
        name = asked_ms(deadline)
        parts.append(f'<text class="row" x="{left - 8}" y="{y + 20}" text-anchor="end">{name}</text>')
        for curve, end in steps_:
            css, _ = style(summary, curve)
            long = across(end) - across(begin)
            least = "at least " if curve.limits[i].unbounded else ""
            words.append(f"{curve.steps} NFE up to {least}{number(end)} per second")
            parts.append(
                f'<g class="rung {css}"><title>{name}: {words[-1]}</title><rect x="{across(begin):.1f}" y="{y}" '
                f'width="{max(long - 2, 1):.1f}" height="{RUNG}" rx="3"/>'
            )
            text = f"{curve.steps} NFE" if long > 50 else str(curve.steps) if long > 14 else ""
            parts.append(
                f'<text x="{across(begin) + long / 2 - 1:.1f}" y="{y + 20}" text-anchor="middle">{text}</text></g>'
            )
            begin = end
        if not steps_:
            parts.append(f'<text class="tick" x="{left + 6}" y="{y + 20}">no step count meets it</text>')
        said.append(f"{name}: {', '.join(words) or 'none'}")
    return drawing("ladder", "What to run, by traffic", "; ".join(said), width, height, "".join(parts))


def rungs(summary: Summary, deadline: int) -> list[tuple[Curve, float]]:
    """The step count to run for a deadline (its number), and up to which rate, by rising rate."""
    found: list[tuple[Curve, float]] = []
    for end in sorted({curve.limits[deadline].rate or 0.0 for curve in summary.curves} - {0.0}):
        chosen = choose(summary.curves, deadline, end)
        if chosen is None:
            continue
        if found and found[-1][0] is chosen:
            found.pop()
        found.append((chosen, end))
    return found


def stages(summary: Summary) -> str:
    """Mean latency by step count, idle and at the knee: the server's stages, and what the client saw beside them."""
    rows: list[tuple[str, Level]] = []
    for curve in summary.curves:
        knee = next((level for level in curve.levels if level.rate == curve.knee), None)
        for level in (curve.idle, knee):
            if level and level.mean and level.stages:
                at = "idle" if level.rate is None else f"{number(level.rate)}/s"
                rows.append((f"{curve.steps} NFE, {at}", level))
    if not rows:
        return ""
    x = linear("mean, ms", [1000 * max(level.mean or 0, sum(level.stages.values())) for _, level in rows])
    width, left, top = 520, 104, TOP + 26
    height = top + len(rows) * (BAR + GAP) + 40
    plot = width - left - 20

    def across(milliseconds: float) -> float:
        return left + plot * x.place(milliseconds)

    parts = []
    for i, name in enumerate((*PASSED, "outside")):
        text = name if name in PASSED else "outside the server"
        parts.append(f'<rect class="stage {name}" x="{12 + 82 * i}" y="{TOP - 6}" width="10" height="10"/>')
        parts.append(f'<text class="tick" x="{26 + 82 * i}" y="{TOP + 3}">{text}</text>')
    for value, text in x.ticks:
        parts.append(f'<path class="grid" d="M{across(value):.1f} {top - 4}V{height - 36}"/>')
        parts.append(f'<text class="tick" x="{across(value):.1f}" y="{height - 22}" text-anchor="middle">{text}</text>')
    parts.append(f'<text class="name" x="{left + plot / 2:.0f}" y="{height - 6}" text-anchor="middle">{x.name}</text>')
    said = []
    for i, (label, level) in enumerate(rows):
        y, begin, words = top + i * (BAR + GAP), 0.0, []
        parts.append(f'<text class="tick" x="{left - 6}" y="{y + 13}" text-anchor="end">{label}</text>')
        outside = max(0.0, (level.mean or 0) - sum(level.stages.values()))
        for name, seconds in [*((name, level.stages.get(name, 0.0)) for name in PASSED), ("outside", outside)]:
            end = begin + 1000 * seconds
            words.append(f"{name} {milliseconds(seconds)}")
            parts.append(
                f'<g class="stage {name}"><title>{label}: {words[-1]}</title><rect x="{across(begin):.1f}" y="{y}" '
                f'width="{across(end) - across(begin):.1f}" height="{BAR}"/></g>'
            )
            begin = end
        said.append(f"{label}: {', '.join(words)}")
    description = f"Mean milliseconds in each stage. {'; '.join(said)}"
    return drawing("stages", "Where the time goes", description, width, height, "".join(parts))


def style(summary: Summary, curve: Curve) -> tuple[str, str]:
    """The class and the shape of a step count: the same in every chart."""
    place = summary.curves.index(curve) % len(SHAPES)
    return f"nfe{place}", SHAPES[place]
