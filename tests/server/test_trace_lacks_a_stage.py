"""`--otel`: a span for each request with its stages inside, one after the other; nothing of it is loaded without."""

from __future__ import annotations

import subprocess
import sys

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from server.jobs import Stages
from server.observe.account import Account, Caller
from server.observe.traces import Traces

from .conftest import ROOT

CALLER = Caller("alice", "id-1")
SECOND = 1_000_000_000


def spans(account: Account, headers: list[tuple[bytes, bytes]] | None = None) -> dict[str, ReadableSpan]:
    """What is sent for a request that began at second 100 and took 10 s, by name."""
    exporter = InMemorySpanExporter()
    scope = {"method": "POST", "path": "/generate", "headers": headers or []}
    Traces(SimpleSpanProcessor(exporter)).request(scope, CALLER, account, 100.0, 10.0)
    return {span.name: span for span in exporter.get_finished_spans()}


def test_request_has_its_stages_in_order() -> None:
    found = spans(Account("generate", 200, None, "tiny", 2, "run", Stages(1.0, 2.0, 3.0, 0.5)))
    request = found.pop("POST generate")
    assert {name: (span.start_time, span.end_time) for name, span in found.items()} == {
        "queue": (100 * SECOND, 101 * SECOND),
        "network": (101 * SECOND, 103 * SECOND),
        "decode": (103 * SECOND, 106 * SECOND),
        "encode": (106 * SECOND, 106.5 * SECOND),
    }
    assert (request.start_time, request.end_time) == (100 * SECOND, 110 * SECOND)
    for span in found.values():
        assert span.parent is not None
        assert span.parent.span_id == request.context.span_id
    assert request.attributes == {
        "http.request.method": "POST",
        "url.path": "/generate",
        "http.response.status_code": 200,
        "longjump.request_id": "id-1",
        "longjump.client": "alice",
        "longjump.model": "tiny",
        "longjump.steps": 2,
        "longjump.source": "run",
    }
    assert request.resource.attributes["service.name"] == "longjump"


def test_it_is_part_of_its_callers_trace() -> None:
    parent = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    request = spans(Account(), [(b"traceparent", parent)])["POST other"]
    assert request.parent is not None
    assert f"{request.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert f"{request.parent.span_id:016x}" == "b7ad6b7169203331"
    alone = spans(Account(), [(b"traceparent", b"nonsense \xff")])["POST other"]
    assert alone.parent is None


@pytest.mark.parametrize(("status", "code"), [(500, StatusCode.ERROR), (429, StatusCode.UNSET)])
def test_our_faults_are_errors_and_theirs_are_not(status: int, code: StatusCode) -> None:
    found = spans(Account("generate", status, "why"))
    assert list(found) == ["POST generate"]  # nothing ran, so there are no stages
    assert found["POST generate"].status.status_code == code
    assert found["POST generate"].attributes["longjump.refused"] == "why"


def test_service_is_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    assert spans(Account())["POST other"].resource.attributes["service.name"] == "mine"


def test_without_the_flag_nothing_is_loaded() -> None:
    """Nor is `limits`, without --rate: both take longer to load than a picture. (FastAPI loads the API without SDK.)"""
    code = (
        "import argparse, sys, server.serve, server.application, server.observe.logs\n"
        "from server.http.flags import guard\n"
        "from server.observe.metrics import Metrics\n"
        "parser = argparse.ArgumentParser()\n"
        "server.serve.add_arguments(parser)\n"
        "guard(None, None, parser.parse_args([]), None, None, Metrics(), None)\n"
        "print([name for name in ('opentelemetry.sdk', 'opentelemetry.exporter', 'limits') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.strip() == "[]"
