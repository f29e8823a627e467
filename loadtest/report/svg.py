"""Charts as SVG text: axes, lines, marks and labels. Colours come from a style sheet, by class."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

from loadtest.numbers import number

LEFT, RIGHT, TOP, BOTTOM = 52, 72, 56, 42
"""Margins around the plot: tick labels, labels at the ends of lines, the chart's heading, the axis."""

LABEL_HEIGHT = 16
"""Labels at the ends of lines keep this distance."""

SHAPES = ("circle", "square", "triangle", "diamond", "down", "cross")


@dataclass(frozen=True)
class Axis:
    """One direction of a chart: where values lie (0 to 1), and which get a tick."""

    name: str
    place: Callable[[float], float]
    ticks: tuple[tuple[float, str], ...]
    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Whether a value lies on the axis."""
        return self.low <= value <= self.high


def logarithmic(name: str, values: Sequence[float]) -> Axis:
    """An axis from 1, 2, 5, 10 ... below the smallest value to one above the largest; values above 0."""
    good = [value for value in values if 0 < value < math.inf] or [1.0, 10.0]
    low, high = _round_down(min(good)), _round_up(max(good))
    if low == high:
        low, high = low / 2, high * 2
    span = math.log(high / low)
    ticks = [m * 10.0**k for k in range(-4, 7) for m in ((1, 2, 5) if span < 9 else (1,))]
    shown = tuple((tick, number(tick)) for tick in ticks if low * 0.999 <= tick <= high * 1.001)
    return Axis(name, lambda value: math.log(max(value, low * 0.5) / low) / span, shown, low, high)


def linear(name: str, values: Sequence[float]) -> Axis:
    """An axis from 0 to a round number above the largest value."""
    good = [value for value in values if 0 <= value < math.inf] or [1.0]
    top = max(good) or 1.0
    step = next(m * 10.0**k for k in range(-5, 8) for m in (1, 2, 2.5, 5) if m * 10.0**k * 5 >= top)
    count = math.ceil(top / step - 1e-9)
    ticks = tuple((i * step, number(i * step)) for i in range(count + 1))
    return Axis(name, lambda value: value / (count * step), ticks, 0.0, count * step)


def categories(name: str, values: Sequence[float]) -> Axis:
    """An axis with one place for each of a few values, evenly apart."""
    order = {value: i for i, value in enumerate(values)}
    count = max(1, len(values))
    ticks = tuple((value, number(value)) for value in values)
    return Axis(name, lambda value: (order[value] + 0.5) / count, ticks, min(values), max(values))


@dataclass
class Chart:
    """A chart that is being drawn. `title` heads it; `description` says what it shows to who cannot see it."""

    title: str
    description: str
    x: Axis
    y: Axis
    name: str
    """Of the chart in its page; its elements' ids begin with it."""
    width: int = 520
    height: int = 346
    parts: list[str] = field(default_factory=list)
    ends: list[tuple[float, float, str, str]] = field(default_factory=list)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Pixels of a point."""
        wide, high = self.width - LEFT - RIGHT, self.height - TOP - BOTTOM
        return LEFT + wide * self.x.place(x), TOP + high * (1 - self.y.place(y))

    def line(self, points: Sequence[tuple[float, float]], css: str, label: str = "") -> None:
        """A line through points that are finite, and a label at its end."""
        placed = [self.at(x, y) for x, y in points if math.isfinite(y)]
        if len(placed) > 1:
            path = " ".join(f"{'L' if i else 'M'}{x:.1f} {y:.1f}" for i, (x, y) in enumerate(placed))
            self.parts.append(f'<path class="line {css}" d="{path}"/>')
        if placed and label:
            self.ends.append((*placed[-1], label, css))

    def mark(self, x: float, y: float, shape: str, css: str, tip: str, hollow: bool = False) -> None:
        """A mark with a text that shows under the pointer."""
        if not math.isfinite(y):
            return
        px, py = self.at(x, y)
        kind = "mark hollow" if hollow else "mark"
        self.parts.append(
            f'<g class="{kind} {css}"><title>{escape(tip)}</title>'
            f'<circle class="hit" cx="{px:.1f}" cy="{py:.1f}" r="11"/>{_shape(shape, px, py)}</g>'
        )

    def note(self, x: float, y: float, text: str, css: str) -> None:
        """A text below a point."""
        px, py = self.at(x, y)
        self.parts.append(
            f'<text class="end {css}" x="{px:.1f}" y="{py + 19:.1f}" text-anchor="middle">{escape(text)}</text>'
        )

    def level(self, y: float, label: str) -> None:
        """A line across the chart, named at its left end."""
        if self.y.holds(y):
            _, py = self.at(self._some_x(), y)
            self.parts.append(f'<path class="level" d="M{LEFT} {py:.1f}H{self.width - RIGHT}"/>')
            self.parts.append(f'<text class="level" x="{LEFT + 4}" y="{py - 4:.1f}">{escape(label)}</text>')

    def upright(self, x: float, label: str) -> None:
        """A line up the chart, named at its upper end."""
        if self.x.holds(x):
            px = LEFT + (self.width - LEFT - RIGHT) * self.x.place(x)
            self.parts.append(f'<path class="level" d="M{px:.1f} {TOP}V{self.height - BOTTOM}"/>')
            self.parts.append(f'<text class="level" x="{px + 4:.1f}" y="{TOP + 11}">{escape(label)}</text>')

    def text(self) -> str:
        """The SVG element."""
        inside = f"{self._axes()}{''.join(self.parts)}{''.join(self._labels())}"
        return drawing(self.name, self.title, self.description, self.width, self.height, inside)

    def _some_x(self) -> float:
        return self.x.ticks[0][0]

    def _axes(self) -> str:
        left, right, bottom = LEFT, self.width - RIGHT, self.height - BOTTOM
        parts = []
        for value, text in self.y.ticks:
            _, y = self.at(self._some_x(), value)
            parts.append(f'<path class="grid" d="M{left} {y:.1f}H{right}"/>')
            parts.append(f'<text class="tick" x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
        free = left - 100.0
        for value, text in self.x.ticks:
            x, _ = self.at(value, self.y.ticks[0][0])
            parts.append(f'<path class="grid" d="M{x:.1f} {bottom}v4"/>')
            if x - free >= 9 * len(text):
                parts.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{text}</text>')
                free = x
        parts.append(f'<path class="axis" d="M{left} {bottom}H{right}"/>')
        middle = (left + right) / 2
        name = escape(self.x.name)
        parts.append(f'<text class="name" x="{middle:.0f}" y="{self.height - 8}" text-anchor="middle">{name}</text>')
        parts.append(f'<text class="name" x="{left - 40}" y="{TOP - 22}">{escape(self.y.name)}</text>')
        return "".join(parts)

    def _labels(self) -> list[str]:
        """The labels at the ends of lines, moved apart where they would overlap."""
        parts, free = [], -math.inf
        for x, y, label, css in sorted(self.ends, key=lambda end: end[1]):
            free = y = max(y, free + LABEL_HEIGHT)
            parts.append(f'<text class="end {css}" x="{x + 9:.1f}" y="{y + 4:.1f}">{escape(label)}</text>')
        return parts


def drawing(name: str, title: str, description: str, width: int, height: int, inside: str) -> str:
    """An SVG element with a heading; `name` begins its ids, the title and the description are read out."""
    return (
        f'<svg class="chart" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img" '
        f'aria-labelledby="{name}-title {name}-desc"><title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-desc">{escape(description)}</desc>'
        f'<text class="heading" x="{LEFT - 40}" y="16">{escape(title)}</text>{inside}</svg>'
    )


def _shape(shape: str, x: float, y: float, r: float = 4.5) -> str:
    if shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r - 0.4:.1f}"/>'
    d = r + 1
    outline = {
        "square": f"M{x - r + 0.6:.1f} {y - r + 0.6:.1f}h{2 * r - 1.2:.1f}v{2 * r - 1.2:.1f}h{1.2 - 2 * r:.1f}z",
        "triangle": f"M{x:.1f} {y - r - 0.6:.1f}l{r:.1f} {1.8 * r:.1f}h{-2 * r:.1f}z",
        "diamond": f"M{x:.1f} {y - d:.1f}l{d:.1f} {d:.1f}l{-d:.1f} {d:.1f}l{-d:.1f} {-d:.1f}z",
        "down": f"M{x:.1f} {y + r + 0.6:.1f}l{r:.1f} {-1.8 * r:.1f}h{-2 * r:.1f}z",
        "cross": f"M{x - r:.1f} {y - r:.1f}l{2 * r:.1f} {2 * r:.1f}m0 {-2 * r:.1f}l{-2 * r:.1f} {2 * r:.1f}",
    }[shape]
    return f'<path d="{outline}"/>'


def _round_down(value: float) -> float:
    power = math.floor(math.log10(value))
    return max(m * 10.0**power for m in (1, 2, 5) if m * 10.0**power <= value * (1 + 1e-9))


def _round_up(value: float) -> float:
    power = math.floor(math.log10(value))
    return min(m * 10.0**k for m in (1, 2, 5) for k in (power, power + 1) if m * 10.0**k >= value * (1 - 1e-9))
