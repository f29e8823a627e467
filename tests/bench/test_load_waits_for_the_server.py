"""An open loop sends when it is time to, not when the server has answered; and late sending counts as latency."""

from __future__ import annotations

import itertools
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from server.bench import client
from server.bench.arrivals import Ask, draw, endless, poisson
from server.bench.client import Address, Connection, Load, _parse

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
REFUSED = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n"
GET = b"GET / HTTP/1.1\r\n\r\n"


@contextmanager
def service(held: int = 0, answer: bytes = OK) -> Iterator[tuple[Address, list[bytes]]]:
    """A server that answers nothing until `held` requests are there. Yields its address and what it received."""
    received: list[bytes] = []
    enough = threading.Event()
    if not held:
        enough.set()
    links: list[socket.socket] = []

    def talk(link: socket.socket) -> None:
        with suppress(OSError):  # the client or the test has ended
            while data := link.recv(2**16):
                received.append(data)
                if len(received) >= held:
                    enough.set()
                enough.wait(30)
                link.sendall(answer)

    def accept() -> None:
        while True:
            try:
                link, _ = listener.accept()
            except OSError:
                return
            links.append(link)
            threads.append(threading.Thread(target=talk, args=(link,)))
            threads[-1].start()

    listener = socket.create_server(("127.0.0.1", 0))
    threads = [threading.Thread(target=accept)]
    threads[0].start()
    yield listener.getsockname()[:2], received
    listener.shutdown(socket.SHUT_RDWR)
    enough.set()
    threads[0].join()
    for link in links:
        with suppress(OSError):
            link.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join()
    for one in (listener, *links):
        one.close()


def test_every_request_is_sent_although_none_is_answered() -> None:
    asks = [Ask(i * 0.001, 1, GET) for i in range(20)]
    with service(held=20) as (address, _), Load(address, connections=2) as load:
        answers = load.open_loop(asks, grace=30)
    assert [answer.status for answer in answers] == [200] * 20
    assert min(answer.done for answer in answers) > max(ask.at for ask in asks), "control: they waited for the last"


def test_latency_counts_from_the_intended_time() -> None:
    """Both were due at 0; the second could only be sent late, because the first event held up the client."""
    with service() as (address, _), Load(address, connections=1) as load:
        answers = load.open_loop([Ask(0.0, 1, GET), Ask(0.0, 8, GET)])
    for answer in answers:
        assert answer.intended == 0.0
        assert answer.latency == answer.done >= answer.sent > 0.0


def test_unanswered_requests_are_not_forgotten() -> None:
    with service(held=99) as (address, _), Load(address, connections=1) as load:
        answers = load.open_loop([Ask(0.0, 1, GET), Ask(0.0, 8, GET)], grace=0.05)
    assert sorted((answer.steps, answer.status) for answer in answers) == [(1, 0), (8, 0)]


def test_closed_connection_is_an_unanswered_request_and_the_next_one_works() -> None:
    with service(answer=b"") as (address, _), Load(address, connections=1) as load:
        # An empty answer leaves the request open; the listener's end closes it.
        answers = load.open_loop([Ask(0.0, 1, GET)], grace=0.05)
        assert [answer.status for answer in answers] == [0]


def test_refusals_are_answers() -> None:
    with service(answer=REFUSED) as (address, _), Load(address, connections=1) as load:
        assert [answer.status for answer in load.open_loop([Ask(0.0, 1, GET)])] == [429]


def test_closed_loop_asks_again_after_each_answer() -> None:
    asks = endless(((1, 1.0),), lambda steps, seed: b"GET /%d HTTP/1.1\r\n\r\n" % seed, random.Random(0))
    with service() as (address, received), Load(address, connections=3) as load:
        answers = load.closed_loop(asks, 0.1)
    assert len(answers) > 3
    assert len(set(received)) == len(received), "no seed twice"


def test_closed_loop_waits_for_answers_that_its_time_was_too_short_for() -> None:
    """A busy machine may answer nothing in a short stretch; a rate of 0 then ended the bench."""
    asks = endless(((1, 1.0),), lambda steps, seed: b"GET /%d HTTP/1.1\r\n\r\n" % seed, random.Random(0))
    with service() as (address, _), Load(address, connections=3) as load:
        assert load.closed_loop(asks, 0.0) == []
        answers = load.closed_loop(asks, 0.0, at_least=10)
    assert len(answers) >= 10
    assert [answer.done for answer in answers] == sorted(answer.done for answer in answers)


def test_closed_loop_gives_up_a_server_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PATIENCE", 0.05)
    asks = endless(((1, 1.0),), lambda steps, seed: GET, random.Random(0))
    with service(held=100) as (address, _), Load(address, connections=3) as load:
        assert load.closed_loop(asks, 0.0, at_least=1) == []


def test_events_happen_between_requests() -> None:
    happened: list[int] = []
    with service() as (address, received), Load(address, connections=1) as load:
        events = [(0.05, lambda: happened.append(len(received)))]
        load.open_loop([Ask(0.0, 1, GET), Ask(0.1, 1, GET)], events=events)
    assert happened == [1]


def test_connection_reads_a_whole_answer() -> None:
    with service() as (address, _):
        connection = Connection(address)
        assert connection.ask(GET) == (200, b"HTTP/1.1 200 OK\r\nContent-Length: 2", b"hi")
        connection.close()


@pytest.mark.parametrize("cut", range(len(OK)))
def test_cut_answer_is_not_whole(cut: int) -> None:
    assert _parse(bytearray(OK[:cut])) is None


def test_answer_without_a_length_is_refused() -> None:
    with pytest.raises(OSError, match="without a length"):
        _parse(bytearray(b"HTTP/1.1 200 OK\r\n\r\n"))


def test_arrivals_are_random_and_repeatable() -> None:
    times = list(poisson(100.0, 50.0, random.Random(1)))
    assert times == list(poisson(100.0, 50.0, random.Random(1)))
    assert times == sorted(times)
    assert 0 < times[0] < times[-1] < 50.0
    assert len(times) == pytest.approx(5000, rel=0.05)
    gaps = [b - a for a, b in itertools.pairwise(times)]
    mean = sum(gaps) / len(gaps)
    spread = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert spread == pytest.approx(mean, rel=0.05), "exponential gaps; evenly spaced ones would have none"


def test_mixture_has_its_shares_and_every_seed_once() -> None:
    rng = random.Random(2)
    mix = ((1, 0.9), (8, 0.1))
    asks = list(draw(iter([0.0] * 10_000), mix, lambda steps, seed: b"%d %d" % (steps, seed), rng))
    assert sum(ask.steps == 8 for ask in asks) / len(asks) == pytest.approx(0.1, abs=0.015)
    assert [int(ask.data.split()[1]) for ask in asks] == list(range(10_000))
