"""As many one-step PNGs as there can be: a closed loop, in rounds with the raw loop and the peers."""

from __future__ import annotations

from contextlib import ExitStack

from server.bench.arrivals import Mix, endless
from server.bench.client import PATIENCE, Address, Load
from server.bench.contenders import Contender
from server.bench.figures import Target, median
from server.bench.floor import Floor, Floors
from server.bench.peers import MOSEC
from server.bench.setup import CONNECTIONS, Setup

LIMIT = 0.95
PNG_LIMIT = 1.05
PNG_IMAGES = 64
ROUNDS = 3

FEWEST = 2 * CONNECTIONS
"""Answers that a rate is counted of, however short its stretch, unless PATIENCE ends before: on a busy machine none may
come in it, and one burst to all connections is no rate."""

TRY_PART = 0.2
"""Of a round's seconds, for which the raw loop tries each batch."""


def measure(setup: Setup) -> list[Target]:
    """Rounds of raw loop, our server and the peers in turn; ratios are taken within a round."""
    contenders = (setup.ours, *setup.peers)
    with ExitStack() as stack:
        floors = stack.enter_context(Floors(setup.bundle, setup.workers, setup.threads))
        servers = [stack.enter_context(contender.start()) for contender in contenders]
        batch, rates = floors.best_batch(setup.seconds * TRY_PART)
        raw: list[float] = []
        ours: list[list[float]] = [[] for _ in contenders]
        for number in range(ROUNDS):
            raw.append(floors.rate(batch, setup.seconds))
            for contender, server, found in zip(contenders, servers, ours):
                first = number * 10**7  # no seed twice: a cache must not help
                found.append(rate(setup, contender, server.address, setup.few, first))
    tried = ", ".join(f"{rate:.0f} in batches of {size}" for size, rate in rates.items())
    split = f"{setup.workers} processes of {setup.threads} threads" if setup.workers > 1 else f"{setup.threads} threads"
    print(f"throughput, {setup.steps[0]} step, {CONNECTIONS} connections, {ROUNDS} rounds: images per second, medians")
    print(f"  raw loop ({split}: noise, engine, decode, PNG, one after another; nothing overlaps)")
    print(f"    tried: {tried}")
    print(f"    best batch {batch:<22}{median(raw):.0f}")
    for contender, found in zip(contenders, ours):
        print(f"  {contender.name:<32} {median(found):.0f}")
    ratio = median([one / other for one, other in zip(ours[0], raw)])
    beside = f"raw loop {median(raw):.0f}/s, server {median(ours[0]):.0f}/s"
    targets = [Target("throughput, of the raw loop", ratio, LIMIT, at_least=True, beside=beside)]
    for contender, found in zip(contenders[1:], ours[1:]):
        if contender.name == MOSEC:
            ratio = median([one / other for one, other in zip(ours[0], found)])
            beside = f"mosec {median(found):.0f}/s"
            targets.append(Target("throughput, of mosec's", ratio, 1.0, at_least=True, beside=beside))
    if setup.image:
        with Floor(setup.bundle, setup.threads) as floor:
            ratio = floor.png_ratio(PNG_IMAGES, setup.steps[0])
        targets.append(Target("PNG bytes, of Pillow's at level 1", ratio, PNG_LIMIT, beside=f"{PNG_IMAGES} pictures"))
    return targets


def warm_seconds(setup: Setup) -> float:
    """How long `rate` warms."""
    return min(1.0, setup.seconds / 4)


def rate(setup: Setup, contender: Contender, address: Address, mix: Mix, first_seed: int = 0) -> float:
    """Answers per second of a closed loop of `setup.seconds` and at least FEWEST answers, after a short one that warms.

    OSError if some were not 200, or none came: the figure would be of something else.
    """
    asks = endless(mix, contender.write_patient, setup.rng(), first_seed)
    with Load(address, CONNECTIONS) as load:
        load.closed_loop(asks, warm_seconds(setup))
    with Load(address, CONNECTIONS) as load:
        answers = load.closed_loop(asks, setup.seconds, FEWEST)
    others = {answer.status for answer in answers} - {200}
    if others:
        raise OSError(f"{contender.name} answered {sorted(others)} to {CONNECTIONS} connections at once")
    if not answers:
        raise OSError(f"{contender.name} answered nothing in {setup.seconds + PATIENCE:g} s")
    return len(answers) / max(setup.seconds, answers[-1].done)
