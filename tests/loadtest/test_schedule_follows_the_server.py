"""The schedule must be drawn before the run, be what its law says, and depend on the seed alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from loadtest.arrivals import bursty, constant, poisson, read_trace
from loadtest.measure import measure
from loadtest.settings import Settings
from loadtest.target import find
from loadtest.traffic import Writer, draw, mix, replay

from .fake_server import fake_server

RATE, SECONDS = 50.0, 400.0


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("law", ["poisson", "constant", "bursty"])
def test_times_rise_within_the_run_at_the_rate(law: str) -> None:
    times = {
        "poisson": lambda: poisson(RATE, SECONDS, rng()),
        "constant": lambda: constant(RATE, SECONDS),
        "bursty": lambda: bursty(RATE, SECONDS, 3.0, rng()),
    }[law]()
    assert (np.diff(times) >= 0).all()
    assert times[0] >= 0
    assert times[-1] < SECONDS
    # 20,000 arrivals; bursty counts vary cv = 3 times as much, so this is 3.3 standard deviations of them.
    assert len(times) == pytest.approx(RATE * SECONDS, rel=0.07)


def test_gaps_vary_as_the_law_says() -> None:
    def cv(times: np.ndarray) -> float:
        gaps = np.diff(times)
        return float(gaps.std() / gaps.mean())

    assert cv(constant(RATE, SECONDS)) == pytest.approx(0, abs=1e-6)
    assert cv(poisson(RATE, SECONDS, rng())) == pytest.approx(1, abs=0.03)
    assert cv(bursty(RATE, SECONDS, 3.0, rng())) == pytest.approx(3, abs=0.3)
    assert cv(bursty(RATE, SECONDS, 1.0, rng())) == pytest.approx(1, abs=0.03)


def test_bursts_do_not_crowd_the_begin() -> None:
    """Control: a process that begins with an arrival has more of them right after it."""
    first = np.mean([len(bursty(RATE, 0.1, 5.0, rng(seed))) for seed in range(3000)])
    assert first == pytest.approx(5, rel=0.25)
    crowded = np.mean([np.searchsorted(np.cumsum(rng(s).gamma(1 / 25, 25 / RATE, 400)), 0.1) for s in range(3000)])
    assert crowded > 1.5 * first


def test_same_seed_same_schedule_whatever_the_number_of_processes() -> None:
    settings = Settings("http://127.0.0.1", rate=50, steps={1: 0.9, 8: 0.1}, labels={"cat": 1, "dog": 3})
    assert np.array_equal(poisson(RATE, 10, rng(3)), poisson(RATE, 10, rng(3)))
    assert not np.array_equal(poisson(RATE, 10, rng(3))[:100], poisson(RATE, 10, rng(4))[:100])
    whole = draw(mix(settings), 1000, rng())
    parts = [whole.share(i, 3) for i in range(3)]
    assert sorted(seed for part in parts for seed in part.seed.tolist()) == sorted(whole.seed.tolist())


def test_shares_of_the_mix_are_those_asked_for() -> None:
    settings = Settings("http://127.0.0.1", rate=50, steps={1: 9, 8: 1}, labels={"cat": 1, "dog": 3}, verify=0.3)
    requests = draw(mix(settings), 20_000, rng())
    kinds = [requests.kinds[i] for i in requests.kind]
    assert np.mean([kind.steps == 8 for kind in kinds]) == pytest.approx(0.1, abs=0.01)
    unverified = [kind for kind, case in zip(kinds, requests.case) if case < 0]
    assert np.mean([kind.label == "dog" for kind in unverified]) == pytest.approx(0.75, abs=0.015)
    assert np.mean(requests.case >= 0) == pytest.approx(0.3, abs=0.015)


def test_no_request_can_come_from_a_cache() -> None:
    """Each has its own seed but for those that repeat an idle one, and all say no-store."""
    settings = Settings("http://127.0.0.1", rate=50, steps={1: 1, 4: 1}, fields={"n": "4"}, verify=0.1)
    blend = mix(settings)
    requests = draw(blend, 5000, rng())
    own = requests.seed[requests.case < 0]
    assert len(set(own.tolist())) == len(own)
    assert np.diff(np.sort(own)).min() >= 4, "an image of a request is one of another's"
    assert not set(own.tolist()) & {case.seed for case in blend.cases}
    for i in np.flatnonzero(requests.case >= 0)[:50]:
        case = blend.cases[requests.case[i]]
        assert (case.kind, case.seed) == (requests.kinds[requests.kind[i]], requests.seed[i])
    for route in ("generate", "openai"):
        data = Writer(Settings("http://127.0.0.1", rate=1, route=route), "h", "").write(blend.kinds[0], 7)  # type: ignore[arg-type]
        assert b"\r\ncache-control: no-store\r\n" in data


def test_trace_is_sent_as_it_was_recorded(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("at, steps,label,seed\n100.5,1,cat,7\n100.75,,dog,\n102.5,auto,,9\n")
    recorded = read_trace(path, speed=2)
    assert [one.at for one in recorded] == [0, 0.125, 1]
    settings = Settings("http://127.0.0.1", trace=path, steps={8: 1}, labels={"bird": 1})
    requests = replay(recorded, mix(settings), rng())
    kinds = [requests.kinds[i] for i in requests.kind]
    assert [(kind.steps, kind.label) for kind in kinds] == [(1, "cat"), (8, "dog"), ("auto", "bird")]
    assert requests.seed.tolist()[::2] == [7, 9]
    assert (requests.case == -1).all()


def test_trace_asks_for_no_step_count_that_no_line_has(tmp_path: Path) -> None:
    """A server without 1 NFE, the default, would refuse the whole trace, though nothing in it asks for that."""
    path = tmp_path / "trace.csv"
    path.write_text("at,steps\n0,8\n0.1,8\n")
    settings = Settings("http://127.0.0.1", trace=path)
    blend = mix(settings)
    assert {kind.steps for kind in replay(read_trace(path), blend, rng()).kinds} == {8}
    assert blend.cases == (), "what is never compared is not asked"
    assert mix(Settings("http://127.0.0.1", rate=1)).cases, "control"


def test_label_that_the_server_lacks_is_sent() -> None:
    """Digits of another script are no index to the server."""
    with fake_server() as url:
        for label in ("bird", "2", "\u0661"):
            with pytest.raises(ValueError, match=f"fake has no label '{label}'; it has cat, dog"):
                find(Settings(url, rate=20, labels={label: 1}))
        for label in ("dog", "1", "none"):
            assert find(Settings(url, rate=20, labels={label: 1})).model


def test_trace_runs_on_a_server_without_the_default_step_count(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("at,steps\n0,8\n0.1,8\n")
    with fake_server(lacks=1) as url:
        run = measure(Settings(url, trace=path, max_lateness=10))
        with pytest.raises(ValueError, match="has no 1 NFE"):
            measure(Settings(url, rate=20, seconds=0.1))
    assert [(one.steps, one.ok) for one in run.steps] == [(8, 2)]
    assert run.checks.same_bytes == "not checked"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "first line names the columns"),
        ("time,steps\n1,1\n", "first line names the columns"),
        ("at\n", "holds no request"),
        ("at\nsoon\n", "2: at='soon' is not a number of seconds"),
        ("at\n1\nnan\n", "3: at='nan'"),
        ("at\n2\n1\n", "3: at=1 is before the line above"),
        ("at,steps\n1,0\n", "2: steps='0'"),
        ("at,steps\n1\n", "2: this line has more or fewer fields"),
        ("at\n1,2\n", "2: this line has more or fewer fields"),
        ("at,seed\n1,-4\n", "2: seed='-4'"),
    ],
)
def test_trace_that_cannot_be_sent_is_refused_by_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
        read_trace(path)


@pytest.mark.parametrize(
    ("rate", "seconds", "cv", "said"), [(1e9, 60, 1, "at most"), (0, 1, 1, "above 0"), (1, 1, 1000, "cv")]
)
def test_schedule_that_is_too_much_is_refused(rate: float, seconds: float, cv: float, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        bursty(rate, seconds, cv, rng())
