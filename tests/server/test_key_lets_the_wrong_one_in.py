"""With `--api-keys` nothing but probes, metrics and documentation is answered without a key, and keys stay secret."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from server.http.auth import Key, Keys, line_of, make_key, read_keys

from .conftest import ROOT, Server, Start, eventually


@pytest.fixture(scope="module")
def keys() -> dict[str, tuple[str, Key]]:
    return {"alice": make_key("alice"), "ops": make_key("ops", admin=True)}


@pytest.fixture(scope="module")
def key_file(keys: dict[str, tuple[str, Key]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("keys") / "keys.txt"
    file.write_text("# who may ask\n\n" + "".join(line_of(key) + "\n" for _, key in keys.values()))
    return file


@pytest.fixture(scope="module")
def server(start_shared: Start, images: Path, key_file: Path) -> Server:
    return start_shared(images, "--api-keys", str(key_file), "--log-requests", "--log-format", "json")


def bearer(keys: dict[str, tuple[str, Key]], name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {keys[name][0]}"}


def test_what_is_open_is_open(server: Server) -> None:
    for path in ("/livez", "/readyz", "/metrics", "/docs", "/openapi.json", "/docs/favicon.png"):
        assert server.client.get(path).status_code == 200


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer lj_wrong", "Basic YTpi", "Bearer " + "x" * 10_000]
)
def test_without_a_key_there_is_nothing(server: Server, authorization: str | None) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    for path in ("/generate?seed=1", "/v1/models", "/v1/capacity", "/nothing", "/livez/", "/docsx"):
        refused = server.client.get(path, headers=headers)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"
        assert refused.headers["server-timing"].startswith("total;dur=")
    # A path that begins like an open one is not a way in.
    assert server.client.get("/docs/%2e%2e%2fgenerate?seed=1", headers=headers).status_code == 404


def test_a_key_opens(server: Server, keys: dict[str, tuple[str, Key]]) -> None:
    for name in keys:
        assert server.client.get("/generate?seed=1", headers=bearer(keys, name)).status_code == 200
    lower = {"authorization": f"bearer  {keys['alice'][0]}"}
    assert server.client.get("/generate?seed=1", headers=lower).status_code == 200


def test_the_hash_is_not_the_key(server: Server, keys: dict[str, tuple[str, Key]]) -> None:
    stolen = {"authorization": f"Bearer {keys['alice'][1].sha256}"}
    assert server.client.get("/generate?seed=1", headers=stolen).status_code == 401


def test_openai_clients_get_their_shape_of_it(server: Server) -> None:
    refused = server.client.post("/v1/images/generations", json={"prompt": "cat"})
    assert refused.status_code == 401
    assert refused.json()["error"]["code"] == "invalid_api_key"


def test_admin_takes_an_admin_key(server: Server, keys: dict[str, tuple[str, Key]]) -> None:
    refused = server.client.post("/admin/models", json={"name": "tiny"}, headers=bearer(keys, "alice"))
    assert refused.status_code == 403
    assert "--admin" in refused.json()["detail"]
    # Without --bundles the route is not there at all.
    off = server.client.post("/admin/models", json={"name": "tiny"}, headers=bearer(keys, "ops"))
    assert off.status_code == 404


def test_no_key_is_ever_logged(server: Server, keys: dict[str, tuple[str, Key]]) -> None:
    server.client.get("/generate?seed=1", headers=bearer(keys, "alice") | {"x-request-id": "the-last"})
    eventually(lambda: "the-last" in "".join(server.said), "the request is logged")
    said = "".join(server.said)
    assert '"client": "alice"' in said
    assert not any(text in said for text, _ in keys.values())


def test_file_holds_hashes_only(keys: dict[str, tuple[str, Key]], key_file: Path) -> None:
    found = read_keys(key_file)
    assert len(found) == 2
    assert found.admin
    for text, key in keys.values():
        assert text not in key_file.read_text()
        assert hashlib.sha256(text.encode()).hexdigest() in key_file.read_text()
        assert found.find(f"Bearer {text}".encode()) == key
    assert not Keys([keys["alice"][1]]).admin


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("alice", "name:sha256"),
        ("alice:lj_notAHash", "name:sha256"),
        ("alice:" + "0" * 63, "name:sha256"),
        ("alice:" + "0" * 64 + ":root", "name:sha256"),
        ("../alice:" + "0" * 64, "must be plain"),
        ("", "no key in it"),
    ],
)
def test_wrong_line_is_named_and_not_repeated(tmp_path: Path, line: str, says: str) -> None:
    file = tmp_path / "keys.txt"
    file.write_text(f"# comment\n{line}\n")
    with pytest.raises(ValueError, match=says) as raised:
        read_keys(file)
    assert "lj_notAHash" not in str(raised.value)
    if line:
        assert "line 2" in str(raised.value)


def test_one_key_for_two_names_is_refused() -> None:
    key = make_key("alice")[1]
    with pytest.raises(ValueError, match="'alice' and 'bob' have the same key"):
        Keys([key, key._replace(name="bob")])


def test_command_prints_the_line_and_shows_the_key_apart() -> None:
    command = [sys.executable, str(ROOT / "longjump.py"), "key", "alice", "--admin"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    name, sha256, admin = ran.stdout.strip().split(":")
    text = ran.stderr.strip().rsplit(" ", 1)[1]
    assert (name, admin) == ("alice", "admin")
    assert hashlib.sha256(text.encode()).hexdigest() == sha256
    assert text not in ran.stdout
    wrong = subprocess.run([*command[:3], "a:b"], capture_output=True, text=True, timeout=60, check=False)
    assert (wrong.returncode, wrong.stdout) == (2, "")
