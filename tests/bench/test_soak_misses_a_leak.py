"""The soak test must see memory that grows, not mind memory that swings, and do all that it says."""

from __future__ import annotations

import http.client
import math
import random
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from server.bench.soak import GROWTH_MB, Act, Clients, Script, _faults, growth_mb, perform

TIMES = [5.0 * i for i in range(1, 121)]


def swinging(leak: float) -> list[list[float]]:
    """MB of two processes over TIMES, with noise and steps back; the second gains `leak` over the run."""
    rng = random.Random(0)
    base = [100 + 2 * rng.random() + 1.5 * math.sin(i / 7) + 20 * min(1.0, i / 25) for i in range(len(TIMES))]
    return [[50.0, base[i] + leak * i / len(TIMES)] for i in range(len(TIMES))]


def watched(sizes: list[list[float]], **counts: int) -> list[str]:
    clients = Clients(("", 0), Script([1, 8], b""), 0)
    clients.counts.update({("one", int(name[1:])): count for name, count in counts.items()})
    return _faults(clients, TIMES, sizes)


def test_flat_memory_passes_although_it_swings_and_fills_at_first() -> None:
    assert watched(swinging(0.0), s200=10, s429=3, s0=2) == []


def test_leak_is_seen() -> None:
    [fault] = watched(swinging(2 * GROWTH_MB))
    assert fault.startswith("worker 1 grew by")


def test_server_error_is_a_fault() -> None:
    assert watched(swinging(0.0), s200=10, s500=1) == ["1 times 'one' was answered 500"]


def test_growth_is_over_the_whole_time() -> None:
    assert growth_mb([0.0, 10.0, 20.0], [1.0, 2.0, 3.0]) == pytest.approx(2.0)


def test_every_kind_is_done() -> None:
    script, rng = Script([1, 2, 8], b"png"), random.Random(0)
    acts = [script.act(rng) for _ in range(2000)]
    assert {act.kind for act in acts} == set(script.weights)
    of = {act.kind: act for act in acts}
    assert "steps=8" in of["many steps"].target
    assert of["variation"].body == b"png"
    assert of["leaves"].leave_after is not None
    again = Counter(act.target for act in acts if act.kind == "again")
    assert max(again.values()) > 1


STREAM = b'event: image\ndata: {"last": false}\n\nevent: error\ndata: {"status": 504, "title": "late"}\n\n'


class Handler(BaseHTTPRequestHandler):
    """Streams of two kinds."""

    def do_GET(self) -> None:
        body = STREAM if self.path == "/late" else STREAM.partition(b"event: error")[0]
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_error_in_a_stream_is_its_status() -> None:
    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for path, status in (("/late", 504), ("/fine", 200)):
        connection = http.client.HTTPConnection(*server.server_address[:2])
        assert perform(connection, Act("stream", "GET", path)) == status
        connection.close()
    server.shutdown()
    server.server_close()
