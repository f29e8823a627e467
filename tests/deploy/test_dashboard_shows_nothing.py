"""A real Prometheus reads a real server and a real fleet: every rule and panel gets data, from metrics that exist."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.deploy.queries import DASHBOARDS, PROMETHEUS, ROOT, Query, names, panel_queries, rule_queries, selectors
from tests.server.conftest import Server, eventually, starter
from tests.server.fleet.conftest import Fleet

PROGRAM = shutil.which("prometheus")
BUNDLE = ROOT / "tests" / "server" / "bundles" / "meanflow"

QUIET = ("steps=auto that got other steps than the best",)
"""Panels that are empty until something happens that cannot be had at will: here a deadline that is just too tight."""

NEVER_HERE = ('code=~"500|503"',)
"""Labels of series that only a fault makes."""

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs prometheus: Debian package prometheus")


class Watched:
    """A server, the processes of a fleet, and the Prometheus that reads them each second."""

    def __init__(self, server: Server, fleet: tuple[str, ...], prometheus: str) -> None:
        """`fleet`: addresses of its pages."""
        self.server = server
        self._fleet = fleet
        self._client = httpx.Client(base_url=prometheus, timeout=30)

    def ask(self, expression: str) -> list[dict[str, Any]]:
        """The series that an expression gives now."""
        reply = self._client.get("/api/v1/query", params={"query": expression})
        assert reply.status_code == 200, f"{expression}: {reply.text}"
        found: list[dict[str, Any]] = reply.json()["data"]["result"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        """What Prometheus says of each rule."""
        groups = self._client.get("/api/v1/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def declared(self, *, alone: bool = False) -> set[str]:
        """The names of all series that the pages declare, those of histograms with their endings.

        `alone`: of the server that is in no fleet.
        """
        texts = [self.server.client.get("/metrics").text]
        texts += [] if alone else [httpx.get(f"http://{address}/metrics").text for address in self._fleet]
        found: set[str] = set()
        for line in "\n".join(texts).splitlines():
            if line.startswith("# TYPE "):
                name, kind = line.split()[2:]
                found |= {name + ending for ending in ("_bucket", "_sum", "_count")} if kind == "histogram" else {name}
        return found

    def close(self) -> None:
        self._client.close()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A server and a fleet to which a little of everything happens until Prometheus has seen it all."""
    folder = tmp_path_factory.mktemp("watched")
    servers = starter(folder)
    server = next(servers)(BUNDLE, "--max-waiting", "4", fake=False)
    port, worker_port = free_port(), free_port()
    fleet = Fleet(folder)
    fleet.worker(BUNDLE, options=("--metrics-port", str(worker_port)))
    api = fleet.api()
    pages = (f"127.0.0.1:{api.port}", f"127.0.0.1:{worker_port}")
    process = prometheus(folder, port, f"127.0.0.1:{server.port}", *pages)
    seen = Watched(server, pages, f"http://127.0.0.1:{port}")
    try:
        eventually(lambda: answers(port), "Prometheus answers")
        os.kill(server.worker(), signal.SIGKILL)
        server.wait_for("longjump_worker_up", 1)
        rounds = itertools.count()

        def all_is_there() -> bool:
            load(server, next(rounds))
            assert api.client.post("/generate?steps=1").status_code == 200
            return all(
                seen.ask(query.expression)
                for query in [*panel_queries(), *rule_queries("record")]
                if query.asker not in QUIET
            )

        with contextlib.suppress(AssertionError):  # which expressions are empty, each test says for itself
            eventually(all_is_there, "data everywhere")
        yield seen
    finally:
        seen.close()
        process.terminate()
        process.wait(60)
        fleet.end()
        with contextlib.suppress(StopIteration):
            next(servers)


