"""Requests that Schemathesis makes from /openapi.json, right and wrong ones: no 5xx, and every reply is documented."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, CheckContext, GenerationMode, Response
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from .conftest import Server, Start


def no_server_error(context: CheckContext, response: Response, case: Case) -> None:
    """A deadline that passed (504) is no error of the server's; on a busy machine it may."""
    assert response.status_code < 500 or response.status_code == 504, response.text


CHECKS = [no_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 25


@pytest.fixture(scope="module")
def server(start_shared: Start, images: object) -> Server:
    return start_shared(images, "--max-images", "4")


def document(server: Server) -> dict[str, object]:
    return server.client.get("/openapi.json").json()  # type: ignore[no-any-return]


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_no_generated_request_breaks_the_server(server: Server, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_dict(document(server))
    asked = set()
    for found in schema.get_all_operations():
        operation = found.ok()
        if mode is GenerationMode.NEGATIVE and not (operation.query or operation.body):
            continue  # there is nothing that could be wrong

        @settings(
            max_examples=EXAMPLES,
            phases=[Phase.explicit, Phase.generate],
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Case) -> None:
            case.call_and_validate(base_url=str(server.client.base_url), checks=CHECKS, timeout=60)

        try:
            ask()
        except FailureGroup as group:
            raise AssertionError("\n\n".join(str(failure) for failure in group.exceptions)) from None
        asked.add((operation.method.upper(), operation.path))
    assert {("POST", "/generate"), ("GET", "/generate"), ("POST", "/v1/images/generations")} <= asked
    assert server.client.get("/readyz").status_code == 200
    assert server.metric("longjump_worker_restarts_total") == 0
