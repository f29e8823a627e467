"""Find which NFE to run: for each step count, how latency grows with the rate, and the highest rate within a deadline.

    longjump loadtest sweep                                  the server on this machine, all its step counts
    longjump loadtest sweep --steps 1,4 --slo 30,80 --minutes 4
    longjump loadtest sweep --out sweep.json --png plots     where the result goes; charts as pictures too
    longjump loadtest sweep --out sweep.json --resume --minutes 15

Rates rise until the server is overloaded; then each deadline's border is bisected, and both its ends are measured
again with other arrivals, at times spread over the sweep. All step counts take turns, so a sweep that is cut short, by
--minutes or by Ctrl-C, has something to say about each. Everything is written after every run; --resume goes on.

A rate meets a deadline if 99 % of what was sent was answered well within it, counted from the time at which it should
have been sent: what failed, was refused or never came is late. Written are the result (JSON, all runs within) and a
report (HTML in one file) beside it.

The idle server is asked a few requests of each step count first; some of the load repeats them, and after each run
their bytes are compared (--verify).

Exit code: 0; 1 if the server went away or replies were wrong; 2 for an error in what was asked; 130 after Ctrl-C, which
still shows and writes what was measured.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from pathlib import Path

from loadtest import arguments
from loadtest.differences import mixed
from loadtest.numbers import asked_ms
from loadtest.report.command import add_png, write_report
from loadtest.run import URL, check_out
from loadtest.settings import Settings
from loadtest.sweep.borders import Plan
from loadtest.sweep.result import Asked, Sweep, read_sweep

LATENESS = 0.1
"""Of the shortest deadline: the client's p99 lateness that is still valid."""

