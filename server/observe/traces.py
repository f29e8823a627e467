"""OpenTelemetry traces (`--otel`, extra `otel`): a span for each request, and in it one for each stage.

Spans are made when a request is over, from the times in its account, so that a request costs nothing while it runs.
Where they go is said in OpenTelemetry's own way: OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER
and so on. A collector that is away delays no request: spans that cannot be sent are dropped. Only the end of the
process waits for it, up to OTEL_EXPORTER_OTLP_TIMEOUT (10 s).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from server.observe.account import Account, Caller

_NANOSECONDS = 1_000_000_000


class Traces:
    """Makes spans of requests that are over."""

    def __init__(self, processor: SpanProcessor | None = None) -> None:
        """`processor` takes the spans; by default they are sent in batches, from a thread, over OTLP/HTTP.

        What is left when the process ends is sent then.
        """
        resource = Resource.create({SERVICE_NAME: "longjump"}).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(processor or BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("longjump")
        self._propagator = TraceContextTextMapPropagator()

    def request(self, scope: Mapping[str, Any], caller: Caller, account: Account, start: float, seconds: float) -> None:
        """The spans of a request; `server.http.gate.Closed`. A `traceparent` header makes them part of its trace."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"] if name in _READ}
        begin = int(start * _NANOSECONDS)
        span = self._tracer.start_span(
            f"{scope['method']} {account.endpoint}",
            self._propagator.extract(headers),
            SpanKind.SERVER,
            {
                "http.request.method": scope["method"],
                "url.path": scope["path"],
                "http.response.status_code": account.status,
                "longjump.request_id": caller.request_id,
                "longjump.client": caller.client,
                **{
                    f"longjump.{name}": value
                    for name in ("refused", "model", "steps", "source")
                    if (value := getattr(account, name)) is not None
                },
            },
            start_time=begin,
        )
        if account.stages is not None:
            # What was not measured, parsing before and writing after, is the rest of the request's span.
            inside, at = set_span_in_context(span), begin
            for name, took in vars(account.stages).items():
                stage = self._tracer.start_span(name, inside, start_time=at)
                at += int(took * _NANOSECONDS)
                stage.end(at)
        if account.status >= 500:
            span.set_status(Status(StatusCode.ERROR, account.refused))
        span.end(begin + int(seconds * _NANOSECONDS))


_READ = frozenset((b"traceparent", b"tracestate"))
