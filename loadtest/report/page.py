"""A sweep as one HTML file: everything inline, nothing is asked of a network."""

from __future__ import annotations

import json
import math
from html import escape
from importlib.resources import files

from loadtest.numbers import asked_ms, count, number, share
from loadtest.report.charts import all_charts, shared_rates
from loadtest.report.words import (
    ADVICE,
    answer,
    cell,
    duration,
    limit_words,
    quality_words,
    reply_words,
    same_bytes,
    verdict,
)
from loadtest.sweep.summary import Summary, choose

CAPTIONS = {
    "ladder": "The step count to run as traffic grows, for each deadline; beyond a bar none is known to meet it.",
    "latency-nfe": "Filled marks were measured at that rate, hollow ones lie between two measured rates.",
    "throughput-p99": "Filled marks are knees: the most throughput for its latency. Dashed: the deadlines.",
    "throughput-p50": "The same runs, their medians.",
    "stages": "Means, idle and at the knee: the server's own stages, and what the client saw beside them.",
    "frontier": "Down and left is better.",
}


def page(summary: Summary, deadline: int | None = None) -> str:
    """The HTML text. `deadline`, a number of one of the deadlines, is what the form begins with."""
    charts = all_charts(summary)
    chosen = len(summary.deadlines) // 2 if deadline is None else deadline
    ladder = charts.pop("ladder", "")
    body = [
        f"<h1>Which NFE should you run? <span class='soft'>{escape(summary.model)}</span></h1>",
        f"<p class='soft'>{escape(verdict(summary))}</p>",
        *(f"<p class='warning' role='note'>{escape(text)}</p>" for text in summary.warnings),
        _answers(summary),
        f"<p>{escape(quality_words(summary))}</p>",
        "<div class='charts'>",
        f"<figure>{ladder}<figcaption>{CAPTIONS['ladder']}</figcaption></figure>" if ladder else "",
        _form(summary, chosen),
        "</div>",
        _limits(summary),
        "<h2>Under load</h2>",
        "<div class='charts'>",
        *(f"<figure>{chart}<figcaption>{CAPTIONS[name]}</figcaption></figure>" for name, chart in charts.items()),
        "</div>",
        _invalid(summary),
        _levels(summary),
        _about(summary),
    ]
    style = _file("style.css") + _file("chart.css")
    limits = _limits_of_curves(summary)
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; style-src 'unsafe-inline'; "
        "script-src 'unsafe-inline'; img-src data:\">"
        f"<title>Which NFE should you run? {escape(summary.model)}</title><style>{style}</style></head>"
        f"<body><main>{''.join(body)}</main>"
        f"<script type='application/json' id='found'>{limits}</script><script>{_file('page.js')}</script>"
        "</body></html>\n"
    )


def _answers(summary: Summary) -> str:
    """The answer itself: a line for each deadline."""
    items = (
        f"<li><strong>{asked_ms(deadline)}</strong> {escape(answer(summary, i))}</li>"
        for i, deadline in enumerate(summary.deadlines)
    )
    return f"<ul class='answer'>{''.join(items)}</ul>"


def _limits(summary: Summary) -> str:
    """The table behind the answer: a row for each deadline, a column for each step count."""
    heads = "".join(f"<th scope='col'>{curve.steps} NFE</th>" for curve in summary.curves)
    rows = []
    for i, deadline in enumerate(summary.deadlines):
        best = choose(summary.curves, i)
        cells = []
        for curve in summary.curves:
            css = "run" if curve is best else "no" if curve.limits[i].rate is None else ""
            main, small = cell(curve, i)
            cells.append(f"<td class='{css}'>{escape(main)}<small>{escape(small)}</small></td>")
        rows.append(f"<tr><th scope='row'>{asked_ms(deadline)}</th>{''.join(cells)}</tr>")
    return (
        "<h2>How much traffic each can take</h2>"
        "<div class='scroll' tabindex='0' role='region' aria-label='The highest rate for each deadline'><table>"
        f"<thead><tr><th scope='col'>deadline</th>{heads}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
        f"<p class='soft'>{escape(limit_words(summary))} Shaded: what to run up to that rate.</p>"
    )


