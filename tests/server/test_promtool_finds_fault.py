"""/metrics is a page that Prometheus's own linter finds no fault with, idle and after everything has happened."""

from __future__ import annotations

import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from prometheus_client import Counter

from server.errands.tally import JobSeries, Tally
from server.jobs import Stages
from server.observe.account import Account
from server.observe.fleet import ROUND_TRIP_SECONDS, AgentSeries, RedisSeries
from server.observe.metrics import REASONS, Metrics
from server.observe.series import Spread
from server.version import version

PROMTOOL = shutil.which("promtool")


class FakeLine:
    """What the gauges read of a line."""

    def __init__(self, name: str, measured: bool) -> None:
        self.model = SimpleNamespace(
            name=name,
            fingerprint=f"fingerprint of {name}",
            manifest=SimpleNamespace(kind="image", steps=(1, 2)),
            engine={"name": "onnxruntime-cpu", "precision": "fp32"},
        )
        self.workers_wanted = 2
        self._measured = measured

    def capacity(self) -> dict[str, object]:
        classes = {"interactive": 3, "batch": 5}
        return {
            "workers": 1,
            "agents": 4,
            "measured": self._measured,
            "rows_per_tick": 2,
            "tick_seconds": {"1": 0.004, "2": 0.006},
            "predicted_wait_seconds": classes,
            "waiting": 1,
            "running": 2,
            "row_steps": classes,
            "bytes": 7,
            "bounds": {"requests": 1024, "row_steps": 65_536, "bytes": 2**28},
        }

    def default_deadline(self, priority: str) -> float:
        return {"interactive": 1.0, "batch": 60.0}[priority]


def lively() -> Metrics:
    """Metrics of a server to which everything has happened."""
    metrics = Metrics()
    starting = SimpleNamespace(model=None)
    lines = [FakeLine("one", True), FakeLine("two", False), starting]
    metrics.watch(SimpleNamespace(lines=lines, up=False, shared=False))  # type: ignore[arg-type]
    metrics.watch_cache(SimpleCache())
    metrics.add(JobSeries(Tally()))
    metrics.ticked("one", 3, 0.004)
    metrics.ticked("one", 3, 0.004, padding=1)
    stages = Stages(0.001, 0.004, 0.0001, 0.0005)
    done = Account("generate", 200, None, "one", 4, "run", stages, 1.0, first_image=0.002, priority="batch")
    metrics.answered(done, 0.006)
    metrics.answered(done, 1.5)
    metrics.answered(Account("images", 504, "deadline-passed", "one", 1, priority="interactive"), 1.0)
    metrics.answered(Account("generate", 422, "invalid-request"), 0.001)
    metrics.looked_up("hit", 1000)
    metrics.looked_up("miss", 0)
    metrics.refused("too-late")
    metrics.cancelled("waiting")
    metrics.reduced(8, 2)
    metrics.restarted("one")
    return metrics


def shared() -> Metrics:
    """Metrics of an API process of a fleet, in which two versions of a model are served, and of a worker in one."""
    metrics = Metrics()
    hold = SimpleNamespace(name="one", entries={}, reclaimed=1, ended={"done": 2}, buried={"deaths": 3})
    seconds = Spread(ROUND_TRIP_SECONDS)
    seconds.observe(0.001)
    metrics.add(RedisSeries(SimpleNamespace(away=False), seconds))
    metrics.add(AgentSeries(SimpleNamespace(holds=[hold], overtaken=4)))
    lines = [FakeLine("one", True), FakeLine("one", False)]
    metrics.watch(SimpleNamespace(lines=lines, up=True, shared=True))  # type: ignore[arg-type]
    lines[1].model.fingerprint = "another"
    return metrics


class SimpleCache:
    bytes, max_bytes = 10, 100
    evictions, evicted_bytes = 3, 3000

    def __len__(self) -> int:
        return 1


def lint(page: bytes) -> tuple[int, str]:
    assert PROMTOOL is not None
    ran = subprocess.run([PROMTOOL, "check", "metrics"], input=page, capture_output=True, timeout=60, check=False)
    return ran.returncode, (ran.stdout + ran.stderr).decode()


needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="needs promtool: Debian package prometheus")


@needs_promtool
@pytest.mark.parametrize("metrics", [Metrics(), lively(), shared()], ids=["idle", "lively", "fleet"])
def test_no_fault_is_found(metrics: Metrics) -> None:
    assert lint(metrics.text()) == (0, "")


@needs_promtool
def test_control_a_name_without_unit_is_found() -> None:
    metrics = lively()
    Counter("longjump_waitMilliseconds", "Camel case, and no base unit.", registry=metrics.registry)
    code, said = lint(metrics.text())
    assert code != 0
    assert "waitMilliseconds" in said


