"""HTTP clients that cost little, because they share the machine with the server they measure.

`Connection` asks one thing at a time. `Load` keeps many connections busy from one thread: on a schedule drawn before
(an open loop, which does not wait for the server) or as fast as answers come (a closed loop).
"""

from __future__ import annotations

import gc
import re
import resource
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from server.bench.arrivals import Ask

Address = tuple[str, int]

PATIENCE = 60.0
"""Seconds after which an unanswered `Connection` gives up, and a closed loop that waits for more answers."""

MOST_CONNECTIONS = 900
"""Of one Load; further requests wait for a free one, which counts as their latency. Below select's 1,024."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Answer(NamedTuple):
    """What came back for an Ask; times in seconds after the start of the run."""

    steps: int
    intended: float
    """When it should have been sent: latency counts from here."""
    sent: float
    done: float
    status: int
    """0: the connection ended, or the run did."""

    @property
    def latency(self) -> float:
        """Seconds from the intended sending to the last byte."""
        return self.done - self.intended


class Connection:
    """One kept connection, blocking."""

    def __init__(self, address: Address) -> None:
        self._socket = _connect(address, PATIENCE)

    def ask(self, data: bytes) -> tuple[int, bytes, bytes]:
        """Send one request; the status, head and body of its answer. OSError if the connection ends."""
        self._socket.sendall(data)
        received = bytearray()
        while (whole := _parse(received)) is None:
            more = self._socket.recv(2**18)
            if not more:
                raise OSError(f"the server closed the connection after {bytes(received[:200])!r}")
            received += more
        status, end, _ = whole
        return status, bytes(received[: end - 4]), bytes(received[end:])

    def close(self) -> None:
        """End the connection."""
        self._socket.close()


class _Busy(NamedTuple):
    """A request in flight on a socket; times of time.perf_counter()."""

    link: socket.socket
    ask: Ask
    intended: float
    sent: float
    received: bytearray

    def answer(self, start: float, status: int) -> Answer:
        """What came of it, just now."""
        return Answer(self.ask.steps, self.intended - start, self.sent - start, time.perf_counter() - start, status)


class Load:
    """Many connections to one address, run by one thread."""

    def __init__(self, address: Address, connections: int = 64) -> None:
        """Open `connections` of them; more are opened when they are needed."""
        _allow_files()
        self._address = address
        # First, so that select, which alone has timeouts below a millisecond, can watch it.
        self._poll = select.epoll()
        self._free = [self._open() for _ in range(connections)]
        self._busy: dict[int, _Busy] = {}
        self._start = 0.0

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        self._poll.close()
        for link in (*self._free, *(busy.link for busy in self._busy.values())):
            link.close()

    def open_loop(
        self, asks: Sequence[Ask], grace: float = 2.0, events: Sequence[tuple[float, Callable[[], object]]] = ()
    ) -> list[Answer]:
        """Send each ask at its time, whatever the server does; what is unanswered `grace` seconds after the last one
        is given up (status 0).

        `events` are (seconds after the start, what to call then), rising.
        """
        answers: list[Answer] = []
        waiting: deque[tuple[Ask, float]] = deque()
        happenings = deque(events)
        coming = iter(asks)
        ask = next(coming, None)
        with _quiet_collector():
            self._start = start = time.perf_counter()
            last = start + max((asks[-1].at if asks else 0.0), events[-1][0] if events else 0.0)
            while True:
                now = time.perf_counter()
                while happenings and start + happenings[0][0] <= now:
                    happenings.popleft()[1]()
                while ask is not None and start + ask.at <= now:
                    waiting.append((ask, start + ask.at))
                    ask = next(coming, None)
                while waiting and (self._free or len(self._busy) < MOST_CONNECTIONS):
                    self._send(*waiting.popleft())
                if ask is None and not happenings and ((not self._busy and not waiting) or now > last + grace):
                    break
                times = [last + grace + 0.001]
                if ask is not None:
                    times.append(start + ask.at)
                if happenings:
                    times.append(start + happenings[0][0])
                answers += self._receive(min(times) - time.perf_counter())
        gone = now - start
        answers += [Answer(one.steps, intended - start, gone, gone, 0) for one, intended in waiting]
        return answers + self._give_up()

    def closed_loop(self, asks: Iterator[Ask], seconds: float, at_least: int = 0) -> list[Answer]:
        """Keep every connection busy for `seconds`, and beyond them until `at_least` answers are there; the answers
        that came in that time, in the order in which they came.

        Beyond `seconds` for at most PATIENCE: fewer answers than `at_least` mean that it gave up.
        """
        answers: list[Answer] = []
        with _quiet_collector():
            self._start = start = time.perf_counter()
            while True:
                end = start + seconds + (PATIENCE if len(answers) < at_least else 0.0)
                if (left := end - time.perf_counter()) <= 0:
                    break
                while self._free:
                    self._send(next(asks), time.perf_counter())
                answers += self._receive(left)
        self._give_up()
        return answers

    def _open(self) -> socket.socket:
        link = _connect(self._address, PATIENCE)
        link.setblocking(False)
        self._poll.register(link, select.EPOLLIN)
        return link

    def _send(self, ask: Ask, intended: float) -> None:
        link = self._free.pop() if self._free else self._open()
        # A request is far smaller than a socket's buffer.
        try:
            link.sendall(ask.data)
        except ConnectionError:  # an idle connection that the server has closed
            link.close()
            link = self._open()
            link.sendall(ask.data)
        self._busy[link.fileno()] = _Busy(link, ask, intended, time.perf_counter(), bytearray())

    def _receive(self, timeout: float) -> list[Answer]:
        """The answers that are complete, after waiting for something to read for at most `timeout` seconds."""
        if not select.select((self._poll,), (), (), max(0.0, timeout))[0]:
            return []
        answers = []
        for number, _ in self._poll.poll(0):
            busy = self._busy.get(number)
            if busy is None:  # an idle connection that the server closes
                for link in [link for link in self._free if link.fileno() == number]:
                    self._free.remove(link)
                    link.close()
                continue
            try:
                data = busy.link.recv(2**18)
            except ConnectionError:
                data = b""
            busy.received.extend(data)
            whole = _parse(busy.received)
            if data and whole is None:
                continue
            del self._busy[number]
            status, closes = (whole[0], whole[2]) if whole is not None else (0, True)
            if closes:
                busy.link.close()
            else:
                self._free.append(busy.link)
            answers.append(busy.answer(self._start, status))
        return answers

    def _give_up(self) -> list[Answer]:
        lost = [busy.answer(self._start, 0) for busy in self._busy.values()]
        for busy in self._busy.values():
            busy.link.close()
        self._busy.clear()
        return lost


def _parse(received: bytearray) -> tuple[int, int, bool] | None:
    """(status, where the body begins, whether the server closes) of a whole response; None while it is not whole."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = bytes(received[:end])
    status = int(head[9:12])
    length = _LENGTH.search(head)
    if length is None and status not in (204, 304):
        raise OSError(f"a response without a length: {head!r}")
    size = 0 if length is None else int(length[1])
    if len(received) < end + 4 + size:
        return None
    return status, end + 4, b"connection: close" in head.lower()


def _connect(address: Address, timeout: float) -> socket.socket:
    link = socket.create_connection(address, timeout=timeout)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return link


def _allow_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * MOST_CONNECTIONS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        limit = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


class _quiet_collector:
    """No garbage collection in the middle of a measurement."""

    def __enter__(self) -> None:
        gc.collect()
        gc.disable()

    def __exit__(self, *_: object) -> None:
        gc.enable()
