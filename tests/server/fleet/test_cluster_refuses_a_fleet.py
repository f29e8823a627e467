"""A fleet in a Redis Cluster: its keys lie on one node, which is found whichever node the URL names."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from .alone import job, over_redis
from .redis_server import RedisServer
from .roads import RedisRoad, until


def test_fleet_lives_on_the_node_that_has_its_keys(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    nodes = [RedisServer(folder, "--cluster-enabled", "yes") for folder in folders]
    try:
        with nodes[0].client() as one, nodes[1].client() as two:
            one.execute_command("CLUSTER MEET", "127.0.0.1", str(nodes[1].port))
            two.execute_command("CLUSTER ADDSLOTS", *map(str, range(16384)))
            deadline = time.monotonic() + 30
            while one.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
                assert time.monotonic() < deadline, "the cluster did not form"
                time.sleep(0.05)

        async def test(road: RedisRoad) -> None:
            answer = await road.submit(job(1))
            await until(lambda: 1 in road.worker.jobs)
            road.worker.answer(1)
            assert (await asyncio.wait_for(answer, 30)).blobs == [b"picture 1"]

        over_redis(nodes[0], test)
        with nodes[1].client() as two:
            assert two.execute_command("DBSIZE") > 0
    finally:
        for node in nodes:
            node.kill()
