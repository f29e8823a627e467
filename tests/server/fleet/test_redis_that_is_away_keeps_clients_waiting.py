"""Without Redis requests get an error with words at once, or at their deadline; with it again all goes on."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest

from server.fleet.connection import Away, Redis
from server.fleet.where import Where
from server.jobs import Stopped

from ..conftest import ROOT, eventually
from .alone import job, over_redis
from .conftest import Fleet
from .redis_server import RedisServer
from .roads import RedisRoad, until


def test_request_without_redis_is_refused_with_words(server: RedisServer) -> None:
    async def test(road: RedisRoad) -> None:
        waiting = await road.submit(job(1, deadline=time.monotonic() + 1.5))
        await until(lambda: 1 in road.worker.jobs)
        server.kill()
        await until(lambda: not road.lines.up)
        assert "cannot be reached" in road.lines.lacking
        with pytest.raises(Stopped, match="cannot be reached"):
            await road.submit(job(2))  # which has an hour's time
        await asyncio.wait({waiting}, timeout=30)
        assert isinstance(waiting.exception(), Stopped)
        server.start()
        await until(lambda: road.lines.up and road.line.up)
        again = await road.submit(job(3))
        await until(lambda: 3 in road.worker.jobs)
        road.worker.answer(3)
        await asyncio.wait_for(again, 30)

    over_redis(server, test)


def test_redis_that_hangs_is_waited_for_until_the_deadline(server: RedisServer) -> None:
    async def test(road: RedisRoad) -> None:
        server.signal(signal.SIGSTOP)
        with pytest.raises(Stopped, match="did not take the request before its deadline"):
            await road.submit(job(1, deadline=time.monotonic() + 0.3))
        server.signal(signal.SIGCONT)
        await until(lambda: road.lines.up)
        await asyncio.sleep(0.2)
        for seed in list(road.worker.jobs):  # it may have come in after all, and was taken back or is done for nobody
            road.worker.answer(seed)
        answer = await road.submit(job(2))
        await until(lambda: 2 in road.worker.jobs)
        road.worker.answer(2)
        await asyncio.wait_for(answer, 30)

    over_redis(server, test)


def test_redis_that_waits_for_its_master_is_waited_for(server: RedisServer) -> None:
    """A replica during a fail-over answers MASTERDOWN to all there is; that is no refusal."""

    async def test(road: RedisRoad) -> None:
        with server.client() as client:
            client.config_set("replica-serve-stale-data", "no")
            client.replicaof("127.0.0.1", 1)
            with pytest.raises(Stopped, match=r"(cannot be reached|does not answer): Link with MASTER is down"):
                await road.submit(job(1))
            said: list[str] = []
            await Redis(Where(server.url), "test", said.append).check()  # a server that starts now waits too
            assert all("trying again until it is there" in words for words in said)  # from Redis 7 on it gets in
            client.replicaof("NO", "ONE")
        await until(lambda: road.lines.up)
        answer = await road.submit(job(2))
        await until(lambda: 2 in road.worker.jobs)
        road.worker.answer(2)
        await asyncio.wait_for(answer, 30)

    over_redis(server, test)


def test_answer_waits_while_redis_takes_no_writes(tmp_path: Path) -> None:
    """A master that became a replica refuses what scripts write; Redis 6 says that otherwise than later ones."""
    folders = [tmp_path / name for name in ("one", "other")]
    for folder in folders:
        folder.mkdir()
    server, other = map(RedisServer, folders)

    async def follow(one: RedisServer, master: RedisServer) -> None:
        with one.client() as client:
            client.replicaof("127.0.0.1", master.port)
            await until(lambda: client.info("replication")["master_link_status"] == "up")

    async def test(road: RedisRoad) -> None:
        answer = await road.submit(job(1))
        await until(lambda: 1 in road.worker.jobs)
        await follow(other, server)  # so that the job is there, too
        with server.client() as client, other.client() as second:
            second.replicaof("NO", "ONE")
            await follow(server, other)
            road.worker.answer(1)
            await until(lambda: not road.lines.up)
            assert "read only replica" in road.lines.lacking
            assert not answer.done()
            client.replicaof("NO", "ONE")
        await asyncio.wait_for(answer, 30)

    try:
        over_redis(server, test)
    finally:
        server.kill()
        other.kill()


def test_cluster_that_is_down_is_waited_for(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, "--cluster-enabled", "yes")

    async def test() -> None:
        channel = Redis(Where(server.url), "test", print).channel()
        with pytest.raises(Away, match="does not answer: Hash slot not served"):
            await channel.call(("GET", "one"))
        with server.client() as client:
            client.execute_command("CLUSTER ADDSLOTS", *map(str, range(16384)))
            await until(lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
        assert await channel.call(("GET", "one")) == [None]
        await channel.close()

    try:
        asyncio.run(test())
    finally:
        server.kill()


def test_redis_behind_a_socket_of_the_machine(tmp_path: Path, images: Path) -> None:
    path = tmp_path / "redis.sock"
    fleet = Fleet(tmp_path, RedisServer(tmp_path, "--unixsocket", str(path)))
    fleet.url = f"unix://{path}"
    try:
        fleet.worker(images)
        api = fleet.api()
        assert api.client.post("/generate?seed=1").status_code == 200
        assert api.client.get("/readyz").status_code == 200
    finally:
        fleet.end()


def test_servers_start_before_redis(fleet: Fleet, images: Path) -> None:
    fleet.redis.kill()
    api = fleet.api(ready=False)
    agent = fleet.worker(images, ready=False)
    api.wait_until_listening()
    refused = api.client.post("/generate?seed=1")
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert "cannot be reached" in api.client.get("/readyz").json()["detail"]
    fleet.redis.start()
    agent.wait_until_ready()
    eventually(lambda: api.client.get("/readyz").status_code == 200, "all is there")
    assert api.client.post("/generate?seed=1").status_code == 200
    assert "".join(api.said).count("cannot be reached") == 1


@pytest.mark.parametrize(
    ("where", "words"),
    [
        (Where("http://localhost"), "not the URL of a Redis; write redis://HOST:6379"),
        (Where("redis://localhost:notaport"), "not the URL of a Redis"),
        (Where("redis://[::1"), "not the URL of a Redis"),
        (Where("redis://localhost?pasword=opensesame"), "redis://localhost: what the URL says after . is no option"),
        (Where("redis://localhost?protocol=3"), "is no option; it may be db, username, password"),
        (Where("unix:///run/redis.sock?decode_responses=1"), "redis.sock: what the URL says after . is no option"),
        (Where("unix://"), "unix:///PATH"),
        (Where("unix://run/redis.sock"), "unix:///PATH"),
        (Where("redis://localhost", ca=Path("/dev/null")), "certificates are for TLS"),
        (Where("redis://localhost", password_file=Path("/no/such")), "/no/such"),
        (Where("rediss://localhost", ca=Path("/no/such")), "/no/such"),
    ],
)
def test_wrong_flag_is_refused_with_what_would_be_right(where: Where, words: str) -> None:
    with pytest.raises((ValueError, OSError), match=words):
        Redis(where, "test", print)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:opensesame@host:6379/0", "redis://host:6379/0"),
        ("redis://host:6379?password=opensesame", "redis://host:6379"),
        ("user:opensesame@host", "host"),  # the scheme was forgotten
        ("host", "host"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
    ],
)
def test_no_form_of_a_url_shows_its_password(url: str, shown: str) -> None:
    assert Where(url).shown == shown


def test_bundle_beside_redis_is_refused_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "longjump.py"), "serve", "--redis", "redis://localhost", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert ended.stderr.startswith("longjump serve: error: --redis: the bundles are where the workers are")
    assert ended.stderr.count("\n") == 1


def test_password_is_asked_for_and_never_shown(server: RedisServer, tmp_path: Path) -> None:
    with server.client() as client:
        client.config_set("requirepass", "opensesame")
    wrong = tmp_path / "wrong"
    wrong.write_text("wrongsesame\n")
    said: list[str] = []

    async def refused(where: Where) -> None:
        with pytest.raises(ValueError, match=f"127.0.0.1:{server.port}") as error:
            await Redis(where, "test", said.append).check()
        assert "sesame" not in str(error.value)

    for where in (
        Where(server.url),
        Where(server.url, password_file=wrong),
        Where(f"redis://:wrongsesame@127.0.0.1:{server.port}"),
        Where(f"redis://someone:wrongsesame@127.0.0.1:{server.port}/3"),
    ):
        asyncio.run(refused(where))
    assert said == []
    asyncio.run(Redis(Where(f"redis://:opensesame@127.0.0.1:{server.port}"), "test", said.append).check())


RIGHTS = "+@read +@write +@stream +@scripting +@connection -@dangerous +client|setname +time +info"
"""What docs/fleet.md says that a user of Redis needs, on keys that begin with {longjump:."""


def test_user_with_few_rights_is_enough(fleet: Fleet, images: Path, tmp_path: Path) -> None:
    with fleet.redis.client() as client:
        client.execute_command("ACL SETUSER longjump on >opensesame ~{longjump:*", *RIGHTS.split())
        client.execute_command("ACL SETUSER default off")
    secret = tmp_path / "secret"
    secret.write_text("opensesame\n")
    fleet.url = fleet.url.replace("://", "://longjump@")
    agent = fleet.worker(images, LONGJUMP_REDIS_PASSWORD="opensesame")
    api = fleet.api("--redis-password-file", str(secret), "--rate", "100/second")
    assert api.client.post("/generate?seed=1").status_code == 200
    assert api.client.post("/generate?seed=2&steps=4&stream=every").status_code == 200
    said = "".join(agent.said + api.said)
    for word in ("sesame", "NOPERM", "permission"):
        assert word not in said


def test_server_that_may_not_look_is_not_ready(fleet: Fleet, images: Path) -> None:
    """What it knew of workers holds for seconds and not for ever: they may be gone, and it would not hear of it."""
    fleet.worker(images)
    api = fleet.api()
    parts = ("work", "load", "reply", "control", "model", "dead")
    with fleet.redis.client() as client:
        client.execute_command("ACL SETUSER default resetkeys", *(f"~*:{part}*" for part in parts))
        eventually(lambda: api.client.get("/readyz").status_code == 503, "it is not ready")
        why = api.client.get("/readyz").json()["detail"]
        assert "refuses to tell who is there" in why
        assert "permission" in why
        refused = api.client.post("/generate?seed=1")
        assert refused.status_code == 503
        assert "Redis has not told for" in refused.json()["detail"]
        client.execute_command("ACL SETUSER default ~*")
        eventually(lambda: api.client.get("/readyz").status_code == 200, "it is ready again")
        assert api.client.post("/generate?seed=1").status_code == 200
    assert "".join(api.said).count("refuses to tell who is there") == 1


def test_encrypted_redis_is_checked_and_let_in(tmp_path: Path) -> None:
    """A TLS end of the test's own stands before Redis; without its certificate nobody believes it."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subject = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2")
    command = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject)
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    server = RedisServer(tmp_path)

    async def whole() -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)

        async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there, back = await asyncio.open_connection("127.0.0.1", server.port)
            await asyncio.gather(copy(reader, back), copy(there, writer))

        async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError, ssl.SSLError):
                while data := await reader.read(2**16):
                    writer.write(data)
            writer.close()

        front = await asyncio.start_server(pass_on, "127.0.0.1", 0, ssl=context)
        url = f"rediss://localhost:{front.sockets[0].getsockname()[1]}"
        said: list[str] = []
        with pytest.raises(ValueError, match="certificate verify failed"):
            await Redis(Where(url), "test", said.append).check()
        channel = Redis(Where(url, ca=certificate), "test", said.append).channel()
        assert await channel.call(("PING",)) == [b"PONG"]
        await channel.close()
        assert said == []
        front.close()

    try:
        asyncio.run(whole())
    finally:
        server.kill()