MINUTES = 9.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `longjump loadtest sweep`."""
    defaults = Plan((1,), (0.05, 0.1, 0.2), 60.0 * MINUTES)
    parser.add_argument("url", nargs="?", default=URL, metavar="URL", help="of the server (default: %(default)s)")
    found = parser.add_argument_group("what to find")
    found.add_argument("--steps", type=_steps, metavar="K,...", help="step counts (default: all that the model has)")
    found.add_argument(
        "--slo",
        type=_deadlines,
        default=defaults.deadlines,
        metavar="MS,...",
        help="deadlines in milliseconds (default: 50,100,200)",
    )
    found.add_argument(
        "--percentile",
        type=_percentile,
        default=defaults.share,
        metavar="P",
        help="of the requests, that has to meet a deadline (default: 99)",
    )
    how = parser.add_argument_group("how long, how closely")
    how.add_argument(
        "--minutes", type=arguments.number, default=MINUTES, metavar="M", help="for all of it (default: %(default)g)"
    )
    how.add_argument(
        "--repeats",
        type=arguments.positive,
        default=defaults.repeats,
        metavar="N",
        help="runs at both ends of a border, if there is time (default: %(default)s)",
    )
    how.add_argument(
        "--resolution",
        type=arguments.number,
        default=defaults.resolution,
        metavar="X",
        help="how far apart these ends may be, relatively (default: %(default)g)",
    )
    how.add_argument(
        "--samples",
        type=arguments.positive,
        default=defaults.samples,
        metavar="N",
        help="requests of a run, if 5 to 15 seconds are enough for them (default: %(default)s)",
    )
    how.add_argument("--seed", type=arguments.seed, metavar="N", help="of arrivals and images (default: drawn)")
    asked = parser.add_argument_group("requests")
    arguments.add_requests(asked)
    arguments.add_verify(asked)
    asked.add_argument(
        "--processes", type=arguments.positive, default=1, metavar="N", help="of the client (default: %(default)s)"
    )
    output = parser.add_argument_group("output")
    output.add_argument("--out", type=Path, metavar="FILE.json", help="(default: sweep-<date>-<time>.json)")
    output.add_argument("--resume", action="store_true", help="go on with the sweep in --out; --minutes is for both")
    add_png(output)
    output.add_argument("--quiet", action="store_true", help="no progress on stderr")


def run(args: argparse.Namespace) -> int:
    """Sweep, and write and print what was found; the exit code."""
    from loadtest.measure import measure
    from loadtest.report.terminal import table
    from loadtest.sweep.conduct import Aborted, conduct
    from loadtest.sweep.findings import summary
    from loadtest.target import References, find

    if args.resume and args.out is None:
        raise ValueError("--resume goes on with a sweep that is there: say which, --out sweep.json")
    out = args.out or Path(f"sweep-{datetime.now():%Y%m%d-%H%M%S}.json")
    check_out(out)
    if args.resume and not out.exists():
        raise ValueError(f"--resume: there is no {out} to go on with; without --resume it is begun")
    if out.suffix == ".html":
        name = out.with_suffix(".json")
        raise ValueError(f"--out {out}: the report takes that name; give the result's, such as {name}")
    base = _base(args)
    model = find(base).model or {}
    steps = args.steps or _all_steps(model)
    unknown = sorted(set(steps) - set(_all_steps(model))) if "steps" in model else []
    if unknown:
        raise ValueError(f"--steps {unknown[0]}: {model.get('id')} has {', '.join(map(str, _all_steps(model)))}")
    asked = Asked(
        url=base.url,
        steps=steps,
        deadlines=args.slo,
        share=args.percentile,
        budget=60 * args.minutes,
        resolution=args.resolution,
        repeats=args.repeats,
        samples=args.samples,
        seed=secrets.randbits(31) if args.seed is None else args.seed,
    )
    before = _before(out, asked, base, model) if args.resume else None
    if before is None and out.exists():
        raise ValueError(f"--out {out} is there already; --resume goes on with it, another name keeps it")
    if before is not None:
        asked = asked.model_copy(update={"seed": before.asked.seed})

    def say(line: str) -> None:
        if not args.quiet:
            print(line, file=sys.stderr, flush=True)

    say(f"sweep of {', '.join(map(str, steps))} NFE at {base.url}, {args.minutes:g} minutes at most; result: {out}")
    gone = ""
    try:
        sweep = conduct(asked, base, partial(measure, known=References()), out, sys.argv[1:], before, say)
    except Aborted as error:
        gone, sweep = str(error), read_sweep(out)
    if not sweep.runs:
        print("nothing was measured, and nothing written", file=sys.stderr)
        return 130
    found = summary(sweep)
    paths = write_report(found, out.with_suffix(".html"), args.png)
    print(f"\n{table(found)}\n\nwritten to {', '.join(map(str, (out, *paths)))}")
    if gone:
        print(f"longjump loadtest sweep: error: {gone}", file=sys.stderr)
        return 1
    if sweep.interrupted:
        return 130
    wrong = any(one.checks.wrong or one.checks.same_bytes == "no" for one in sweep.runs)
    return 1 if wrong or not any(curve.levels for curve in found.curves) else 0


def _base(args: argparse.Namespace) -> Settings:
    """What all runs share."""
    return Settings(
        url=args.url if "://" in args.url else f"http://{args.url}",
        concurrency=args.processes,
        steps={"auto": 1.0} if args.steps is None else dict.fromkeys(args.steps, 1.0),
        labels=args.labels,
        formats=args.formats,
        model=args.model,
        fields=dict(args.field),
        headers=dict(args.header),
        max_lateness=LATENESS * min(args.slo),
        processes=args.processes,
        verify=args.verify,
    )


def _all_steps(model: dict[str, object]) -> tuple[int, ...]:
    steps = model.get("steps")
    if not isinstance(steps, list) or not all(isinstance(one, int) for one in steps) or not steps:
        raise ValueError("the server does not say which step counts it has; give them: --steps 1,2,4,8")
    return tuple(sorted(steps))


def _before(out: Path, asked: Asked, base: Settings, model: dict[str, object]) -> Sweep:
    """The sweep to go on with. ValueError if it asked for something else, or of another server."""
    before = read_sweep(out)
    was, now = _asked(before.asked), _asked(asked)
    if before.runs:
        first = before.runs[0]
        was |= _requests(first.load.labels, first.load.formats, first.load.fields, first.lateness.allowed)
        now |= _requests(base.labels, base.formats, base.fields, base.max_lateness)
        if first.server.model:
            was["the model"], now["the model"] = str(first.server.model.get("id")), str(model.get("id"))
    for option, said in was.items():
        if said != now[option]:
            raise ValueError(
                f"--resume: {out} was made with {option} {said}, not {now[option]}; ask for the same, or begin anew "
                "with another --out"
            )
    known = before.runs[0].server.model if before.runs else None
    if known and known.get("fingerprint") != model.get("fingerprint"):
        raise ValueError(f"--resume: {out} is of a server with another fingerprint; begin anew")
    return before


def _asked(asked: Asked) -> dict[str, str]:
    """Option -> what a sweep looked for, as it is given."""
    return {
        "the address": asked.url,
        "--steps": ",".join(map(str, asked.steps)),
        "--slo": ",".join(f"{1000 * one:.9g}" for one in asked.deadlines),
        "--percentile": f"{100 * asked.share:.6g}",
    }


def _requests(
    labels: Mapping[str, float], formats: Mapping[str, float], fields: Mapping[str, str], lateness: float | None
) -> dict[str, str]:
    """Option -> what a sweep's requests were, and how late they might be, in words."""

    def shares(weights: Mapping[str, float]) -> str:
        total = sum(weights.values())
        return mixed({name: weights[name] / total for name in sorted(weights)}, "left out")

    return {
        "--labels": shares(labels),
        "--formats": shares(formats),
        "--field": " ".join(f"{name}={fields[name]}" for name in sorted(fields)) or "left out",
        "requests late by at most": "no limit" if lateness is None else asked_ms(lateness),
    }


def _steps(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of step counts, such as 1,2,4,8")
    return tuple(sorted({int(part) for part in parts}))


def _deadlines(text: str) -> tuple[float, ...]:
    return tuple(sorted({arguments.milliseconds(part.strip()) for part in text.split(",")}))


def _percentile(text: str) -> float:
    value = arguments.number(text)
    if value >= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a percentile below 100, such as 99")
    return round(value / 100, 6)
