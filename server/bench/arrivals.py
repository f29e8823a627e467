"""Which requests are sent, and when: drawn before a run, so that a slow server cannot slow its load down."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

Write = Callable[[int, int], bytes]
"""The bytes of a request for (steps, seed)."""

Mix = tuple[tuple[int, float], ...]
"""(steps, share) of each kind of request; the shares add up to 1."""


class Ask(NamedTuple):
    """A request to be sent."""

    at: float
    """Seconds after the start of the run; a closed loop ignores it."""
    steps: int
    data: bytes


def poisson(rate: float, seconds: float, rng: random.Random) -> Iterator[float]:
    """The times of a Poisson process of `rate` per second over `seconds`, rising."""
    if rate <= 0:
        raise ValueError(f"a rate is above 0 per second, not {rate}")
    at = rng.expovariate(rate)
    while at < seconds:
        yield at
        at += rng.expovariate(rate)


def draw(times: Iterator[float], mix: Mix, write: Write, rng: random.Random, first_seed: int = 0) -> Iterator[Ask]:
    """An Ask at each time, its steps drawn from `mix`, each with a seed of its own."""
    kinds, shares = zip(*mix, strict=True)
    for seed, at in enumerate(times, start=first_seed):
        [steps] = rng.choices(kinds, shares)
        yield Ask(at, steps, write(steps, seed))


def endless(mix: Mix, write: Write, rng: random.Random, first_seed: int = 0) -> Iterator[Ask]:
    """Asks for a closed loop."""
    return draw(itertools.repeat(0.0), mix, write, rng, first_seed)
