"""A value that cannot be meant is refused when the chart is rendered, in words that name it."""

from __future__ import annotations

from functools import reduce
from typing import Any

import helm_python
import pytest

from tests.deploy.chart import NAMES, Document, render, values


def nested(path: str, value: object) -> Document:
    """{"a": {"b": value}} of "a.b"."""
    return reduce(lambda inner, name: {name: inner}, reversed(path.split(".")), value)  # type: ignore[arg-type,return-value]


def merged(one: Any, other: Any) -> Any:
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return other
    return {**one, **{name: merged(one.get(name), value) for name, value in other.items()}}


WRONG: list[tuple[str, object, str]] = [
    ("mode", "flet", "/mode"),
    ("replica", 3, "replica"),
    ("image.tag", 1.0, "/image/tag"),
    ("image.digest", "abc", "/image/digest"),
    ("server.gpu.count", -1, "/server/gpu/count"),
    ("server.gpu.resource", "gpu", "/server/gpu/resource"),
    ("server.drainSeconds", 0, "/server/drainSeconds"),
    ("server.drain", 30, "drain"),
    ("server.threads", 0, "/server/threads"),
    ("server.cache.volume", {"emptyDir": {}, "hostPath": {"path": "/x"}}, "/server/cache/volume"),
    ("server.autoscaling.kind", "kedda", "/server/autoscaling/kind"),
    ("server.autoscaling.minReplicas", 0, "/server/autoscaling/minReplicas"),
    ("server.autoscaling.keda.predictedWaitSeconds", 0, "/server/autoscaling/keda/predictedWaitSeconds"),
    ("api.autoscaling.kind", "keda", "/api/autoscaling/kind"),
    ("api.gpu", {"count": 1}, "gpu"),
    ("pools.UPPER", {}, "UPPER"),
    ("pools.default.replicas", "2", "/pools/default"),
    ("bundles.serve", ["facets"], "/bundles/serve/0"),
    ("redis.url", "redis://:secret@redis:6379", "/redis/url"),
    ("redis.url", "http://redis:6379", "/redis/url"),
    ("redis.fleet", "a:b", "/redis/fleet"),
    ("redis.secret.password", "short", "/redis/secret/password"),
    ("redis.secret.password", "two words of it", "/redis/secret/password"),
    ("redis.secret.passwordKey", "a/b", "/redis/secret/passwordKey"),
    ("redis.bundled.maxmemory", "512 MiB", "/redis/bundled/maxmemory"),
    ("metrics.serviceMonitor.interval", 15, "/metrics/serviceMonitor/interval"),
]


@pytest.mark.parametrize(("path", "value", "named"), WRONG, ids=[f"{path}={value}" for path, value, _ in WRONG])
def test_schema_names_it(path: str, value: object, named: str) -> None:
    with pytest.raises(helm_python.HelmError) as refused:
        render(nested(path, value))
    assert named in str(refused.value)


TOGETHER: list[tuple[Document, str]] = [
    ({"mode": "fleet"}, "mode fleet needs a Redis"),
    (
        {"mode": "fleet", "redis": {"url": "redis://a:6379", "bundled": {"enabled": True}}},
        "leave out redis.url",
    ),
    ({"mode": "fleet", "redis": {"secret": {"urlKey": "url"}}}, "redis.secret.name"),
    ({"mode": "fleet", "redis": {"bundled": {"enabled": True}}}, "redis.bundled needs a password: make a secret"),
    (
        {
            "mode": "fleet",
            "redis": {"bundled": {"enabled": True}, "secret": {"name": "r", "password": "long-enough"}},
        },
        "leave out redis.secret.password",
    ),
    ({"server": {"autoscaling": {"minReplicas": 9}}}, "minReplicas 9 is above maxReplicas 8"),
    ({"server": {"autoscaling": {"kind": "hpa", "hpa": {"cpu": 0}}}}, "looks at nothing"),
    ({"server": {"gpu": {"count": 1}, "engines": {"build": True}}}, "set bundles.serve"),
    ({"bundles": {"serve": ["/bundles/a"]}, "server": {"engines": {"build": True}}}, "and gpu.count"),
    (
        {
            "mode": "fleet",
            "redis": {"secret": {"name": "r", "urlKey": "url"}},
            "pools": {"default": {"autoscaling": {"kind": "keda", "keda": {"fingerprints": ["0123456789abcdef"]}}}},
        },
        "KEDA cannot ask a Redis whose URL only a secret knows",
    ),
]


@pytest.mark.parametrize(("given", "words"), TOGETHER, ids=[words for _, words in TOGETHER])
def test_values_that_exclude_each_other_are_named(given: Document, words: str) -> None:
    with pytest.raises(helm_python.HelmError, match=words):
        render(given)


@pytest.mark.parametrize("example", NAMES)
def test_control_the_same_places_with_right_values_are_taken(example: str) -> None:
    right = [
        ("server.gpu.count", 1),
        ("server.autoscaling.minReplicas", 2),
        ("image.digest", "sha256:" + 64 * "a"),
        ("pools.upper", {"replicas": 2, "bundles": {"serve": ["/bundles/a"]}}),
        ("redis.fleet", "a.b"),
    ]
    assert render(reduce(merged, (nested(path, value) for path, value in right), values(example)))
