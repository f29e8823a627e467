"""When requests are sent: drawn before a run, so that a slow server cannot slow its load down. Pure."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from loadtest.settings import Steps

Times = NDArray[np.float64]
"""Seconds after the start of a run, rising."""

MOST_REQUESTS = 5_000_000
"""Of one run: a schedule is held in memory."""

BURSTIEST = 20.0
"""The largest coefficient of variation: beyond it, a run of minutes is a handful of bursts."""

TRACE_COLUMNS = ("at", "steps", "label", "format", "seed")


def poisson(rate: float, seconds: float, rng: np.random.Generator) -> Times:
    """A Poisson process of `rate` per second: what many people make who know nothing of one another."""
    return _renewal(lambda count: rng.exponential(1 / rate, count), rate, seconds)


def constant(rate: float, seconds: float) -> Times:
    """One every 1/rate seconds."""
    _bounded(rate, seconds)
    return np.arange(math.ceil(rate * seconds - 1e-9)) / rate


def bursty(rate: float, seconds: float, cv: float, rng: np.random.Generator) -> Times:
    """Gaps of a gamma distribution with the mean 1/rate and the coefficient of variation `cv`; 1 would be Poisson.

    Gamma gaps are what measured traffic of inference services is fitted with (BurstGPT, arXiv:2401.17644). It begins
    in the middle of things: with an ordinary first gap, one that follows an arrival, bursts would crowd the begin.
    """
    if not 0 < cv <= BURSTIEST:
        raise ValueError(
            f"cv, the coefficient of variation of the gaps, is above 0 and at most {BURSTIEST:g}, not {cv}"
        )
    _bounded(rate, seconds)
    shape = 1 / cv**2
    before = 50 * max(1.0, cv**2) / rate
    times = _renewal(lambda count: rng.gamma(shape, cv**2 / rate, count), rate, before + seconds)
    return times[times >= before] - before


def _renewal(gaps: Callable[[int], Times], rate: float, seconds: float) -> Times:
    _bounded(rate, seconds)
    chunk = max(64, math.ceil(rate * seconds))
    parts, last = list[Times](), 0.0
    while last < seconds:
        parts.append(last + np.cumsum(gaps(chunk)))
        last = float(parts[-1][-1])
    times = np.concatenate(parts)
    return times[times < seconds]


def _bounded(rate: float, seconds: float) -> None:
    if not (0 < rate < math.inf and 0 < seconds < math.inf):
        raise ValueError(f"a schedule has a rate and a time above 0, not {rate} per second for {seconds} s")
    if rate * seconds > MOST_REQUESTS:
        raise ValueError(
            f"{rate:g} per second for {seconds:g} s, warm-up included, are {rate * seconds:,.0f} requests; "
            f"a run holds at most {MOST_REQUESTS:,}"
        )


class Recorded(NamedTuple):
    """A line of a trace."""

    at: float
    """Seconds after the first line."""
    steps: Steps | None
    label: str | None
    format: str | None
    seed: int | None
    """None: not in the trace, and drawn like any other request's."""


def read_trace(path: Path, speed: float = 1.0) -> list[Recorded]:
    """The requests of a CSV file whose first line names its columns: `at` in seconds, and any of steps, label, format
    and seed. ValueError that names the line, if one is not right.

    `speed`: how many times faster it is sent than it was recorded.
    """
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        names = [name.strip() for name in rows.fieldnames or ()]
        if "at" not in names or set(names) - set(TRACE_COLUMNS):
            columns = ", ".join(TRACE_COLUMNS)
            raise ValueError(f"{path}: the first line names the columns, at and any of {columns}; it has {names}")
        rows.fieldnames = names
        found, first = list[Recorded](), 0.0
        for row in rows:
            one = _recorded(row, f"{path}:{rows.line_num}")
            first = first if found else one.at
            at = (one.at - first) / speed
            if found and at < found[-1].at:
                raise ValueError(f"{path}:{rows.line_num}: at={one.at:g} is before the line above; sort the file by at")
            found.append(one._replace(at=at))
            if len(found) > MOST_REQUESTS:
                raise ValueError(f"{path} has more than {MOST_REQUESTS:,} requests")
    if not found:
        raise ValueError(f"{path} holds no request")
    return found


def _recorded(row: dict[str | None, str | None], where: str) -> Recorded:
    if None in row or None in row.values():
        raise ValueError(f"{where}: this line has more or fewer fields than the first")
    given = {name: value.strip() for name, value in row.items() if name and value and value.strip()}
    try:
        at = float(given.get("at", ""))
    except ValueError:
        at = math.nan
    if not math.isfinite(at):
        raise ValueError(f"{where}: at={given.get('at', '')!r} is not a number of seconds")
    steps, seed = given.get("steps"), given.get("seed")
    if steps is not None and steps != "auto" and not (steps.isdecimal() and int(steps)):
        raise ValueError(f"{where}: steps={steps!r} is neither a whole number above 0 nor auto")
    if seed is not None and not (seed.isdecimal() and int(seed) < 2**63):
        raise ValueError(f"{where}: seed={seed!r} is not a whole number from 0 to {2**63 - 1}")
    return Recorded(
        at,
        None if steps is None else "auto" if steps == "auto" else int(steps),
        given.get("label"),
        given.get("format"),
        None if seed is None else int(seed),
    )
