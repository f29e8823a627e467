"""Autoscalers of the chart ask for series that there are, by labels they have, and for streams that workers read."""

from __future__ import annotations

import re
from typing import Any

import pytest

from server.fleet.keys import Keys
from tests.deploy.chart import Document, of_kind, render, rendered, values
from tests.deploy.queries import selectors
from tests.server.test_promtool_finds_fault import lively

SCRAPED = {"namespace"}
"""Labels that the Prometheus operator gives every series."""


def series() -> list[tuple[str, dict[str, str]]]:
    """Name and labels of what a server shows."""
    lines = [line for line in lively().text().decode().splitlines() if not line.startswith("#")]
    return [(line.partition("{")[0].partition(" ")[0], dict(re.findall(r'(\w+)="([^"]*)"', line))) for line in lines]


def given(documents: list[Document]) -> set[str]:
    """The labels that the chart's monitors add."""
    found: set[str] = set()
    for one in of_kind(documents, "ServiceMonitor", "PodMonitor"):
        (endpoint,) = one["spec"].get("endpoints") or one["spec"]["podMetricsEndpoints"]
        found |= {rule["targetLabel"] for rule in endpoint["relabelings"]}
    return found


def triggers(kind: str, example: str = "fleet") -> list[dict[str, Any]]:
    return [
        trigger
        for one in of_kind(rendered(example), "ScaledObject")
        for trigger in one["spec"]["triggers"]
        if trigger["type"] == kind
    ]


@pytest.mark.parametrize("example", ["fleet", "gpu"])
def test_queries_name_series_and_labels_that_exist(example: str) -> None:
    added = given(rendered("fleet")) | SCRAPED
    for trigger in triggers("prometheus", example):
        asked = [*selectors(trigger["metadata"]["query"])]
        assert asked
        for one in asked:
            name, _, labels = one.partition("{")
            wanted = dict(re.findall(r'(\w+)=~?"([^"]*)"', labels))
            own = {label: value for label, value in wanted.items() if label not in added}
            known = [found for series_name, found in series() if series_name == name]
            assert [found for found in known if own.keys() <= found.keys()], one
            if "priority" in own:
                assert own["priority"] in {found["priority"] for found in known}


def test_labels_of_the_queries_are_those_of_the_pods() -> None:
    queries = " ".join(trigger["metadata"]["query"] for trigger in triggers("prometheus"))
    asked = {label: {*re.findall(rf'\b{label}="([^"]*)"', queries)} for label in ("release", "component", "pool")}
    assert asked == {"release": {"demo"}, "component": {"api", "worker"}, "pool": {"default"}}
    (worker,) = [one for one in of_kind(rendered("fleet"), "Deployment") if "worker" in one["metadata"]["name"]]
    labels = worker["spec"]["template"]["metadata"]["labels"]
    (monitor,) = of_kind(rendered("fleet"), "PodMonitor")
    rules = monitor["spec"]["podMetricsEndpoints"][0]["relabelings"]
    meta = {rule["targetLabel"]: rule["sourceLabels"][0].removeprefix("__meta_kubernetes_pod_label_") for rule in rules}
    named = {re.sub(r"[^a-zA-Z0-9]", "_", label): value for label, value in labels.items()}
    assert {label: named[source] for label, source in meta.items()} == {
        "release": "demo",
        "component": "worker",
        "pool": "default",
    }


def test_work_is_counted_in_the_streams_that_workers_read() -> None:
    found = {trigger["metadata"]["stream"] for trigger in triggers("redis-streams")}
    assert found == {Keys("default").work("d17705d231538bff", one) for one in ("interactive", "batch")}
    (names,) = of_kind(rendered("fleet"), "TriggerAuthentication")
    for trigger in triggers("redis-streams"):
        assert "consumerGroup" not in trigger["metadata"], "the lag of a group is unknown once something was withdrawn"
        assert int(trigger["metadata"]["streamLength"]) > 0
        assert trigger["metadata"]["address"] == "demo-longjump-redis.prod.svc:6379"
        assert trigger["authenticationRef"]["name"] == names["metadata"]["name"]


def test_external_redis_is_asked_over_tls() -> None:
    pool = {"bundles": {"serve": ["/bundles/a"]}, "autoscaling": {"keda": {"fingerprints": ["0123456789abcdef"]}}}
    wanted = {**values("gpu"), "pools": {"default": pool}}
    documents = render(wanted)
    streams = [
        trigger["metadata"]
        for one in of_kind(documents, "ScaledObject")
        for trigger in one["spec"]["triggers"]
        if trigger["type"] == "redis-streams"
    ]
    assert [(one["address"], one["enableTLS"]) for one in streams] == 2 * [("redis.example.com:6380", "true")]
    (let_in,) = of_kind(documents, "TriggerAuthentication")
    assert let_in["spec"]["secretTargetRef"] == [
        {"parameter": "password", "name": "redis-password", "key": "password"},
        {"parameter": "ca", "name": "redis-ca", "key": "ca.crt"},
    ]
    assert {one["stream"] for one in streams} == {
        Keys("pictures").work("0123456789abcdef", one) for one in ("interactive", "batch")
    }


@pytest.mark.parametrize("example", ["fleet", "gpu", "hpa"])
def test_scaled_deployments_have_no_number_of_their_own(example: str) -> None:
    deployments = {one["metadata"]["name"]: one["spec"] for one in of_kind(rendered(example), "Deployment")}
    scaled = {
        one["spec"]["scaleTargetRef"]["name"]: one["spec"]
        for one in of_kind(rendered(example), "ScaledObject", "HorizontalPodAutoscaler")
    }
    assert scaled.keys() <= deployments.keys()
    assert {name for name, spec in deployments.items() if "replicas" not in spec} == scaled.keys()
    for spec in scaled.values():
        least = spec.get("minReplicaCount", spec.get("minReplicas"))
        assert 1 <= least < spec.get("maxReplicaCount", spec.get("maxReplicas"))


def test_hpa_may_ask_for_the_wait_as_an_external_metric() -> None:
    wanted = {"server": {"autoscaling": {"kind": "hpa", "hpa": {"cpu": 0, "predictedWaitSeconds": 0.25}}}}
    (scaler,) = of_kind(render(wanted), "HorizontalPodAutoscaler")
    (metric,) = scaler["spec"]["metrics"]
    assert metric["external"]["target"] == {"type": "Value", "value": "250m"}
    assert metric["external"]["metric"]["name"] in {name for name, _ in series()}


def test_control_a_misspelt_label_would_be_found() -> None:
    labels = [found.keys() for name, found in series() if name == "longjump_predicted_wait_seconds"]
    assert labels
    assert not [own for own in labels if {"model", "class"} <= own]
