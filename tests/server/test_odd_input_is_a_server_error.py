"""Whatever bytes come as query and body, they are a plan that the worker can run or a problem of the client's."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from export.runtime.bundle import open_bundle
from server.backend.model import Model
from server.http.ask import Ask, json_fields, query_fields, read, settle
from server.http.plan import Auto, Plan
from server.http.problem import Problem

from .fake_line import ENGINE

NAMES = st.sampled_from([*Ask.model_fields, "foo", ""])
LIKELY = st.sampled_from(
    ["1", "4", "-1", "0", "cat", "none", "png", "jpeg", "json", "nan", "1e999", str(2**63), "true", "1.0", "auto"]
)
VALUES = LIKELY | st.text(max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | VALUES,
    lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner),
)
QUERIES = st.lists(st.tuples(NAMES, VALUES), max_size=4).map(
    lambda pairs: "&".join(f"{name}={value}" for name, value in pairs).encode(errors="surrogatepass")
) | st.binary(max_size=40)
BODIES = st.dictionaries(NAMES, JSON, max_size=4).map(lambda members: json.dumps(members).encode()) | st.binary(
    max_size=40
)


def plan_or_problem(query: bytes, body: bytes, model: Model) -> Plan | Problem:
    try:
        return settle(read(Ask, [(query_fields(query), False), (json_fields(body), True)], [model], max_images=8))
    except Problem as refused:
        return refused


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=QUERIES, body=BODIES)
@example(query=b"seed=1&label=cat", body=b"")
@example(query=b"", body=b'{"\\ud800": 1}')
@example(query=b"", body=json.dumps({f"field{i}": i for i in range(3000)}).encode())
def test_odd_input_is_planned_or_refused(images: Path, query: bytes, body: bytes) -> None:
    model = Model(manifest=open_bundle(images).manifest, fingerprint="print", threads=1, startup={}, engine=ENGINE)
    made = plan_or_problem(query, body, model)
    if isinstance(made, Problem):
        assert made.status in (400, 422)
        assert len(made.body()) < 20_000
        json.loads(made.body())
        return
    if isinstance(made.steps, Auto):
        assert any(made.steps.min <= steps <= made.steps.max for steps in (1, 2, 4))
    else:
        assert made.steps in (1, 2, 4)
    assert 1 <= made.n <= 8
    assert 0 <= made.seed <= 2**63 - made.n
    assert made.label is None or 0 <= made.label <= 3
    assert made.guidance is None
    assert made.format in ("png", "jpeg", "webp", "npy")


def test_deep_value_is_refused_at_any_depth(images: Path) -> None:
    """Between what JSON reads and what it writes lie a few levels of the interpreter's stack."""
    model = Model(manifest=open_bundle(images).manifest, fingerprint="print", threads=1, startup={}, engine=ENGINE)
    for depth in range(sys.getrecursionlimit() - 300, sys.getrecursionlimit()):
        made = plan_or_problem(b"", b'{"label": %s%s}' % (b"[" * depth, b"]" * depth), model)
        assert isinstance(made, Problem)


def test_label_named_like_an_index_is_a_name(images: Path) -> None:
    manifest = open_bundle(images).manifest.model_copy(update={"labels": ["cat", "0", "1.0"]})
    model = Model(manifest=manifest, fingerprint="print", threads=1, startup={}, engine=ENGINE)
    for query, body, label in (
        (b"label=0", b"", 1),
        (b"label=1.0", b"", 2),
        (b"label=2", b"", 2),
        (b"", b'{"label": "0"}', 1),
        (b"", b'{"label": 0}', 0),
    ):
        made = plan_or_problem(query, body, model)
        assert isinstance(made, Plan)
        assert made.label == label, (query, body)
