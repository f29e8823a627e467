"""A server that is not there, goes away, or is something else: a clear line, an exit code, and what was measured."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

import longjump
from loadtest.result import read

from .fake_server import fake_server


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of what accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def load(*arguments: object) -> int:
    return longjump.main(["loadtest", "run", *map(str, arguments), "--quiet", "--max-lateness", "10s"])


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr; nothing is on stdout."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


def test_nobody_listens(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert load(f"127.0.0.1:{port}", "--rate", 5) == 2
    line = said(capsys)
    assert f"http://127.0.0.1:{port}: Connection refused" in line
    assert "longjump serve" in line


def test_nobody_answers(silent: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert load(silent, "--rate", 5, "--timeout", 0.3) == 2
    assert "gave no answer to GET /v1/models within 0.3 s" in said(capsys)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("redirects", "redirects (308) to http://elsewhere:1/v1/models"),
        ("hangs", "gave no answer to POST /generate?steps=1&seed="),
        ("hangs up", "did not answer POST /generate?steps=1&seed="),
        ("is no HTTP", "with a whole HTTP reply"),
        ("gives another kind", "the content type is text/html, not image/png"),
        ("gives the wrong size", "the picture is 8x8, not 4x4"),
    ],
)
def test_idle_server_that_will_not_do_is_refused(fault: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with fake_server(fault=fault, fault_after=1) as url:
        assert load(url, "--rate", 5, "--timeout", 0.5) == 2
    assert message in said(capsys)


@pytest.mark.parametrize("loop", [("--rate", 50), ("--concurrency", 2)])
def test_server_that_dies_ends_the_run(
    loop: tuple[object, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run.json"
    with fake_server(fault="dies", fault_after=40, delay=0.01) as url:
        assert load(url, *loop, "--warmup", 0, "--seconds", 60, "--out", out) == 1
    shown, _ = capsys.readouterr()
    assert "the server went away" in shown
    run = read(out)
    assert run.aborted
    assert not run.valid
    assert 0 < run.ok < 40
    assert run.window.seconds < 30
    assert {group.status for group in run.groups} >= {"200", "refused"}


def test_server_that_only_refuses_is_no_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A storm of 429 is measured, and is an answer; without one good reply there is no figure to trust."""
    out = tmp_path / "run.json"
    with fake_server(fault="refuses", fault_after=4) as url:
        assert load(url, "--rate", 100, "--warmup", 0, "--seconds", 1, "--out", out) == 1
    assert "no request of the window got a good reply" in capsys.readouterr().out
    run = read(out)
    assert not run.aborted
    assert {group.status for group in run.groups} == {"429"}


def test_server_that_says_nothing_of_itself_can_be_loaded() -> None:
    with fake_server(describes_itself=False) as url:
        assert load(url, "--rate", 50, "--warmup", 0, "--seconds", 0.5, "--steps", 3) == 0
