"""Redis dies, forgets, or stops for a while: whoever waits is answered, and who comes meanwhile is told at once."""

from __future__ import annotations

import os
import random
import signal
import time

from ...conftest import eventually
from .conftest import ROUND, Standing, Tell


def test_redis_killed_and_back_with_its_memory(fleet: Standing, tell: Tell) -> None:
    sent = fleet.hold(24)
    fleet.redis.kill()
    meanwhile = fleet.send(8).heard()
    fleet.open_gates()  # answers are there before Redis is
    fleet.redis.start()
    heard = sent.heard()
    tell("Redis killed, back with its memory", heard + meanwhile)
    assert [one.fate for one in heard] == ["answered"] * 24
    assert [one.fate for one in meanwhile] == ["refused"] * 8


def test_redis_killed_and_back_without_memory(fleet: Standing, tell: Tell) -> None:
    """API processes give it again what they still wait for."""
    sent = fleet.hold(24)
    fleet.redis.kill()
    meanwhile = fleet.send(8).heard()
    fleet.workers[0].open_gate()  # one has answers to what nobody knows any more, one is still at work on it
    fleet.forget()
    eventually(fleet.whole, "the fleet is known again")
    fleet.open_gates()
    after = fleet.send(8).heard()
    tell("Redis killed, back without memory", sent.heard() + meanwhile + after)
    assert [one.fate for one in after] == ["answered"] * 8


def test_redis_killed_and_back_with_an_older_memory(fleet: Standing, tell: Tell) -> None:
    """As from a snapshot: it knows the fleet by the same name, and nothing of what was asked since."""
    older = fleet.copy_memory()
    sent = fleet.hold(24)
    fleet.redis.kill()
    fleet.open_gates()
    fleet.forget(older)
    counts = tell("Redis killed, back with an older memory", sent.heard())
    assert counts.answered == counts.sent


def test_redis_killed_again_and_again(fleet: Standing, tell: Tell) -> None:
    """At moments of chance, while requests come and go; who was not let in hears so."""
    chance = random.Random(int(os.environ.get(ROUND, 0)))
    sent = []
    for _ in range(4):
        sent.append(fleet.send(12))
        time.sleep(chance.uniform(0, 0.3))
        fleet.redis.kill()
        sent.append(fleet.send(4))
        fleet.redis.start()
        eventually(fleet.whole, "all are back")
    counts = tell("Redis killed 4 times under load", [one for some in sent for one in some.heard()])
    assert counts.errored == 0
    assert counts.answered > 0


def test_redis_stops_for_a_while(fleet: Standing, tell: Tell) -> None:
    """Longer than a round trip may take: connections are given up, and Redis gets to see their commands later."""
    sent = fleet.hold(16)
    fleet.redis.signal(signal.SIGSTOP)
    fleet.open_gates()
    meanwhile = fleet.send(8)
    time.sleep(3)
    fleet.redis.signal(signal.SIGCONT)
    heard = sent.heard()
    counts = tell("Redis stops for 3 s", heard + meanwhile.heard())
    assert [one.fate for one in heard] == ["answered"] * 16
    assert counts.errored == 0