def prometheus(folder: Path, port: int, *targets: str) -> subprocess.Popen[bytes]:
    """A Prometheus with the configuration of deploy/, but for its pace and its targets."""
    assert PROGRAM is not None
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(PROMETHEUS / name) for name in config["rule_files"]]
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [*targets]
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    command = [PROGRAM, f"--config.file={path}", f"--storage.tsdb.path={folder / 'data'}", "--log.level=warn"]
    with (folder / "prometheus.log").open("w") as log:
        return subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)


def load(server: Server, turn: int) -> None:
    """A few requests: every step count, a stream, the cache, one that is wrong, and more at once than may wait."""
    for steps in (1, 2, 4):
        for _ in range(2):  # the second from the cache
            assert server.client.post(f"/generate?seed={turn}&steps={steps}").status_code == 200
    assert "event:" in server.client.get(f"/generate?seed={turn + 1000}&steps=2&stream=first").text
    assert server.client.post("/generate?steps=-1").status_code == 422
    burst = [server.send(f"/generate?seed={2000 + 20 * turn + one}&steps=4&n=4") for one in range(12)]
    assert {answer.result().status_code for answer in burst} <= {200, 429}
    time.sleep(0.5)  # Prometheus looks once a second


@pytest.mark.parametrize("query", panel_queries(), ids=lambda query: f"{query.asker}: {query.expression[:40]}")
def test_panel_has_data(watched: Watched, query: Query) -> None:
    assert watched.ask(query.expression) or query.asker in QUIET, query.expression


@pytest.mark.parametrize("query", rule_queries("record"), ids=lambda query: query.asker)
def test_recorded_rule_has_data(watched: Watched, query: Query) -> None:
    assert watched.ask(query.expression), query.expression
    assert watched.ask(query.asker), f"{query.asker} is not recorded"


def test_no_rule_is_at_fault_and_no_page_goes_out(watched: Watched) -> None:
    found = {rule["name"]: rule for rule in watched.rules()}
    assert not {name: rule["lastError"] for name, rule in found.items() if rule["health"] != "ok"}
    alerts = {query.asker for query in rule_queries("alert")}
    assert alerts <= found.keys()
    paging = [name for name in alerts if found[name]["labels"]["severity"] == "page"]
    assert not [name for name in paging if found[name]["state"] == "firing"]


@pytest.mark.parametrize("query", rule_queries("alert"), ids=lambda query: query.asker)
def test_alert_looks_at_series_that_exist(watched: Watched, query: Query) -> None:
    """Empty while nothing is wrong, but each selector in it finds something: a misspelt label would find nothing."""
    parts = list(selectors(query.expression)) or ['up{job="longjump"}']
    assert not [part for part in parts if not watched.ask(part)]


@pytest.mark.parametrize("query", rule_queries("record"), ids=lambda query: query.asker)
def test_recorded_rule_looks_at_series_that_exist(watched: Watched, query: Query) -> None:
    parts = [part for part in selectors(query.expression) if not any(label in part for label in NEVER_HERE)]
    assert not [part for part in parts if not watched.ask(part)]


def test_every_name_is_one_of_the_server_or_of_a_rule(watched: Watched) -> None:
    known = watched.declared() | {query.asker for query in rule_queries("record")}
    asked = {
        name: query.asker
        for query in [*panel_queries(), *rule_queries("record"), *rule_queries("alert")]
        for name in names(query.expression)
        if name not in known
    }
    assert not asked
    assert "longjump_made_up_total" not in known


def test_dashboard_of_one_machine_needs_no_fleet(watched: Watched) -> None:
    known = watched.declared(alone=True) | {query.asker for query in rule_queries("record")}
    (path,) = [path for path in DASHBOARDS if path.stem == "longjump"]
    assert {name for query in panel_queries(path) for name in names(query.expression)} <= known
    assert not [name for name in known if "_fleet_" in name or "redis" in name]


def test_control_a_misspelt_metric_is_empty(watched: Watched) -> None:
    assert not watched.ask('sum(rate(longjump_requests{code="200"}[5m]))')
    assert not watched.ask('longjump_requests_total{status="200"}')


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/-/ready").status_code == 200
    except httpx.HTTPError:
        return False


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
