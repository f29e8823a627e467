"""With network policies pods of the chart reach what they need, and nobody reaches what they need not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.deploy.chart import Document, of_kind, pods, rendered


def policies(example: str) -> dict[str, Document]:
    return {one["metadata"]["name"]: one["spec"] for one in of_kind(rendered(example), "NetworkPolicy")}


def ports(rules: list[dict[str, Any]]) -> list[list[object]]:
    return [[port["port"] for port in rule["ports"]] for rule in rules]


def selected(example: str, peer: dict[str, Any]) -> list[str]:
    """The pods that a peer of a rule is."""
    wanted = peer["podSelector"]["matchLabels"].items()
    return [name for name, pod in pods(rendered(example)) if wanted <= pod["metadata"]["labels"].items()]


@pytest.mark.parametrize("example", ["fleet", "gpu"])
def test_every_pod_has_one_that_selects_it_alone(example: str) -> None:
    for name, spec in policies(example).items():
        assert selected(example, spec) == [name]
        assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert policies(example).keys() == {name for name, _ in pods(rendered(example))}


def test_redis_is_reached_by_api_and_workers_alone() -> None:
    redis = policies("fleet")["demo-longjump-redis"]
    (rule,) = redis["ingress"]
    own = [peer for peer in rule["from"] if "podSelector" in peer]
    others = [peer for peer in rule["from"] if "podSelector" not in peer]
    assert [selected("fleet", peer) for peer in own] == [["demo-longjump-api"], ["demo-longjump-worker-default"]]
    assert others == [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "keda"}}}
    ]  # asks for the lag
    assert redis["egress"] == []


def test_worker_is_read_and_never_asked() -> None:
    worker = policies("fleet")["demo-longjump-worker-default"]
    (rule,) = worker["ingress"]
    assert ports([rule]) == [["metrics"]]
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]


@pytest.mark.parametrize(("example", "port"), [("fleet", "redis"), ("gpu", 6380)])
def test_everyone_reaches_names_and_redis_and_nothing_else(example: str, port: object) -> None:
    for name, spec in policies(example).items():
        if name.endswith("-redis"):
            continue
        names, redis = spec["egress"]
        assert ports([names, redis]) == [[53, 53], [port]]
        assert "to" in redis
        if example == "fleet":
            assert [selected(example, peer) for peer in redis["to"]] == [["demo-longjump-redis"]]
        else:
            assert redis["to"] == [{"ipBlock": {"cidr": "10.20.0.0/24"}}]
