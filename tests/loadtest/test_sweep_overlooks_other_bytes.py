"""A sweep whose server gives other pictures under load than alone must say so, and must not be slowed by looking."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loadtest import verify
from loadtest.kept import Kept
from loadtest.measure import measure
from loadtest.messages import Assignment
from loadtest.report.page import page
from loadtest.report.terminal import table
from loadtest.result import Run
from loadtest.settings import Settings
from loadtest.sweep import command
from loadtest.sweep.findings import summary
from loadtest.sweep.result import read_sweep
from loadtest.target import References
from loadtest.traffic import mix
from tests.loadtest.fake_server import fake_server
from tests.loadtest.sweeps import SHORT, FakeServer
from tests.loadtest.test_sweep_loses_what_it_measured import Found, parsed

OTHER = "gives other pictures"


def loaded(settings: Settings) -> int:
    """Other bytes at 4 steps under load, and never alone."""
    return 2 if 4 in settings.steps and settings.rate is not None else 0


def run(known: References | None, seed: int, **behaviour: Any) -> Run:
    with fake_server(delay=0.002, **behaviour) as url:
        asked = Settings(url, rate=60, seconds=0.5, warmup=0, verify=0.5, verify_seed=7, seed=seed, max_lateness=10)
        return measure(asked, known=known)


def test_runs_after_the_first_compare_with_what_the_first_was_given() -> None:
    """The second server, asked alone, would give the same pictures as under load; the first one's were others."""
    known = References()
    first = run(known, seed=1)
    asked = dict(known.digests)
    assert first.checks.same_bytes == "yes"
    assert first.checks.compared > 0
    second = run(known, seed=2, fault=OTHER, fault_after=0)
    assert second.load.seed != first.load.seed
    assert second.checks.same_bytes == "no"
    assert second.checks.different == second.checks.compared > 0
    assert known.digests == asked, "nothing was asked again"
    assert run(None, seed=2, fault=OTHER, fault_after=0).checks.same_bytes == "yes", "control: asked anew"


def test_runs_with_other_seeds_repeat_the_same_requests() -> None:
    one, other = (mix(Settings("http://x", rate=1, seed=seed, verify_seed=7)) for seed in (1, 2))
    assert one.cases == other.cases
    assert one.first_seed != other.first_seed
    assert mix(Settings("http://x", rate=1, seed=1)).cases != mix(Settings("http://x", rate=1, seed=2)).cases


def test_nothing_is_compared_or_decoded_before_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """While requests are sent, a reply is only put aside: no hash and no decoder stands between two of them."""
    from loadtest import sender as subject
    from loadtest.client import Reply
    from loadtest.verify import Expected

    class Client:
        retried, fault = 0, ""

        def __init__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(subject, "Client", Client)
    looked: list[str] = []
    for name in ("digest", "decode"):
        monkeypatch.setattr(verify, name, lambda *_, name=name: looked.append(name))
    settings = Settings("http://x", rate=1)
    blend = mix(settings)
    part = Assignment(
        settings,
        ("127.0.0.1", 1, None),  # type: ignore[arg-type]
        "x",
        "",
        {kind: Expected(format="json") for kind in blend.kinds},
        (b"", b""),
        blend,
        None,
        None,
        1,
        0,
        1000,
    )
    sender = subject.Sender(part)
    reply = Reply(200, "", {b"content-type": b"application/json"}, b"[]", 0.0, 0.1)
    assert sender._take(0.0, 0, 0, reply)
    assert looked == []
    sender._compare()
    sender._decode()
    assert looked == ["digest", "decode"]
    assert sender._findings.compared == sender._findings.decoded == 1


def test_what_is_kept_fits_and_is_of_the_whole_run() -> None:
    kept = Kept(1000, random.Random(0))
    for i in range(1000):
        kept.add(i, bytes(20))
    taken = kept.take()
    assert len(taken) == 50
    assert 350 < sum(i for i, _ in taken) / len(taken) < 650
    assert kept.take() == []


def test_other_bytes_are_in_json_table_and_page(tmp_path: Path) -> None:
    out = tmp_path / "sweep.json"
    FakeServer(different=loaded).sweep(out, SHORT)
    sweep = read_sweep(out)
    one, four = (found.checks for found in sweep.found)
    assert one is not None
    assert four is not None
    assert (one.same_bytes, one.different) == ("yes", 0)
    assert four.same_bytes == "no"
    wanted = 2 * sum(run.steps[0].steps == 4 and run.load.rate is not None for run in sweep.runs)
    assert four.different == wanted > 0
    said = summary(sweep)
    for text in (table(said, width=1000), page(said)):
        assert "OTHER BYTES" in text
        assert f"4 NFE: {wanted}" in text
        assert "steps=4, seed=7" in text
    assert f"{four.compared - wanted} of {four.compared}" in table(said)
    for level in said.curves[1].levels:
        assert level.different == 2 * level.runs
        assert f"<td>{level.compared - level.different:,} of {level.compared:,}</td>" in page(said)


def test_same_bytes_are_said_without_alarm(tmp_path: Path) -> None:
    said = summary(FakeServer().sweep(tmp_path / "sweep.json", SHORT))
    for text in (table(said, width=1000), page(said)):
        assert "compared with the idle server's for the same request: the same bytes" in text.replace("&#x27;", "'")
        assert "OTHER BYTES" not in text


def test_what_is_not_promised_is_said_and_not_blamed(tmp_path: Path) -> None:
    said = summary(FakeServer(different=loaded, promised=False).sweep(tmp_path / "sweep.json", SHORT))
    assert not said.warnings
    assert "which this model does not rule out" in table(said, width=1000)


def test_sweep_that_was_made_before_says_nothing_of_bytes(tmp_path: Path) -> None:
    said = summary(FakeServer().sweep(tmp_path / "sweep.json", SHORT))
    old = replace(said, curves=tuple(replace(curve, checks=None) for curve in said.curves))
    assert "Replies" not in table(old, width=1000)
    assert page(old)


@pytest.mark.parametrize(("different", "code"), [(0, 0), (loaded, 1)])
def test_exit_code_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], different: Any, code: int
) -> None:
    server = FakeServer(different=different)
    monkeypatch.setattr("loadtest.target.find", lambda _: Found)
    monkeypatch.setattr("loadtest.measure.measure", lambda settings, known: server.measure(settings))
    out = tmp_path / "sweep.json"
    assert command.run(parsed("--out", str(out), "--slo", "50,100", "--minutes", "0.75")) == code
    assert ("OTHER BYTES" in capsys.readouterr().err) == bool(code)
    assert all(one.verify == 0.05 and one.verify_seed == server.asked[0].verify_seed for one in server.asked)
