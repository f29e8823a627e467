"""A worker of a fleet tells its supervisor and Prometheus how it is, where --metrics-port says."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx

from server.fleet.agent import Agent
from server.fleet.command import lacking
from server.fleet.connection import Redis
from server.fleet.keys import Keys
from server.fleet.where import Where

from ..conftest import eventually
from .conftest import Fleet
from .redis_server import RedisServer
from .roads import PlayedLine


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_supervisor_and_prometheus_see_it(fleet: Fleet, images: Path) -> None:
    port = free_port()
    fleet.worker(images, options=("--metrics-port", str(port)))
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        assert client.get("/readyz").status_code == 200
        assert 'longjump_row_steps_total{model="tiny"} 0.0' in client.get("/metrics").text
        assert fleet.api().client.post("/generate?seed=1&steps=2").status_code == 200
        eventually(
            lambda: 'longjump_row_steps_total{model="tiny"} 2.0' in client.get("/metrics").text, "its work is counted"
        )
        told = client.get("/metrics").text
        assert 'longjump_entries_ended_total{model="tiny",outcome="done"} 1.0' in told
        assert 'longjump_entries{model="tiny"} 0.0' in told
        assert "longjump_redis_up 1.0" in told
        fleet.redis.kill()
        eventually(lambda: client.get("/readyz").status_code == 503, "Redis is missed")
        assert "Redis" in client.get("/readyz").text
        assert client.get("/livez").status_code == 200  # to start it again would mend nothing
        assert "longjump_redis_up 0.0" in client.get("/metrics").text


def test_work_of_the_dead_is_seen_to_be_taken_over(fleet: Fleet, images: Path) -> None:
    port = free_port()
    dies = fleet.worker(images, held=True)
    api = fleet.api()
    answer = api.send("/generate?seed=1&steps=2")
    eventually(lambda: api.metric("longjump_fleet_running") == 1, "the first worker has it")
    fleet.worker(images, options=("--metrics-port", str(port)))
    dies.process.kill()
    assert answer.result().status_code == 200
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        eventually(
            lambda: 'longjump_entries_ended_total{model="tiny",outcome="done"} 1.0' in client.get("/metrics").text,
            "it is counted",
        )
        told = client.get("/metrics").text
        assert 'longjump_reclaimed_total{model="tiny"} 1.0' in told
        assert 'longjump_dead_letters_total{model="tiny",reason="deaths"} 0.0' in told
    assert api.metric("longjump_redis_seconds_count") > 0
    assert api.metric("longjump_fleet_agents") >= 1


def test_port_that_is_taken_ends_it_with_a_line(fleet: Fleet, images: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        agent = fleet.worker(images, options=("--metrics-port", port), ready=False)
        assert agent.process.wait(60) == 2
    assert f"{port}" in "".join(agent.said)


def test_worker_that_could_not_join_is_not_ready(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    up: Any = SimpleNamespace(draining=False, up=True)

    async def test() -> None:
        redis = Redis(Where(server.url), "test", print)
        agent, line = Agent(redis, Keys("default"), "agent"), PlayedLine()
        joining = asyncio.gather(agent.join(line))  # type: ignore[arg-type]
        assert lacking(up, joining, redis) == "it is joining the fleet"
        await joining
        assert lacking(up, joining, redis) is None
        line.model.startup["what no version can say"] = object()  # type: ignore[assignment]
        await agent.pipe.call("DEL", Keys("default").model(line.model.fingerprint))
        joining = asyncio.gather(agent.join(line))  # type: ignore[arg-type]
        await asyncio.wait({joining})
        assert isinstance(joining.exception(), TypeError)
        assert lacking(up, joining, redis) == "it could not join the fleet; its log says why"
        await agent.close()

    try:
        asyncio.run(test())
    finally:
        server.kill()
