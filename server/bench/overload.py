"""Twice as many requests as the server can do, arriving at random: how many are answered in time, and what the rest
costs. First over an engine that sleeps, so that refusing costs the engine nothing; then over the real one.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from server.bench.arrivals import Ask, draw, poisson
from server.bench.client import Answer, Load
from server.bench.contenders import Contender, Running
from server.bench.figures import Target, median, milliseconds, percentile
from server.bench.idle import latencies
from server.bench.processes import cpu_seconds
from server.bench.setup import CONNECTIONS, Setup
from server.bench.sleeping import ALPHA, BEST, BETA
from server.bench.throughput import rate, warm_seconds

TIMES = 2.0
DEADLINE = 1.0
"""Seconds, the server's default."""

REFUSAL_LIMIT = 10.0
RECOVERY_LIMIT = 0.5

PROBE_SECONDS = 2.0
PROBE_EVERY = 0.025
"""After the overload: single requests that show when latency is idle again."""

IDLE_AGAIN = 1.5
"""Times the idle median, at or below which a probe counts as idle; three in a row must be."""

PROBE_SEED = 2 * 10**9


def measure(setup: Setup) -> list[Target]:
    """The sleeping engine, the real one, and each peer (whose figures are printed only)."""
    ours = setup.ours
    module = (sys.executable, "-P", "-m", "server.bench.sleeping")
    sleeping = replace(ours, name="longjump, engine sleeps", command=(*module, *ours.command[3:]))
    targets = []
    cost = f"{1000 * ALPHA:g} ms + {1000 * BETA:g} ms a row"
    print(f"an engine that sleeps {cost} does at most {BEST:.0f} rows/s in each worker")
    for contender, limit in ((sleeping, 0.95), (ours, 0.8)):
        targets += _measure(setup, contender, limit)
    for peer in setup.peers:
        _measure(setup, peer, 0.0)
    return targets


def _measure(setup: Setup, contender: Contender, limit: float) -> list[Target]:
    with contender.start() as server:
        [(steps, _)] = setup.few
        idle = median(latencies(contender, server.address, steps, max(5, setup.requests // 4)))
        used = _Used(server)
        capacity = rate(setup, contender, server.address, setup.few)
        alone = used.since(server)
        rng = setup.rng()
        arrivals = poisson(TIMES * capacity, setup.seconds, rng)
        asks = list(draw(arrivals, setup.few, contender.write, rng, first_seed=10**9))
        asks += probes(contender, steps, setup.seconds)
        used = _Used(server)
        with Load(server.address, CONNECTIONS) as load:
            answers = load.open_loop(asks, grace=3.0)
        over = used.since(server)
    offered = [answer for answer in answers if answer.intended < setup.seconds]
    good = within(offered, setup.seconds)
    accepted = [answer.latency for answer in offered if answer.status == 200]
    refused = [answer.latency for answer in offered if answer.status == 429]
    statuses = {status: sum(answer.status == status for answer in offered) for status in {a.status for a in offered}}
    again = recovery([answer for answer in answers if answer.intended >= setup.seconds], setup.seconds, idle)
    goodput = good / setup.seconds
    name = contender.name
    print(f"overload of {name}: {len(offered)} requests in {setup.seconds:g} s, {TIMES:g} x its {capacity:.0f}/s")
    print(f"  in time {goodput:.0f}/s = {goodput / capacity:.2f} of capacity; by status (0 is none) {statuses}")
    print(f"  accepted: {milliseconds(accepted)};  refused: {milliseconds(refused)}")
    print(f"  idle latency {1000 * idle:.1f} ms, again {again:.2f} s after the last one")
    answered = capacity * (setup.seconds + warm_seconds(setup))
    costs = _costs(alone, over, answered, len(offered), len(refused))
    print(f"  processor time: {costs}")
    beside = f"capacity {capacity:.0f}/s"
    if refused:
        beside += f"; a refusal costs {costs.split('; ')[-1]}"
    targets = [
        Target(f"overload, {name}: goodput of capacity", goodput / capacity, limit, at_least=True, beside=beside),
        Target(f"overload, {name}: p99 of accepted", percentile(accepted, 99), DEADLINE, "s"),
        Target(f"overload, {name}: idle again after", again, RECOVERY_LIMIT, "s", beside=f"idle {1000 * idle:.1f} ms"),
    ]
    if refused:
        worst = 1000 * percentile(refused, 99)
        targets.append(Target(f"overload, {name}: p99 of refusals", worst, REFUSAL_LIMIT, "ms"))
    return targets


class _Used:
    """Processor seconds so far of the API process, of its workers, and of this process."""

    def __init__(self, server: Running) -> None:
        first, *others = server.processes
        self.api = cpu_seconds(first)
        self.workers = sum(map(cpu_seconds, others))
        self.client = time.process_time()

    def since(self, server: Running) -> _Used:
        """What was used since then."""
        used = _Used(server)
        used.api -= self.api
        used.workers -= self.workers
        used.client -= self.client
        return used


def _costs(alone: _Used, over: _Used, answers: float, offered: int, refused: int) -> str:
    """Where the processor time of an overload went, and what a refusal costs.

    A refusal's share of the API process is what that used beyond the price of an answer without overload.
    """
    text = f"API {over.api:.1f} s, workers {over.workers:.1f} s, client {over.client:.1f} s"
    if not refused or not answers:
        return text
    each = (over.api - (offered - refused) * alone.api / answers) / refused
    of_client = 1000 * over.client / offered
    return f"{text}; {1000 * max(0.0, each):.2f} ms of the API process and {of_client:.2f} of the client each"


def probes(contender: Contender, steps: int, start: float) -> list[Ask]:
    """Single requests from `start` on, evenly spaced."""
    count = round(PROBE_SECONDS / PROBE_EVERY)
    return [Ask(start + i * PROBE_EVERY, steps, contender.write(steps, PROBE_SEED + i)) for i in range(count)]


def within(answers: Sequence[Answer], seconds: float) -> int:
    """How many were answered with a picture within the deadline, and before the end of the window."""
    return sum(a.status == 200 and a.latency <= DEADLINE and a.done <= seconds for a in answers)


def recovery(answers: Sequence[Answer], end: float, idle: float) -> float:
    """Seconds from `end` until the first of three probes in a row that take no more than IDLE_AGAIN times `idle`.

    Infinite if there are none.
    """
    ordered = sorted(answers, key=lambda answer: answer.intended)
    quick = [answer.status == 200 and answer.latency <= IDLE_AGAIN * idle for answer in ordered]
    for i in range(len(quick) - 2):
        if all(quick[i : i + 3]):
            return ordered[i].intended - end
    return math.inf
