"""Pods of the chart: who they run as, what they may write, what they are told, how long they may start and end."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from longjump import COMMANDS
from tests.deploy.chart import NAMES, longjumps, of_kind, pods, render, rendered, understood, values

MORE = {
    "fleet": ["demo-longjump-api", "demo-longjump-worker-default"],
    "gpu": ["demo-longjump-api", "demo-longjump-worker-default", "demo-longjump-worker-next"],
}


def seconds(probe: dict[str, Any]) -> int:
    """How long a probe goes on before it gives up."""
    return int(probe["periodSeconds"]) * int(probe["failureThreshold"])


@pytest.mark.parametrize("example", NAMES)
def test_nobody_is_root_and_nothing_is_written(example: str) -> None:
    for name, template in pods(rendered(example)):
        pod = template["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False, name
        for container in pod["containers"] + pod.get("initContainers", []):
            own = container["securityContext"]
            assert own["readOnlyRootFilesystem"] is True
            assert own["allowPrivilegeEscalation"] is False
            assert own["capabilities"] == {"drop": ["ALL"]}
            tag = container["image"].rpartition("/")[2].partition(":")[2]
            assert tag not in ("", "latest"), f"{container['image']} floats"
            assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("example", NAMES)
def test_longjump_understands_what_it_is_told(example: str) -> None:
    names = []
    for name, pod, container in longjumps(rendered(example)):
        names.append(name)
        args = understood(container["args"])
        asked = {probe["httpGet"]["port"] for key, probe in container.items() if key.endswith("Probe")}
        port = args.port if container["args"][0] == "serve" else args.metrics_port
        host = args.host if container["args"][0] == "serve" else args.metrics_host
        assert (asked, host) == ({port}, "0.0.0.0")
        assert container["ports"][0]["containerPort"] == port
        before = 5 if "lifecycle" in container else 0
        assert before + args.drain_seconds + 10 <= pod["terminationGracePeriodSeconds"], "killed before it has drained"
    assert names == MORE.get(example, ["demo-longjump"])


@pytest.mark.parametrize("example", NAMES)
def test_paths_that_it_is_told_are_mounted(example: str) -> None:
    for name, _, container in longjumps(rendered(example)):
        args = understood(container["args"])
        mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
        named = [*map(str, args.bundles), *(str(path) for path in (args.redis_ca,) if path is not None)]
        if container["args"][0] == "serve" and args.api_keys is not None:
            named.append(str(args.api_keys))
        assert [path for path in named if not any(path.startswith(mount + "/") for mount in mounts)] == [], name


@pytest.mark.parametrize("example", NAMES)
def test_engine_may_take_long_to_build_but_a_hang_is_seen(example: str) -> None:
    for _, _, container in longjumps(rendered(example)):
        engine = container["args"][0] == "worker" or "--redis" not in container["args"]
        assert seconds(container["startupProbe"]) >= (300 if engine else 60)
        assert container["startupProbe"]["httpGet"]["path"] == ("/readyz" if engine else "/livez")
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
        assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
        assert seconds(container["livenessProbe"]) <= 120


def test_worker_of_a_gpu_asks_for_one_and_bears_its_taint() -> None:
    for name, pod, container in longjumps(rendered("gpu")):
        gpus = container["resources"]["limits"].get("nvidia.com/gpu", 0)
        bears = [one["key"] for one in pod.get("tolerations", [])]
        cached = [volume for volume in pod["volumes"] if volume["name"] == "cache"]
        if "worker" in name:
            assert (gpus, bears) == (1, ["nvidia.com/gpu"])
            assert [*understood(container["args"]).gpus] == ["0"]
            assert container["image"] == "longjump:0.1.0-gpu"
            assert seconds(container["startupProbe"]) == 1800
            assert cached == [{"name": "cache", "persistentVolumeClaim": {"claimName": "longjump-engines"}}]
        else:
            assert (gpus, bears, container["image"], cached) == (0, [], "longjump:0.1.0", [])


def test_engines_are_compiled_on_the_gpu_that_runs_them_and_are_what_is_served() -> None:
    for name, pod, container in longjumps(rendered("gpu")):
        made = []
        for before in pod.get("initContainers", []):
            args = understood(before["args"])
            assert args.tensorrt
            assert args.force, "a pod whose container starts again finds what it wrote before"
            assert str(args.checkpoint).startswith("/bundles/")
            assert before["image"] == container["image"]
            assert before["resources"] == container["resources"]
            assert before["volumeMounts"] == container["volumeMounts"][: len(before["volumeMounts"])]
            made.append(args.out)
        served = understood(container["args"]).bundles
        assert made == (served if "worker" in name else []), name
        assert all(str(path).startswith("/var/lib/longjump/") for path in made)


@pytest.mark.parametrize("example", NAMES)
def test_pods_of_one_kind_are_spread(example: str) -> None:
    for _, template in pods(rendered(example)):
        for one in template["spec"].get("topologySpreadConstraints", []):
            assert one["labelSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    for _, pod, _ in longjumps(rendered(example)):
        assert {one["topologyKey"] for one in pod["topologySpreadConstraints"]} == {
            "kubernetes.io/hostname",
            "topology.kubernetes.io/zone",
        }


PASSWORD = "correct-horse-battery"


@pytest.mark.parametrize("given", [{"name": "mine"}, {"password": PASSWORD}], ids=["name", "password"])
@pytest.mark.parametrize("example", ["fleet", "gpu"])
def test_password_is_in_no_command_and_no_map(example: str, given: dict[str, str]) -> None:
    redis = {**values(example)["redis"], "secret": given}
    documents = render({**values(example), "redis": redis})
    secrets = of_kind(documents, "Secret")
    found = {one["metadata"]["name"]: base64.b64decode(one["data"]["password"]).decode() for one in secrets}
    assert found == ({"demo-longjump-redis": PASSWORD} if "password" in given else {})
    rest = json.dumps([one for one in documents if one not in secrets])
    assert PASSWORD not in rest
    assert base64.b64encode(PASSWORD.encode()).decode() not in rest
    for _, _, container in longjumps(documents):
        (password,) = container["env"]
        assert password["name"] == "LONGJUMP_REDIS_PASSWORD"
        named = password["valueFrom"]["secretKeyRef"]
        assert named == {"name": given.get("name", "demo-longjump-redis"), "key": "password"}
        assert "@" not in understood(container["args"]).redis


@pytest.mark.parametrize("example", NAMES)
def test_who_renders_again_gets_the_same(example: str) -> None:
    assert render(values(example)) == render(values(example)), "Argo CD would never come to rest"


def test_url_that_only_a_secret_knows_comes_from_it() -> None:
    given = {**values("gpu"), "redis": {"secret": {"name": "redis", "urlKey": "url"}}}
    for _, _, container in longjumps(render(given)):
        env = {one["name"]: one["valueFrom"]["secretKeyRef"] for one in container["env"]}
        assert env["LONGJUMP_REDIS_URL"] == {"name": "redis", "key": "url"}
        assert understood(container["args"]).redis == "$(LONGJUMP_REDIS_URL)"  # Kubernetes puts the value there


def test_bundled_redis_refuses_rather_than_forgets() -> None:
    (config,) = [
        one["data"]["redis.conf"] for one in of_kind(rendered("fleet"), "ConfigMap") if "redis.conf" in one["data"]
    ]
    settings = dict(line.split(" ", 1) for line in config.splitlines() if line and not line.startswith("#"))
    assert settings["maxmemory-policy"] == "noeviction"
    assert settings["appendonly"] == "yes"
    (redis,) = of_kind(rendered("fleet"), "StatefulSet")
    (container,) = redis["spec"]["template"]["spec"]["containers"]
    limit = container["resources"]["limits"]["memory"]
    assert (settings["maxmemory"], limit) == ("512mb", "1Gi"), "the append-only file's rewriting needs as much again"
    assert redis["spec"]["volumeClaimTemplates"][0]["metadata"]["name"] == "data"
    assert settings["dir"] == "/data"


def test_control_commands_are_read_by_longjump_itself() -> None:
    assert {"serve", "worker"} <= COMMANDS.keys()
    with pytest.raises(SystemExit):
        understood(["serve", "--no-such-flag"])
