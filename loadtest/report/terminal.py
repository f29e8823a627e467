"""A sweep as text for a terminal: the answer first."""

from __future__ import annotations

import textwrap
from collections import Counter

from loadtest.numbers import asked_ms, count, milliseconds, number
from loadtest.report.words import ADVICE, answer, cell, limit_words, quality_words, reply_words, same_bytes, verdict
from loadtest.sweep.summary import Curve, Summary


def table(summary: Summary, width: int = 100) -> str:
    """The text, its sentences wrapped at `width`."""
    lines = [f"Which NFE should you run? {summary.model}", ""]
    for i, deadline in enumerate(summary.deadlines):
        lines.append(f"  {asked_ms(deadline):>8}  {answer(summary, i)}")
    lines += ["", *_wrapped(quality_words(summary), width), ""]
    rows = [["deadline", *(f"{curve.steps} NFE" for curve in summary.curves)]]
    for i, deadline in enumerate(summary.deadlines):
        cells = [cell(curve, i) for curve in summary.curves]
        rows.append([asked_ms(deadline), *(main for main, _ in cells)])
        rows.append(["", *(small for _, small in cells)])
    rows.append(["idle p50", *(_idle(curve.idle.p50 if curve.idle else None) for curve in summary.curves)])
    rows.append(["knee", *("" if curve.knee is None else f"{number(curve.knee)}/s" for curve in summary.curves)])
    rows.append(["peak", *(f"{number(curve.peak)}/s" if curve.levels else "" for curve in summary.curves)])
    if any(curve.checks and curve.checks.compared for curve in summary.curves):
        rows.append(["same bytes", *(_same_bytes(curve) for curve in summary.curves)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        first, *others = (text.rjust(wide) for text, wide in zip(row, widths))
        lines.append("  ".join([row[0].ljust(len(first)), *others]).rstrip())
    lines += ["", *_wrapped(limit_words(summary), width)]
    if said := reply_words(summary):
        lines += _wrapped(said, width)
    if summary.invalid:
        places = Counter(
            f"{one.steps} NFE {'idle' if one.rate is None else f'at {number(one.rate)}/s'}" for one in summary.invalid
        )
        where = "; ".join(f"{place}{f', {many} runs' if many > 1 else ''}" for place, many in places.items())
        lines += [
            "",
            *_wrapped(
                f"{count(len(summary.invalid), 'run')} INVALID, in no figure: the client did not keep its schedule "
                f"({where}). {ADVICE}",
                width,
            ),
        ]
    lines += ["", *(line for text in (*summary.warnings, verdict(summary)) for line in _wrapped(text, width))]
    return "\n".join(lines)


def _idle(seconds: float | None) -> str:
    return "" if seconds is None else milliseconds(seconds)


def _same_bytes(curve: Curve) -> str:
    return same_bytes(curve.checks.compared, curve.checks.different) if curve.checks else ""


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width)
