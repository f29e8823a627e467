"""A sweep that is interrupted, resumed, or whose server goes away."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest

from loadtest.result import write
from loadtest.settings import Settings
from loadtest.sweep import command
from loadtest.sweep.conduct import Aborted
from loadtest.sweep.result import read_sweep
from tests.loadtest.fake_server import fake_server
from tests.loadtest.sweeps import ASKED, SHORT, FakeServer


def raising(error: BaseException, at: int) -> Any:
    def on_run(number: int) -> None:
        if number == at:
            raise error

    return on_run


def test_whole_sweep_is_written_and_read_back(tmp_path: Path) -> None:
    out = tmp_path / "sweep.json"
    sweep = FakeServer().sweep(out)
    assert read_sweep(out) == sweep
    assert sweep.seconds <= ASKED.budget
    assert not sweep.interrupted
    assert {one.steps for one in sweep.found} == {1, 4}
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.json"], "nothing half-written is left"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), None])
def test_ctrl_c_keeps_the_runs_before(tmp_path: Path, error: BaseException | None) -> None:
    """Whether the run raises, or comes back as an interrupted one, which says too little to be kept."""
    out = tmp_path / "sweep.json"
    server = FakeServer(on_run=raising(error, 6)) if error else FakeServer()
    if error is None:
        server.of_run["interrupted"] = lambda _: len(server.asked) == 6
    sweep = server.sweep(out)
    assert sweep.interrupted
    assert len(read_sweep(out).runs) == 5


def test_ctrl_c_before_the_first_run_writes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "sweep.json"
    assert FakeServer(on_run=raising(KeyboardInterrupt(), 1)).sweep(out).runs == ()
    assert not out.exists()


def test_server_that_goes_away_costs_nothing_measured(tmp_path: Path) -> None:
    out = tmp_path / "sweep.json"
    with pytest.raises(Aborted, match=r"connection refused; the 5 runs measured before are in .*sweep\.json"):
        FakeServer(on_run=raising(OSError("connection refused"), 6)).sweep(out)
    kept = read_sweep(out)
    assert len(kept.runs) == 5
    assert kept.aborted == "connection refused"


def test_server_that_was_never_there_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nothing there"):
        FakeServer(on_run=raising(OSError("nothing there"), 1)).sweep(tmp_path / "sweep.json")
    assert not list(tmp_path.iterdir())


def test_resumed_sweep_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "sweep.json"
    FakeServer(on_run=raising(KeyboardInterrupt(), 8)).sweep(out)
    before = read_sweep(out)
    server = FakeServer()
    after = server.sweep(out, before=before)
    assert after.runs[:7] == before.runs
    assert len(after.runs) == 7 + len(server.asked)
    assert before.seconds < after.seconds <= ASKED.budget
    assert after.started == before.started
    seeds = [run.load.seed for run in after.runs]
    assert server.asked[0].seed == ASKED.seed + 7, f"other arrivals than before ({seeds})"


def test_every_run_has_other_arrivals(tmp_path: Path) -> None:
    server = FakeServer()
    server.sweep(tmp_path / "sweep.json", SHORT)
    seeds = [settings.seed for settings in server.asked]
    assert len(set(seeds)) == len(seeds)


def test_last_seed_of_all_does_not_end_the_sweep(tmp_path: Path) -> None:
    server = FakeServer()
    server.sweep(tmp_path / "sweep.json", SHORT.model_copy(update={"seed": 2**32 - 1}))
    assert [settings.seed for settings in server.asked[:2]] == [2**32 - 1, 0]


def test_slow_surroundings_do_not_break_the_bound(tmp_path: Path) -> None:
    """Each run takes 8 s beside its own; the policy learns it after one."""
    server = FakeServer()

    def slow(_: int) -> None:
        server.now += 8.0

    server.on_run = slow
    sweep = server.sweep(tmp_path / "sweep.json")
    assert sweep.seconds <= ASKED.budget + 8.0


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(arguments)


class Found:
    model: ClassVar[dict[str, Any]] = {"id": "facets-32", "steps": [1, 4], "fingerprint": "8d76b9dac9d3ba5b"}


def test_existing_result_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "sweep.json"
    FakeServer().sweep(out, SHORT)
    content = out.read_bytes()
    monkeypatch.setattr("loadtest.target.find", lambda _: Found)
    with pytest.raises(ValueError, match="is there already; --resume"):
        command.run(parsed("--out", str(out)))
    assert out.read_bytes() == content


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--slo", "30"), "--slo 50,100, not 30;"),
        (("--steps", "1"), "--steps 1,4, not 1;"),
        (("--percentile", "95"), "--percentile 99, not 95;"),
        (("http://127.0.0.1:9",), "the address http://127.0.0.1:8000, not http://127.0.0.1:9;"),
        (("--labels", "cat:3,dog:1"), "--labels left out, not cat 75 %, dog 25 %;"),
        (("--formats", "webp"), "--formats left out, not webp;"),
        (("--field", "guidance=2"), "--field left out, not guidance=2;"),
    ],
)
def test_resume_of_another_question_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words: str
) -> None:
    out = tmp_path / "sweep.json"
    FakeServer().sweep(out, SHORT)
    monkeypatch.setattr("loadtest.target.find", lambda _: Found)
    asked = {"--slo": "50,100", "--steps": "1,4"}
    asked.update(dict(zip(arguments[::2], arguments[1::2])))
    url = [one for one in arguments if one.startswith("http")] or ["http://127.0.0.1:8000"]
    options = [text for pair in asked.items() if not pair[0].startswith("http") for text in pair]
    with pytest.raises(ValueError, match=f"was made with {words}"):
        command.run(parsed(*url, "--out", str(out), "--resume", *options))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"labels": {"dog": 0.25, "cat": 0.75}}, ""),
        ({"labels": {"cat": 1.0}}, "--labels cat, not cat 75 %, dog 25 %;"),
        ({"model": {"id": "rooms-64", "fingerprint": "8d76b9dac9d3ba5b"}}, "the model rooms-64, not facets-32;"),
        ({"allowed": 0.02}, "requests late by at most 20 ms, not 5 ms;"),
        ({"model": {"id": "facets-32", "fingerprint": "other"}}, "is of a server with another fingerprint"),
    ],
)
def test_resume_with_other_requests_is_refused(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    """Labels in another order are the same; another model, or a client that might be later, is not."""
    out = tmp_path / "sweep.json"
    sweep = FakeServer().sweep(out, SHORT)
    first = sweep.runs[0]
    first = first.model_copy(
        update={
            "load": first.load.model_copy(update={"labels": changed.get("labels", {"dog": 0.25, "cat": 0.75})}),
            "server": first.server.model_copy(update={"model": changed.get("model", Found.model)}),
            "lateness": first.lateness.model_copy(update={"allowed": changed.get("allowed", 0.005)}),
        }
    )
    write(sweep.model_copy(update={"runs": (first, *sweep.runs[1:])}), out)
    base = command._base(parsed("--slo", "50,100", "--labels", "cat:3,dog:1"))
    if not words:
        assert command._before(out, SHORT, base, Found.model).runs[0] == first
        return
    with pytest.raises(ValueError, match=words):
        command._before(out, SHORT, base, Found.model)


def test_resume_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--resume goes on with a sweep that is there: say which, --out"):
        command.run(parsed("--resume"))
    with pytest.raises(ValueError, match=r"there is no .*none\.json to go on with"):
        command.run(parsed("--resume", "--out", str(tmp_path / "none.json")))


def test_steps_that_the_model_lacks_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadtest.target.find", lambda _: Found)
    with pytest.raises(ValueError, match="--steps 2: facets-32 has 1, 4"):
        command.run(parsed("--out", str(tmp_path / "sweep.json"), "--steps", "1,2"))


def test_whole_command_writes_result_page_and_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server = FakeServer()
    monkeypatch.setattr("loadtest.target.find", lambda _: Found)
    monkeypatch.setattr("loadtest.measure.measure", lambda settings, known: server.measure(settings))
    server.on_run = raising(KeyboardInterrupt(), 9)
    out = tmp_path / "sweep.json"
    assert command.run(parsed("--out", str(out), "--slo", "50,100")) == 130
    said = capsys.readouterr()
    assert "Which NFE should you run?" in said.out
    assert "1 NFE" in said.err
    assert out.exists()
    assert (tmp_path / "sweep.html").exists()


@pytest.mark.parametrize("wrong", [("--steps", "0"), ("--steps", "1,x"), ("--slo", "fast"), ("--percentile", "100")])
def test_arguments_that_make_no_sense_are_refused(wrong: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed(*wrong)
    assert wrong[1] in capsys.readouterr().err


def test_shared_settings_reach_every_run(tmp_path: Path) -> None:
    server = FakeServer()
    server.sweep(tmp_path / "sweep.json", SHORT)
    loaded = [settings for settings in server.asked if settings.rate is not None]
    idle = [settings for settings in server.asked if settings.rate is None]
    assert all(settings.arrivals == "poisson" and settings.warmup for settings in loaded)
    assert [settings.concurrency for settings in idle] == [1, 1]
    assert all(isinstance(settings, Settings) for settings in server.asked)


def test_ctrl_c_ends_a_real_sweep_in_good_order(tmp_path: Path) -> None:
    """A server, clients and signals that are real: the idle run is kept, the one in progress is not."""
    out = tmp_path / "sweep.json"
    with fake_server(delay=0.005) as url:
        arguments = ["loadtest", "sweep", url, "--steps", "1", "--slo", "50", "--out", str(out)]
        with subprocess.Popen(
            [sys.executable, "-m", "longjump", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if "1 NFE, idle: p50" in line:
                    break
            time.sleep(1.5)
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "The sweep was interrupted" in said
    kept = read_sweep(out)
    assert [run.load.rate for run in kept.runs] == [None]
    assert kept.found[0].idle is not None
    assert (kept.found[0].idle.p50 or 0) >= 0.005
    assert out.with_suffix(".html").exists()
