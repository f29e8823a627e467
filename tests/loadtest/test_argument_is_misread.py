"""Arguments must mean what they say, and what makes no sense must be refused with what would."""

from __future__ import annotations

import argparse

import pytest

from loadtest import arguments
from loadtest.run import add_arguments, settings_of
from loadtest.settings import Settings


def settings(*arguments: str) -> Settings:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return settings_of(parser.parse_args(arguments))


def test_everything_arrives_where_it_belongs() -> None:
    found = settings(
        "10.0.0.7:8000", "--rate", "200", "--steps", "1:0.9,8:0.1", "--labels", "cat,a:b:2", "--slo", "100",
        "--field", "guidance=2", "--field", "n=4", "--header", "Authorization: Bearer x", "--warmup", "0",
        "--timeout", "5", "--seed", "7", "--max-lateness", "0.02s",
    )  # fmt: skip
    assert found.url == "http://10.0.0.7:8000"
    assert found.rate == 200
    assert found.steps == {1: 0.9, 8: 0.1}
    assert found.labels == {"cat": 1, "a:b": 2}
    assert found.slo == 0.1
    assert found.fields == {"guidance": "2", "n": "4"}
    assert found.headers == {"Authorization": "Bearer x"}
    assert (found.warmup, found.timeout, found.seed, found.max_lateness) == (0, 5, 7, 0.02)
    assert settings("--rate", "1").warmup is None
    assert settings("--rate", "1").seed != settings("--rate", "1").seed


@pytest.mark.parametrize(("text", "seconds"), [("50", 0.05), ("50ms", 0.05), ("0.2s", 0.2)])
def test_times_have_units(text: str, seconds: float) -> None:
    assert arguments.milliseconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (arguments.steps, "0"),
        (arguments.steps, "1:0"),
        (arguments.steps, "1,1"),
        (arguments.steps, "1:-1"),
        (arguments.steps, "1:nan"),
        (arguments.steps, "fast"),
        (arguments.steps, ""),
        (arguments.weights, "a:1,,b"),
        (arguments.milliseconds, "0"),
        (arguments.milliseconds, "5 m"),
        (arguments.milliseconds, "inf"),
        (arguments.number, "nan"),
        (arguments.share, "1.5"),
        (arguments.warmup, "-1"),
        (arguments.seed, "4294967296"),
        (arguments.field, "n"),
        (arguments.field, "seed=4"),
        (arguments.header, "a"),
        (arguments.header, "a: b\r\nc: d"),
        (arguments.header, "Cache-Control: max-age=0"),
    ],
)
def test_nonsense_is_refused(read: object, text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        read(text)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((), "say how much load"),
        (("--rate", "5", "--concurrency", "2"), "not rate and concurrency"),
        (("--concurrency", "2", "--processes", "3"), "cannot share"),
        (("ftp://x", "--rate", "5"), "is not an address"),
        (("http://x:99999", "--rate", "5"), "no number from 1 to 65535"),
        (("http://x:http", "--rate", "5"), "no number from 1 to 65535"),
        (("http://me:secret@x", "--rate", "5"), "keys go into a header"),
    ],
)
def test_what_does_not_go_together_is_refused(given: tuple[str, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        settings(*given)