def test_every_event_moves_its_series() -> None:
    before, after = values(Metrics()), values(lively())
    expected = {
        'longjump_requests_total{code="200",endpoint="generate",priority="batch",steps="4"}': 2,
        'longjump_requests_total{code="504",endpoint="images",priority="interactive",steps="1"}': 1,
        'longjump_requests_total{code="422",endpoint="generate",priority="none",steps="none"}': 1,
        'longjump_request_seconds_count{endpoint="generate",priority="batch",source="run",steps="4"}': 2,
        'longjump_first_image_seconds_bucket{le="0.002",steps="4"}': 2,
        'longjump_stage_seconds_bucket{le="0.003",stage="network",steps="4"}': 0,
        'longjump_stage_seconds_bucket{le="0.005",stage="network",steps="4"}': 2,
        'longjump_tick_rows_sum{model="one"}': 6,
        'longjump_tick_padding_rows_total{model="one"}': 1,
        'longjump_row_steps_total{model="one"}': 6,
        'longjump_rejected_total{reason="too-late"}': 1,
        'longjump_cancelled_total{stage="waiting"}': 1,
        'longjump_deadline_missed_total{outcome="late"}': 1,
        'longjump_deadline_missed_total{outcome="expired"}': 1,
        'longjump_steps_reduced_total{steps="2"}': 1,
        'longjump_cache_requests_total{outcome="hit"}': 1,
        'longjump_cache_requests_total{outcome="miss"}': 1,
        "longjump_cache_hit_bytes_total": 1000,
        "longjump_cache_bytes": 10,
        "longjump_cache_evictions_total": 3,
        "longjump_cache_evicted_bytes_total": 3000,
        'longjump_worker_restarts_total{model="one"}': 1,
        'longjump_backlog_row_steps{model="one",priority="batch"}': 5,
        'longjump_workers_up{model="two"}': 1,
        'longjump_workers{model="two"}': 2,
        'longjump_tick_cost_seconds{model="one",rows="2"}': 0.006,
        'longjump_queue_limit_requests{model="one"}': 1024,
        'longjump_queue_limit_row_steps{model="two"}': 65_536,
        'longjump_queue_limit_bytes{model="one"}': 2**28,
        'longjump_default_deadline_seconds{model="two",priority="batch"}': 60,
    }
    assert {series: after.get(series) for series in expected} == expected
    assert not any(before.get(series) for series in expected)
    assert 'longjump_tick_cost_seconds{model="two",rows="2"}' not in after  # a guess is not told as a measurement
    assert 'longjump_request_seconds_count{endpoint="images",source="run",steps="1"}' not in after


def test_a_rate_is_known_from_the_first_event() -> None:
    """What may happen is at 0 before it has, of a server and of each of its models."""
    metrics = Metrics()
    metrics.watch(SimpleNamespace(lines=[FakeLine("one", True)], up=True, shared=False))  # type: ignore[arg-type]
    zero = {
        *(f'longjump_rejected_total{{reason="{reason}"}}' for reason in REASONS),
        'longjump_cancelled_total{stage="encoding"}',
        'longjump_deadline_missed_total{outcome="expired"}',
        'longjump_steps_reduced_total{steps="2"}',
        'longjump_worker_restarts_total{model="one"}',
        'longjump_row_steps_total{model="one"}',
        'longjump_tick_seconds_count{model="one"}',
    }
    found = values(metrics)
    assert {name: found.get(name) for name in zero} == dict.fromkeys(zero, 0)


def test_load_of_a_fleet_has_names_of_its_own() -> None:
    """Each API process tells the same of the fleet: a sum over servers must not count it again for each."""
    told = values(shared())
    assert told['longjump_fleet_waiting{model="one"}'] == 2
    assert told['longjump_fleet_workers_up{model="one"}'] == 2
    assert told['longjump_fleet_agents{model="one"}'] == 8
    assert told['longjump_fleet_backlog_row_steps{model="one",priority="batch"}'] == 10
    assert told['longjump_predicted_wait_seconds{model="one",priority="interactive"}'] == 3
    alone = {"waiting", "running", "backlog_row_steps", "backlog_bytes", "workers_up", "workers", "row_steps_total"}
    assert not [name for name in told if name.partition("{")[0].removeprefix("longjump_") in alone]


def test_versions_are_told() -> None:
    build = [name for name in values(Metrics()) if name.startswith("longjump_build_info")]
    python = ".".join(map(str, sys.version_info[:3]))
    assert build == [f'longjump_build_info{{python="{python}",version="{version()}"}}']


def values(metrics: Metrics) -> dict[str, float]:
    lines = (line for line in metrics.text().decode().splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}