def _form(summary: Summary, deadline: int) -> str:
    rates = shared_rates(summary)
    rate = f"{rates[0]:g}" if rates else "1"
    return (
        "<form class='try' id='try' hidden><label>My deadline <input name='deadline' type='number' min='1' step='any' "
        f"inputmode='decimal' value='{1000 * summary.deadlines[deadline]:.9g}'> ms</label>"
        "<label>My traffic <input name='rate' type='number' min='0' step='any' inputmode='decimal' "
        f"value='{rate}'> requests per second</label><output aria-live='polite'></output></form>"
    )


def _limits_of_curves(summary: Summary) -> str:
    """For the form: each step count's (deadline in ms, highest rate), 0 where no rate meets it; and what is unknown.

    `open`: for each deadline whether no rate above the highest that meets it was measured.
    """
    curves = [
        {
            "steps": curve.steps,
            "quality": curve.quality,
            "open": [limit.unbounded for limit in curve.limits],
            "limits": [[round(1000 * limit.deadline, 3), limit.rate or 0] for limit in curve.limits],
        }
        for curve in summary.curves
    ]
    numbers = range(len(summary.deadlines))
    unknown = [str(curve.steps) for curve in summary.curves if any(curve.unknown(i) for i in numbers)]
    found = {"curves": curves, "unknown": ", ".join(unknown)}
    return json.dumps(found, allow_nan=False).replace("<", "\\u003c")


def _invalid(summary: Summary) -> str:
    """The runs that were left out, each with its reason: a reader must see that they were made."""
    if not summary.invalid:
        return ""
    runs = count(len(summary.invalid), "invalid run")
    says = "it says" if len(summary.invalid) == 1 else "they say"
    items = "".join(
        f"<li>{one.steps} NFE {'idle' if one.rate is None else f'at {number(one.rate)}/s'}: {escape(one.why)}</li>"
        for one in summary.invalid
    )
    return (
        f"<section class='warning'><strong>{runs}</strong>, in no figure here: the client did not "
        f"keep its schedule, so {says} nothing of the server. {ADVICE}<ul>{items}</ul></section>"
    )


def _levels(summary: Summary) -> str:
    heads = ("NFE", "offered", "runs", "sent", "well", "answered/s", "p50", "p90", "p99", "mean", "same bytes")
    rows = []
    for curve in summary.curves:
        for level in (*([curve.idle] if curve.idle else []), *curve.levels):
            offered = "idle" if level.rate is None else f"{number(level.rate)}/s"
            quantiles = ((level.p50, 0.5), (level.p90, 0.9), (level.p99, 0.99))
            values = [*(_ms(value, level.few(q)) for value, q in quantiles), _ms(level.mean)]
            mark = " (knee)" if level.rate is not None and level.rate == curve.knee else ""
            cells = (
                offered + mark,
                level.runs,
                f"{level.sent:,}",
                share(level.answered, level.sent),
                number(level.throughput),
                *values,
                same_bytes(level.compared, level.different),
            )
            rows.append(f"<tr><th scope='row'>{curve.steps}</th>{''.join(f'<td>{one}</td>' for one in cells)}</tr>")
    return (
        "<details><summary>All rates, as numbers</summary><div class='scroll' tabindex='0' role='region' "
        "aria-label='All rates'><table><thead><tr>"
        + "".join(f"<th scope='col'>{head}</th>" for head in heads)
        + f"</tr></thead><tbody>{''.join(rows)}</tbody></table></div><p class='soft'>Milliseconds, from the "
        "intended sending. Same bytes: of the replies that were compared with the idle server's. "
        "“late” is a quantile that failed or refused requests reach into; ≥ marks the slowest of "
        "too few requests for it.</p></details>"
    )


def _ms(seconds: float | None, few: bool = False) -> str:
    if seconds is None:
        return ""
    if math.isinf(seconds):
        return "late"
    return f"{'≥ ' if few else ''}{number(1000 * seconds)}"


def _about(summary: Summary) -> str:
    facts = {
        "Server": summary.url,
        "Client": summary.machine,
        "Begun": summary.when,
        "Replies": reply_words(summary).removeprefix("Replies: "),
        "Took": duration(summary.seconds),
        "Command": summary.command,
    }
    items = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in facts.items() if value)
    return f"<h2>About this sweep</h2><dl>{items}</dl>"


def _file(name: str) -> str:
    return files("loadtest.report").joinpath(name).read_text(encoding="utf-8")
