"""Ten thousand requests under random load: every answer is, byte for byte, what the idle server gives."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from server.workers import DEMO

from .conftest import Start

REQUESTS = 10_000
DISTINCT = 400
CLIENTS = 48
ALONE = {"cache-control": "no-store"}
"""Neither from the cache nor by joining an identical request: each is run."""


def targets(count: int, most: int, labels: int, rng: random.Random) -> list[str]:
    """Different requests: mostly of one step, some of more, some for several images, with and without a label."""
    made = []
    for seed in range(count):
        steps = rng.choices([1, 2, 4, most], [0.6, 0.2, 0.1, 0.1])[0]
        n = rng.choices([1, 2, 5], [0.9, 0.06, 0.04])[0]
        label = f"&label={rng.randrange(labels)}" if rng.random() < 0.5 else ""
        made.append(f"/generate?seed={1000 * seed}&steps={steps}&n={n}&format={rng.choice(['png', 'npy'])}{label}")
    return made


def load(start: Start, bundle: Path, most: int, labels: int, requests: int, distinct: int, **environment: str) -> None:
    """`environment` is of the worker that has the engine in hand; without, it is the real front door."""
    rng = random.Random(5)
    options = ("--cpu-workers", "2", "--threads", "1", "--max-row-steps", "1000000")
    server = start(bundle, *options, fake=bool(environment), **environment)
    pool = targets(distinct, most, labels, rng)
    idle = {target: server.client.post(target, headers=ALONE).content for target in pool}
    assert len(set(idle.values())) == distinct, "control: different requests, different bytes"
    ticks = server.metric("longjump_tick_rows_count")

    def ask(target: str) -> bool:
        answer = server.client.post(target, headers=ALONE)
        assert answer.status_code == 200, answer.text
        return answer.content == idle[target]

    with ThreadPoolExecutor(CLIENTS) as clients:
        asked = rng.choices(pool, k=requests)
        same = list(clients.map(ask, asked))
    assert same.count(False) == 0
    assert len(same) == requests
    ticks = server.metric("longjump_tick_rows_count") - ticks
    alone = sum(int(parse_qs(urlsplit(target).query)["steps"][0]) for target in asked)
    assert ticks < 0.95 * alone, "control: alone each step is a tick, so this has shown nothing"


def test_load_changes_no_picture(start: Start, images: Path) -> None:
    # An evaluation that costs much however few its rows are: ticks are filled, whatever else this machine does.
    slow = {"TEST_ENGINE": "real", "TEST_TICK_SECONDS": "0.002"}
    load(start, images, most=4, labels=3, requests=600, distinct=100, **slow)


@pytest.mark.slow
def test_ten_thousand_requests_change_no_picture(start: Start) -> None:
    load(start, DEMO, most=8, labels=16, requests=REQUESTS, distinct=DISTINCT)
